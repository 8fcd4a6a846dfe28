package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/contact"
	"contactmirror/internal/erasure"
	"contactmirror/internal/pg"
	"contactmirror/migrations"
)

// eraseCmd removes what is personal of a contact.
type eraseCmd struct {
	Tenant  *string `required:"" placeholder:"TENANT" help:"The contact's ContextIdentifier; empty for an installation without one."`
	Contact int64   `required:"" placeholder:"ID" help:"The contact's id."`
	Reason  *string `placeholder:"TEXT" help:"Why; it is kept." xor:"what"`
	Lift    bool    `help:"Keep the values of later events again; what was erased stays so." xor:"what"`
	JSON    bool    `help:"Print JSON."`
	ConfirmFlags
	DatabaseFlags
	MigrateFlag
	AuditFlag
}

// Help says what goes, what stays, and what is out of reach.
func (eraseCmd) Help() string {
	return `Removes the values of all columns of one contact, for good: from its row, from the audit log, from raw bodies and from quarantine, with the salts and hashes by which they could be guessed. Ids, times, names of columns, the soft-delete flag and who caused the events stay; the columns are pending. The audit chain still holds, and every event stays accounted for.

Later events of the contact lose their values when they are stored or applied. After --lift, events that are received later keep their values. Events received before it lose them, even if they are still queued or in a spool. Events in open quarantine lose their values only, and can still be retried. Quarantined deliveries of which nobody can tell whom they are about are listed: look at them, and discard or retry them by hand. So are spool files in the data directory of this machine that were moved aside and hold deliveries about the contact; run it on the machines of the other receivers too, with --dry-run, to see theirs.

On a terminal it shows what it would erase and asks; elsewhere it needs --yes. It can't be undone, and runs as the owner of the schema, CONTACTMIRROR_MIGRATE_URL. OUT OF REACH are the bodies of ignored events that are not about contacts, such as person.*: nobody can tell which company a person's values are of, so they are not searched, and are dropped after CONTACTMIRROR_IGNORED_RETENTION. So are copies elsewhere: backups, the write-ahead log and its archive, replicas that lag, and what was read or exported before. Old row versions stay in the data files until vacuum has passed.`
}

// Run erases, and says what went.
func (e *eraseCmd) Run(ctx context.Context, call *invocation) error {
	if e.Contact < 1 {
		return misused("--contact: %d: allowed: 1 and above", e.Contact)
	}
	if e.Lift && e.DryRun {
		return misused("--lift and --dry-run can't be used together")
	}
	if err := e.check(call); err != nil {
		return err
	}
	key := contact.Key{Tenant: *e.Tenant, ID: e.Contact}
	config, err := call.config()
	if err != nil {
		return err
	}
	author := erasure.Author{Actor: call.actor(), AuditKeys: config.AuditKeys}
	return withSchema(ctx, call, func(url string) error {
		pool, err := pg.Open(url, 2)
		if err != nil {
			return err
		}
		defer pool.Close()
		if err := migrations.Check(ctx, pool); err != nil {
			return err
		}
		err = e.run(ctx, call, pool, key, author, spoolDir(config))
		switch {
		case errors.Is(err, erasure.ErrNotAllowed):
			return fmt.Errorf("%w: set CONTACTMIRROR_MIGRATE_URL", err)
		case errors.Is(err, erasure.ErrKeyMissing), errors.Is(err, erasure.ErrOtherKey):
			return misused("%w", err)
		}
		return err
	})
}

