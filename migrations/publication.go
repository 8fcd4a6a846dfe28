package migrations

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/operator"
)

// published are the tables that others may want to follow: what is mirrored, and
// why. Each has a primary key, by which updates and deletes find their rows at
// the subscriber: the audit log's rows are only ever added, but for erasure,
// which blanks values in them, and must reach every copy.
var published = []string{"contact_audit_log", "contact_tombstones", "contacts"}

// Published is what [Publish] has done.
type Published struct {
	Tables []string
	// Created and Altered tell that the publication was not there, or not so.
	Created, Altered bool
	// Warnings say what keeps others from subscribing.
	Warnings []string
}

// Publish makes the publication name for logical replication, or brings it to
// what this build publishes. It is to be run as the owner, on the schema version
// of this build, and may be repeated. A publication that somebody else has made,
// of other tables, is an error.
func Publish(ctx context.Context, url, name string, by operator.Actor) (done Published, err error) {
	err = asOwner(ctx, url, func(tx pgx.Tx) error {
		if err := Check(ctx, tx); err != nil {
			return err
		}
		if done, err = publish(ctx, tx, name); err != nil {
			return err
		}
		return operator.Record(ctx, tx, operator.Entry{Actor: by, Action: operator.Publish, Detail: operator.Detail{"publication": name}})
	})
	if err != nil {
		return Published{}, fmt.Errorf("migrations: publication %s: %w", name, err)
	}
	return done, nil
}

func publish(ctx context.Context, tx pgx.Tx, name string) (Published, error) {
	done := Published{Tables: published}
	if err := identifyRows(ctx, tx); err != nil {
		return done, err
	}
	state, err := lookAtPublication(ctx, tx, name)
	if err != nil {
		return done, err
	}
	publication, tables := pgx.Identifier{name}.Sanitize(), strings.Join(published, ", ")
	switch {
	case state.AllTables:
		return done, fmt.Errorf("it publishes every table of the database, raw bodies and quarantine included: choose another name")
	case len(state.Others) > 0:
		return done, fmt.Errorf("it publishes %s too: choose another name", strings.Join(state.Others, ", "))
	case !state.Exists:
		done.Created = true
		_, err = tx.Exec(ctx, "create publication "+publication+" for table "+tables)
	case !state.Whole || !slices.Equal(state.Ours, published):
		done.Altered = true
		_, err = tx.Exec(ctx, "alter publication "+publication+" set table "+tables+
			"; alter publication "+publication+" set (publish = 'insert, update, delete, truncate')")
	}
	if err != nil {
		return done, err
	}
	if state.WALLevel != "logical" {
		done.Warnings = append(done.Warnings, fmt.Sprintf(
			"nobody can subscribe while the server's wal_level is %s: alter system set wal_level = logical, and restart the server", state.WALLevel))
	}
	return done, nil
}

// identifyRows sees to it that updates and deletes of the tables can be
// published: else PostgreSQL would refuse them, and the mirror would stop.
func identifyRows(ctx context.Context, tx pgx.Tx) error {
	rows, _ := tx.Query(ctx, `
		select relname::text
		from pg_class
		where oid = any ($1::text[]::regclass[]) and relreplident = 'n'`, published) // CollectRows returns its error
	nameless, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look at the replica identities: %w", err)
	}
	for _, table := range nameless {
		if _, err := tx.Exec(ctx, "alter table "+table+" replica identity default"); err != nil {
			return fmt.Errorf("identify the rows of %s: %w", table, err)
		}
	}
	return nil
}

// publicationState is what is known of a publication that may or may not exist.
type publicationState struct {
	Exists, AllTables bool
	// Whole tells that all operations, rows and columns of Ours are published.
	Whole        bool
	Ours, Others []string
	WALLevel     string
}

func lookAtPublication(ctx context.Context, tx pgx.Tx, name string) (publicationState, error) {
	rows, _ := tx.Query(ctx, `
		select p.oid is not null as exists,
			coalesce(p.puballtables, false) as all_tables,
			coalesce(p.pubinsert and p.pubupdate and p.pubdelete and p.pubtruncate, false)
				and not exists (select from pg_publication_rel r where r.prpubid = p.oid and (r.prqual is not null or r.prattrs is not null)) as whole,
			array(
				select c.relname::text from pg_publication_rel r join pg_class c on c.oid = r.prrelid
				where r.prpubid = p.oid and r.prrelid = any ($2::text[]::regclass[]) order by 1
			) as ours,
			array(
				select r.prrelid::regclass::text from pg_publication_rel r
				where r.prpubid = p.oid and r.prrelid <> all ($2::text[]::regclass[])
				union all
				select 'schema ' || n.pnnspid::regnamespace::text from pg_publication_namespace n where n.pnpubid = p.oid
				order by 1
			) as others,
			current_setting('wal_level') as wal_level
		from (values (1)) as always (one)
		left join pg_publication p on p.pubname = $1`, name, published) // CollectExactlyOneRow returns its error
	state, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[publicationState])
	if err != nil {
		return publicationState{}, fmt.Errorf("look at it: %w", err)
	}
	return state, nil
}
