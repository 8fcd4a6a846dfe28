package main

import (
	"fmt"

	"github.com/alecthomas/kong"
)

// grammar is the command line. Flags tagged setting are settings: kong only
// collects them, and [loadConfig] finds their values, so that flag, environment
// and default are told apart in one place.
type grammar struct {
	Serve       serveCmd       `cmd:"" group:"run" help:"Receive deliveries and mirror them, until stopped."`
	Migrate     migrateCmd     `cmd:"" group:"run" help:"Bring the database's schema up or down."`
	Rebuild     rebuildCmd     `cmd:"" group:"run" help:"Make the mirror anew from the audit log, while readers and deliveries go on."`
	Replay      replayCmd      `cmd:"" group:"run" help:"Re-apply the logged facts of some contacts, and repair their rows."`
	Prune       pruneCmd       `cmd:"" group:"run" help:"Drop the bodies of old events."`
	Erase       eraseCmd       `cmd:"" group:"run" help:"Remove what is personal of a contact, for good."`
	Audit       auditCmd       `cmd:"" group:"run" help:"Accept the audit log as it is, for a first key or after a break."`
	Healthcheck healthcheckCmd `cmd:"" group:"run" help:"Exit 0 when this machine's receiver is ready, for containers."`

	Status     statusCmd     `cmd:"" group:"look" help:"Show backlog, lag, outcomes and quarantine on one screen."`
	History    historyCmd    `cmd:"" group:"look" help:"Show what happened to a contact, when, and by whom."`
	Quarantine quarantineCmd `cmd:"" group:"look" help:"See to deliveries that could not be applied."`
	Spool      spoolCmd      `cmd:"" group:"look" help:"Deal with spool files that could not be drained."`
	Verify     verifyCmd     `cmd:"" group:"look" help:"Prove that the mirror and the audit log are as they were written."`
	Processes  processesCmd  `cmd:"" group:"look" help:"List running processes, and forget one that will not come back."`
	Send       sendCmd       `cmd:"" group:"look" help:"Sign files and post them as SuperOffice would."`
	Simulate   simulateCmd   `cmd:"" group:"look" help:"Be a SuperOffice: deliver random contact lives, and check the mirror."`
	Bench      benchCmd      `cmd:"" group:"look" help:"Measure the published figures on this machine and database."`
	Alerts     alertsCmd     `cmd:"" group:"look" help:"Print alert rules for Prometheus."`

	BenchHandler benchHandlerCmd `cmd:"" hidden:""`

	Config     configCmd     `cmd:"" group:"about" help:"Show the settings in force and where each came from."`
	Version    versionCmd    `cmd:"" group:"about" help:"Show which build this is."`
	Completion completionCmd `cmd:"" group:"about" help:"Print a completion script for a shell."`
	Help       helpCmd       `cmd:"" group:"about" help:"Show help for a command."`
}

const description = `Keeps a PostgreSQL mirror of SuperOffice's contacts, and an audit log of every change, from SuperOffice's webhooks.

Exit codes: 0 done, 1 the work failed, 2 the call was wrong, 3 a check found a difference.`

// newParser makes a parser for one call. Help sets helped instead of ending the
// process.
func newParser(call *invocation, helped *bool) *kong.Kong {
	return kong.Must(&grammar{},
		kong.Name("contactmirror"),
		kong.Vars{"benchmarks": benchmarkNames()},
		kong.Description(description),
		kong.Writers(call.stdout, call.stderr),
		kong.Exit(func(int) { *helped = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true, WrapUpperBound: 100}),
		kong.ValueFormatter(describe),
		kong.ExplicitGroups([]kong.Group{
			{Key: "run", Title: "Running:"},
			{Key: "look", Title: "Looking and trying:"},
			{Key: "about", Title: "About this program:"},
			{Key: "settings", Title: "Settings (a flag overrides its environment variable):"},
		}),
	)
}

// describe is a flag's help with its environment variable.
func describe(value *kong.Value) string {
	if name := value.Tag.Get("setting"); name != "" {
		return fmt.Sprintf("%s [$%s]", value.Help, name)
	}
	return kong.DefaultHelpValueFormatter(value)
}

