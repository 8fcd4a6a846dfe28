// Package sql holds the statements that the program runs, one a file, named
// after the package that owns them. That package declares each once, with its
// arguments and rows, by a function of package pg. A test compares the declarations
// with what PostgreSQL says of the prepared statements. The package imports nothing
// but embed.
//
// Statements that list the mirrored columns are generated from templates
// (*.sql.tmpl) and contact.Columns.
package sql

import "embed"

// In this order: the test imports packages whose declarations must fit the files that
// the first command writes.
//
//go:generate go run ./generate
//go:generate go test -count=1 -run TestAuditColumns_areCurrent . -update

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
	//go:embed inbox_below_marks.sql
	InboxBelowMarks string
	//go:embed inbox_bodies.sql
	InboxBodies string
	//go:embed inbox_blame.sql
	InboxBlame string

	//go:embed sequence_advance.sql
	SequenceAdvance string

	//go:embed mirror_contacts.sql
	MirrorContacts string
	//go:embed mirror_contacts_sent.sql
	MirrorContactsSent string
	//go:embed mirror_tombstones.sql
	MirrorTombstones string
	//go:embed mirror_insert.sql
	MirrorInsert string
	//go:embed mirror_update.sql
	MirrorUpdate string
	//go:embed mirror_update_sent.sql
	MirrorUpdateSent string
	//go:embed mirror_remove.sql
	MirrorRemove string
	//go:embed mirror_bury.sql
	MirrorBury string
	//go:embed mirror_unquarantine.sql
	MirrorUnquarantine string

	//go:embed audit_heads.sql
	AuditHeads string
	//go:embed audit_all_heads.sql
	AuditAllHeads string
	//go:embed audit_lock_heads.sql
	AuditLockHeads string
	//go:embed audit_sign.sql
	AuditSign string
	//go:embed audit_newest.sql
	AuditNewest string
	//go:embed audit_seqs.sql
	AuditSeqs string
	//go:embed audit_advance.sql
	AuditAdvance string
	//go:embed audit_keyed.sql
	AuditKeyed string
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

	//go:embed refold_facts.sql
	RefoldFacts string
	//go:embed refold_facts_of.sql
	RefoldFactsOf string
	//go:embed refold_rows.sql
	RefoldRows string
	//go:embed refold_tombstones.sql
	RefoldTombstones string
	//go:embed refold_unlogged.sql
	RefoldUnlogged string

	//go:embed rebuild_shadow.sql
	RebuildShadow string
	//go:embed rebuild_lock.sql
	RebuildLock string
	//go:embed rebuild_last.sql
	RebuildLast string
	//go:embed rebuild_supersede.sql
	RebuildSupersede string
	//go:embed rebuild_write.sql
	RebuildWrite string
	//go:embed rebuild_remove.sql
	RebuildRemove string
	//go:embed rebuild_bury.sql
	RebuildBury string
	//go:embed rebuild_exhume.sql
	RebuildExhume string
	//go:embed rebuild_drop.sql
	RebuildDrop string

	//go:embed verify_register.sql
	VerifyRegister string
	//go:embed verify_erased.sql
	VerifyErased string
	//go:embed verify_duplicates.sql
	VerifyDuplicates string
	//go:embed verify_lock_heads.sql
	VerifyLockHeads string
	//go:embed verify_heads.sql
	VerifyHeads string
	//go:embed verify_adoptions.sql
	VerifyAdoptions string
	//go:embed verify_adopt.sql
	VerifyAdopt string
	//go:embed verify_newest.sql
	VerifyNewest string
	//go:embed verify_chain.sql
	VerifyChain string
	//go:embed verify_events.sql
	VerifyEvents string
	//go:embed verify_lost.sql
	VerifyLost string
	//go:embed verify_invented.sql
	VerifyInvented string
	//go:embed verify_accounts.sql
	VerifyAccounts string
	//go:embed verify_accounting.sql
	VerifyAccounting string

	//go:embed report_accounting.sql
	ReportAccounting string
	//go:embed report_unbalanced.sql
	ReportUnbalanced string
	//go:embed report_chains.sql
	ReportChains string
	//go:embed report_mirror.sql
	ReportMirror string
	//go:embed report_backlog.sql
	ReportBacklog string
	//go:embed report_transactions.sql
	ReportTransactions string
	//go:embed report_processes.sql
	ReportProcesses string
	//go:embed report_secrets.sql
	ReportSecrets string

	//go:embed settle_advance.sql
	SettleAdvance string
	//go:embed settle_seal.sql
	SettleSeal string
	//go:embed settle_recount.sql
	SettleRecount string

	//go:embed feed_check.sql
	FeedCheck string
	//go:embed feed_changes.sql
	FeedChanges string
	//go:embed feed_end.sql
	FeedEnd string

	//go:embed operator_record.sql
	OperatorRecord string

	//go:embed process_heartbeat.sql
	ProcessHeartbeat string
	//go:embed process_leave.sql
	ProcessLeave string
	//go:embed process_forget.sql
	ProcessForget string

	//go:embed freshness_advance.sql
	FreshnessAdvance string

	//go:embed quarantine_list.sql
	QuarantineList string
	//go:embed quarantine_show.sql
	QuarantineShow string
	//go:embed quarantine_key.sql
	QuarantineKey string
	//go:embed quarantine_lock.sql
	QuarantineLock string
	//go:embed quarantine_open.sql
	QuarantineOpen string
	//go:embed quarantine_requeue.sql
	QuarantineRequeue string
	//go:embed quarantine_attempt.sql
	QuarantineAttempt string
	//go:embed quarantine_resolve.sql
	QuarantineResolve string

	//go:embed retention_cutoff.sql
	RetentionCutoff string
	//go:embed retention_extend.sql
	RetentionExtend string
	//go:embed retention_partitions.sql
	RetentionPartitions string
	//go:embed retention_drop.sql
	RetentionDrop string
	//go:embed retention_delete.sql
	RetentionDelete string
	//go:embed retention_quarantine.sql
	RetentionQuarantine string

	//go:embed erasure_may.sql
	ErasureMay string
	//go:embed erasure_lock.sql
	ErasureLock string
	//go:embed erasure_hold.sql
	ErasureHold string
	//go:embed erasure_rows.sql
	ErasureRows string
	//go:embed erasure_deliveries.sql
	ErasureDeliveries string
	//go:embed erasure_events.sql
	ErasureEvents string
	//go:embed erasure_strip.sql
	ErasureStrip string
	//go:embed erasure_body.sql
	ErasureBody string
	//go:embed erasure_redact.sql
	ErasureRedact string
	//go:embed erasure_strip_delivery.sql
	ErasureStripDelivery string
	//go:embed erasure_queued.sql
	ErasureQueued string
	//go:embed erasure_erase.sql
	ErasureErase string
	//go:embed erasure_in_force.sql
	ErasureInForce string
	//go:embed erasure_analyze.sql
	ErasureAnalyze string
	//go:embed erasure_stamp.sql
	ErasureStamp string
	//go:embed erasure_lift.sql
	ErasureLift string
)
