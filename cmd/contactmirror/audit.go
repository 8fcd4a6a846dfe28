package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"contactmirror/internal/pg"
	"contactmirror/internal/verify"
	"contactmirror/migrations"
)

// auditCmd groups the commands for the audit log.
type auditCmd struct {
	Adopt auditAdoptCmd `cmd:"" help:"Sign the chains of the audit log as they are, where no key proves them."`
}

// auditAdoptCmd accepts chains that no key proves.
type auditAdoptCmd struct {
	Reason string `required:"" placeholder:"TEXT" help:"Why; it is kept, and verify shows it."`
	JSON   bool   `help:"Print JSON."`
	ConfirmFlags
	DatabaseFlags
	MigrateFlag
	AuditFlag
}

// Help says when to adopt, and what that means.
func (auditAdoptCmd) Help() string {
	return `Accepts the audit log as it is, in the shards whose chain does not hold by the keys in CONTACTMIRROR_AUDIT_KEY, and signs it with the first of them. From then on verify lists these rows as NOT PROVED, with the reason, and exits 0; a later change of one is found. The adoption is part of the chain: it can't be removed or changed without the key.

To give a log that has rows its first key: stop every serve, set CONTACTMIRROR_AUDIT_KEY, run this command, and start serve with the key. A process without it that still ran would break the chain again. An empty log needs no adoption.

After a break, run contactmirror verify first, and find out what was changed: adopting accepts it. serve may run meanwhile; it applies nothing while the log is read.

On a terminal it shows what it would adopt and asks; elsewhere it needs --yes. It runs as the owner of the schema, CONTACTMIRROR_MIGRATE_URL.`
}

// Run adopts, and says what.
func (a *auditAdoptCmd) Run(ctx context.Context, call *invocation) error {
	if strings.TrimSpace(a.Reason) == "" {
		return misused("--reason: it is empty: say why the log is accepted as it is")
	}
	if err := a.check(call); err != nil {
		return err
	}
	config, err := call.config()
	switch {
	case err != nil:
		return err
	case len(config.AuditKeys) == 0:
		return misused("no key to sign with: set CONTACTMIRROR_AUDIT_KEY or CONTACTMIRROR_AUDIT_KEY_FILE")
	}
	options := verify.AdoptOptions{Keys: config.AuditKeys, Actor: call.actor(), Reason: a.Reason, DryRun: true}
	return withSchema(ctx, call, func(url string) error {
		pool, err := pg.Open(url, 2)
		if err != nil {
			return err
		}
		defer pool.Close()
		if err := migrations.Check(ctx, pool); err != nil {
			return err
		}
		adopt := func() (*verify.Adopted, error) {
			progress, finish := progressBar(call.stderr, "reading the log")
			defer finish()
			options.Progress = progress
			done, err := verify.Adopt(ctx, pool, options)
			if errors.Is(err, verify.ErrMayNotAdopt) {
				err = fmt.Errorf("%w: set CONTACTMIRROR_MIGRATE_URL", err)
			}
			return done, err
		}
		if !a.Yes {
			would, err := adopt()
			if err != nil || a.DryRun || len(would.Shards) == 0 {
				return errors.Join(err, a.write(call.stdout, would))
			}
			if err := writeAdopted(call.stderr, would); err != nil {
				return err
			}
			if err := a.confirm(ctx, call, "These rows will be listed as NOT PROVED. This can't be undone."); err != nil {
				return err
			}
		}
		options.DryRun = false
		done, err := adopt()
		if err != nil {
			return err
		}
		return a.write(call.stdout, done)
	})
}

func (a *auditAdoptCmd) write(w io.Writer, done *verify.Adopted) error {
	switch {
	case done == nil:
		return nil
	case a.JSON:
		return writeJSON(w, done)
	}
	return writeAdopted(w, done)
}

func writeAdopted(w io.Writer, done *verify.Adopted) error {
	if len(done.Shards) == 0 {
		fmt.Fprintln(w, "Nothing to adopt: every chain holds by the keys given, or the log is empty.")
		return nil
	}
	did := "Adopted"
	if done.DryRun {
		did = "Would adopt"
	}
	rows := [][]string{{"SHARD", "ROWS", "NOT PROVED", "WHY"}}
	for _, s := range done.Shards {
		why := s.Reason
		if why == "" {
			why = "no key given signed its head"
		}
		rows = append(rows, []string{fmt.Sprint(s.Shard), fmt.Sprint(s.Rows), fmt.Sprint(s.NotProved), plain(why)})
	}
	fmt.Fprintf(w, "%s the chains of %s; %s not proved by a key.\n", did, count(int64(len(done.Shards)), "shard", "shards"), count(done.NotProved(), "row is", "rows are"))
	return writeTable(w, rows)
}