func (e *eraseCmd) run(ctx context.Context, call *invocation, pool *pgxpool.Pool, key contact.Key, author erasure.Author, spoolDir string) error {
	if e.Lift {
		question := fmt.Sprintf("Keep the values of later events of contact %d of tenant %s again?", key.ID, plain(key.Tenant))
		if err := e.confirm(ctx, call, question); err != nil {
			return err
		}
		if err := erasure.Lift(ctx, pool, key, author); err != nil {
			return err
		}
		fmt.Fprintln(call.stderr, "Later events of the contact are kept with their values again.")
		return nil
	}
	if !e.DryRun && !e.Yes {
		would, err := erasure.Erase(ctx, pool, key, erasure.Options{Author: author, DryRun: true})
		if err == nil {
			err = writeErased(call.stderr, would)
		}
		if err == nil {
			err = e.confirm(ctx, call, "This can't be undone.")
		}
		if err != nil {
			return err
		}
	}
	account, err := erasure.Erase(ctx, pool, key, erasure.Options{Author: author, Reason: e.Reason, DryRun: e.DryRun})
	if err != nil {
		return err
	}
	files, err := spooledAbout(spoolDir, key)
	if err != nil {
		fmt.Fprintf(call.stderr, "contactmirror: can't look for spool files that hold deliveries about the contact: %v\n", err)
	}
	if e.JSON {
		return writeJSON(call.stdout, struct {
			erasure.Account
			SpoolFiles []spooledFile `json:"spool_files"`
		}{account, files})
	}
	if err := writeErased(call.stdout, account); err != nil {
		return err
	}
	writeSpooledAbout(call.stdout, files)
	fmt.Fprintln(call.stdout, "Not searched: bodies of ignored events that are not about contacts, such as person.*; they are dropped after CONTACTMIRROR_IGNORED_RETENTION.")
	return nil
}

func writeErased(w io.Writer, a erasure.Account) error {
	row := map[bool]string{true: "without values", false: "none"}
	did := "Erased"
	switch {
	case a.Already:
		did = "Erased already on " + clock(a.Earlier.ErasedAt)
	case a.DryRun:
		did = "Would erase"
	}
	fmt.Fprintf(w, "%s: contact %d of tenant %s\n", did, a.ContactID, plain(a.ContextIdentifier))
	rows := [][]string{
		{"row in contacts", row[a.Row]},
		{"audit rows", fmt.Sprint(a.AuditRows)},
		{"bodies", fmt.Sprint(a.Bodies)},
		{"hashes of duplicates", fmt.Sprint(a.Duplicates)},
		{"quarantine entries", fmt.Sprint(a.Quarantined)},
	}
	if e := a.Earlier; e != nil {
		rows = since(rows, e, row)
	}
	if err := writeTable(w, rows); err != nil {
		return err
	}
	if a.AuditRows == 0 && a.Queued == 0 && a.Quarantined == 0 && !a.Already {
		fmt.Fprintln(w, "Nothing is known of such a contact: is it the right tenant? Whatever comes of it will lose its values, until erase --lift.")
	}
	if a.Queued > 0 {
		fmt.Fprintf(w, "%s to be applied, and will then lose the values.\n", count(a.Queued, "event waits", "events wait"))
	}
	if a.Redacted > 0 {
		fmt.Fprintf(w, "%s in quarantine without values, and can still be applied: contactmirror quarantine retry\n", count(a.Redacted, "delivery stays", "deliveries stay"))
	}
	if len(a.Unattributed) > 0 {
		fmt.Fprintf(w, "Nobody can tell whether these quarantine entries are about the contact; look at them by hand: %s\n",
			strings.Trim(fmt.Sprint(a.Unattributed), "[]"))
	}
	return nil
}

// since puts what an earlier erasure removed before what has come up since.
func since(rows [][]string, e *erasure.Earlier, row map[bool]string) [][]string {
	then := []string{"unknown", number(e.AuditRows), number(e.Bodies), number(e.Duplicates), number(e.Quarantined)}
	if e.HadRow != nil {
		then[0] = row[*e.HadRow]
	}
	table := [][]string{{"", "THEN", "SINCE"}}
	for i, r := range rows {
		table = append(table, []string{r[0], then[i], r[1]})
	}
	if e.Actor != nil {
		table = append(table, []string{"by", plain(*e.Actor)})
	}
	if e.Reason != nil {
		table = append(table, []string{"reason", plain(*e.Reason)})
	}
	return table
}

func number(n *int64) string {
	if n == nil {
		return "unknown"
	}
	return fmt.Sprint(*n)
}