// DatabaseFlags are the settings that decide which database a command uses.
type DatabaseFlags struct {
	DatabaseURL     string `group:"settings" setting:"DATABASE_URL" placeholder:"URL" help:"The database; default an embedded PostgreSQL in the data directory. Arguments are visible to other users: give a password by the variable or by file."`
	DatabaseURLFile string `group:"settings" setting:"DATABASE_URL_FILE" placeholder:"PATH" help:"File that holds the database URL."`
	DataDirFlag
}

// DataDirFlag is the data directory.
type DataDirFlag struct {
	DataDir string `group:"settings" setting:"CONTACTMIRROR_DATA_DIR" placeholder:"DIR" help:"Embedded database, spool and generated secret; default ./contactmirror-data."`
}

// MigrateFlag is the schema owner's database URL.
type MigrateFlag struct {
	MigrateURL string `group:"settings" setting:"CONTACTMIRROR_MIGRATE_URL" placeholder:"URL" help:"Database URL of the schema's owner, for migrations and erasure; default the database URL."`
}

// ListenFlag is the public listener.
type ListenFlag struct {
	Listen string `group:"settings" setting:"CONTACTMIRROR_LISTEN" placeholder:"HOST:PORT" help:"Address for deliveries; default :8080, or 127.0.0.1:8080 with the embedded database."`
}

// SecretFlags decide what deliveries are verified by. A secret itself is never a
// flag: arguments are visible to every user of a machine.
type SecretFlags struct {
	SecretFile        string `group:"settings" setting:"CONTACTMIRROR_SECRET_FILE" placeholder:"PATH" help:"File that holds the webhook secret, several on a line each. There is no flag for the secret itself: set $CONTACTMIRROR_SECRET."`
	TenantSecretsFile string `group:"settings" setting:"CONTACTMIRROR_TENANT_SECRETS_FILE" placeholder:"PATH" help:"JSON file with secrets per tenant."`
	AllowUnsigned     bool   `group:"settings" setting:"CONTACTMIRROR_ALLOW_UNSIGNED" help:"Accept unsigned deliveries: anyone who reaches the address can then write."`
}

// ReceiveFlags are the receiver's settings.
type ReceiveFlags struct {
	ListenFlag
	SecretFlags
	MaxBody    string `group:"settings" setting:"CONTACTMIRROR_MAX_BODY" placeholder:"SIZE" help:"Largest delivery; default 1MiB."`
	SpoolLimit string `group:"settings" setting:"CONTACTMIRROR_SPOOL_LIMIT" placeholder:"SIZE" help:"Room for deliveries that wait for the database; default 1GiB."`
}

// AuditFlag is the keys of the audit log's chain. As with a secret there is no
// flag for a key itself.
type AuditFlag struct {
	AuditKeyFile string `group:"settings" setting:"CONTACTMIRROR_AUDIT_KEY_FILE" placeholder:"PATH" help:"File that holds the keys of the audit log's chain, one a line, outside the database. The first links rows, all are accepted. There is no flag for the key itself: set $CONTACTMIRROR_AUDIT_KEY."`
}

// AdminFlags are the admin listener's settings.
type AdminFlags struct {
	AdminListen    string `group:"settings" setting:"CONTACTMIRROR_ADMIN_LISTEN" placeholder:"HOST:PORT" help:"Address for metrics and profiles, or off; default 127.0.0.1:8081."`
	AdminTokenFile string `group:"settings" setting:"CONTACTMIRROR_ADMIN_TOKEN_FILE" placeholder:"PATH" help:"File that holds the token that metrics and profiles are asked for with; needed off loopback. There is no flag for the token itself: set $CONTACTMIRROR_ADMIN_TOKEN."`
}

// LogFlags decide what is logged.
type LogFlags struct {
	LogFormat string `group:"settings" setting:"CONTACTMIRROR_LOG_FORMAT" placeholder:"FORMAT" help:"auto, text or json; default auto, which is text on a terminal."`
	LogLevel  string `group:"settings" setting:"CONTACTMIRROR_LOG_LEVEL" placeholder:"LEVEL" help:"debug, info, warn or error; default info."`
}

// helpCmd only stands in the list of commands: run turns it into --help before
// anything is parsed.
type helpCmd struct {
	Command []string `arg:"" optional:"" help:"The command, such as migrate down."`
}

func (helpCmd) Run() error { return nil }
