package mirror

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/audit"
	"contactmirror/internal/contact"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

// load sets the savepoint, and reads what is stored of the contacts, and the ends
// of their chains, in one round trip.
func load(ctx context.Context, tx pgx.Tx, contacts []*touched, ends *ends) error {
	var batch pgx.Batch
	batch.Queue("savepoint " + savepoint)
	for _, s := range []*shape{&whole, &sent} {
		some := slices.DeleteFunc(slices.Clone(contacts), func(t *touched) bool { return t.shape != s })
		if len(some) == 0 {
			continue
		}
		tenants, ids := split(keysOf(some))
		batch.Queue(s.load, pgx.StrictNamedArgs{"context_identifiers": tenants, "contact_ids": ids}).Query(func(rows pgx.Rows) error {
			return s.scan(rows, func(place int64, row pgtype.TID, stored contact.State) {
				some[place-1].row, some[place-1].stored = row, stored
			})
		})
	}
	tenants, ids := split(keysOf(contacts))
	args := pgx.StrictNamedArgs{"context_identifiers": tenants, "contact_ids": ids}
	batch.Queue(sql.MirrorTombstones, args).Query(func(rows pgx.Rows) error {
		var (
			place int64
			ticks pgtype.Int8
			id    pgtype.UUID
		)
		err := pg.ForEach(rows, []any{&place, &ticks, &id}, func() error {
			if !ticks.Valid {
				contacts[place-1].erased = true
				return nil
			}
			last := contact.Order{Ticks: contact.Ticks(ticks.Int64), Kind: contact.Deleted, ID: id.Bytes}
			contacts[place-1].stored = contact.State{Life: contact.Gone, Last: last}
			return nil
		})
		return err
	})
	ends.queueLoad(&batch)
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("load %d contacts: %w", len(contacts), err)
	}
	for _, t := range contacts {
		t.state = t.stored
	}
	return nil
}

// loadHistories reads the logged facts of the contacts that need them.
func loadHistories(ctx context.Context, tx pgx.Tx, contacts []*touched) error {
	var late []*touched
	for _, t := range contacts {
		if t.state.NeedsHistory(t.facts) {
			late = append(late, t)
		}
	}
	if len(late) == 0 {
		return nil
	}
	histories, err := audit.Facts(ctx, tx, keysOf(late))
	if err != nil {
		return err
	}
	for i, t := range late {
		t.history = histories[i]
	}
	return nil
}

func keysOf(contacts []*touched) []contact.Key {
	keys := make([]contact.Key, len(contacts))
	for i, t := range contacts {
		keys[i] = t.key
	}
	return keys
}
