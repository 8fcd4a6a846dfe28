// Package sql holds the statements that the program runs, one a file, named
// after the package that owns them. A test prepares each against the migrated
// schema, so PostgreSQL itself checks them. The package imports nothing but
// embed; pg runs the statements.
package sql

import "embed"

// FS holds every file, for the test that prepares them.
//
//go:embed *.sql
var FS embed.FS

// The statements. A file's first line says what it answers or does.
var (
	//go:embed inbox_put.sql
	InboxPut string
	//go:embed inbox_duplicate.sql
	InboxDuplicate string
	//go:embed inbox_quarantine.sql
	InboxQuarantine string
	//go:embed inbox_probe.sql
	InboxProbe string
	//go:embed inbox_notify.sql
	InboxNotify string
	//go:embed inbox_waiting.sql
	InboxWaiting string
	//go:embed inbox_lock.sql
	InboxLock string
	//go:embed inbox_claim.sql
	InboxClaim string
	//go:embed inbox_blame.sql
	InboxBlame string

	//go:embed mirror_contacts.sql
	MirrorContacts string
	//go:embed mirror_tombstones.sql
	MirrorTombstones string
	//go:embed mirror_write.sql
	MirrorWrite string
	//go:embed mirror_remove.sql
	MirrorRemove string
	//go:embed mirror_bury.sql
	MirrorBury string

	//go:embed audit_facts.sql
	AuditFacts string
	//go:embed audit_history.sql
	AuditHistory string
	//go:embed audit_changes.sql
	AuditChanges string
	//go:embed audit_contact.sql
	AuditContact string
	//go:embed audit_tenants.sql
	AuditTenants string

	//go:embed report_accounting.sql
	ReportAccounting string
	//go:embed report_mirror.sql
	ReportMirror string
	//go:embed report_backlog.sql
	ReportBacklog string
	//go:embed report_receivers.sql
	ReportReceivers string
	//go:embed report_secrets.sql
	ReportSecrets string

	//go:embed heartbeat_beat.sql
	HeartbeatBeat string
	//go:embed heartbeat_leave.sql
	HeartbeatLeave string
	//go:embed heartbeat_forget.sql
	HeartbeatForget string

	//go:embed quarantine_list.sql
	QuarantineList string
	//go:embed quarantine_show.sql
	QuarantineShow string
	//go:embed quarantine_key.sql
	QuarantineKey string
	//go:embed quarantine_requeue.sql
	QuarantineRequeue string
	//go:embed quarantine_attempt.sql
	QuarantineAttempt string
	//go:embed quarantine_resolve.sql
	QuarantineResolve string
)
