package mirror

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/audit"
	"contactmirror/internal/contact"
	"contactmirror/internal/contactrow"
	"contactmirror/internal/erasure"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

// load sets the savepoint, and reads what is stored of the contacts, and the ends
// of their chains, in one round trip.
func load(ctx context.Context, tx pgx.Tx, contacts []*touched, log *audit.Appender) error {
	var batch pgx.Batch
	batch.Queue("savepoint " + savepoint)
	contactrow.QueueLoad(&batch, rowsOf(contacts))
	tenants, ids := contactrow.Split(keysOf(contacts))
	args := pgx.StrictNamedArgs{"context_identifiers": tenants, "contact_ids": ids}
	batch.Queue(sql.MirrorTombstones, args).Query(func(rows pgx.Rows) error {
		var (
			place         int64
			ticks         pgtype.Int8
			id            pgtype.UUID
			erasedThrough pgtype.Timestamptz
		)
		err := pg.ForEach(rows, []any{&place, &ticks, &id, &erasedThrough}, func() error {
			if !ticks.Valid {
				contacts[place-1].erased = erasure.NewExtent(erasedThrough)
				return nil
			}
			last := contact.Order{Ticks: contact.Ticks(ticks.Int64), Kind: contact.Deleted, ID: id.Bytes}
			contacts[place-1].Stored = contact.State{Life: contact.Gone, Last: last}
			return nil
		})
		return err
	})
	log.QueueLoad(&batch)
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("load %d contacts: %w", len(contacts), err)
	}
	for _, t := range contacts {
		t.State = t.Stored
	}
	return nil
}

// loadHistories reads the logged facts of the contacts that need them.
func loadHistories(ctx context.Context, tx pgx.Tx, contacts []*touched) error {
	var late []*touched
	for _, t := range contacts {
		if t.State.NeedsHistory(t.facts) {
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
		keys[i] = t.Key
	}
	return keys
}

func rowsOf(contacts []*touched) []*contactrow.Row {
	rows := make([]*contactrow.Row, len(contacts))
	for i, t := range contacts {
		rows[i] = &t.Row
	}
	return rows
}
