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

var tombstonesStmt = pg.NewStream[tombstonesArgs](sql.MirrorTombstones,
	func(t *tombstone) []any { return []any{&t.place, &t.ticks, &t.id, &t.erasedThrough} })

type (
	tombstonesArgs struct {
		ContextIdentifiers []string
		ContactIDs         []int64
	}
	// tombstone is that of the contact of that place in the arrays, from 1; or without
	// ticks, through when its values are erased.
	tombstone struct {
		place         int64
		ticks         pgtype.Int8
		id            pgtype.UUID
		erasedThrough pgtype.Timestamptz
	}
)

// load sets the savepoint, and reads what is stored of the contacts, and the ends
// of their chains, in one round trip.
func load(ctx context.Context, tx pgx.Tx, contacts []*touched, log *audit.Appender) error {
	var batch pgx.Batch
	batch.Queue("savepoint " + savepoint)
	contactrow.QueueLoad(&batch, rowsOf(contacts))
	tenants, ids := contactrow.Split(keysOf(contacts))
	tombstonesStmt.Queue(&batch, tombstonesArgs{tenants, ids}, func(t *tombstone) error {
		c := contacts[t.place-1]
		if !t.ticks.Valid {
			c.erased = erasure.NewExtent(t.erasedThrough)
			return nil
		}
		last := contact.Order{Ticks: contact.Ticks(t.ticks.Int64), Kind: contact.Deleted, ID: t.id.Bytes}
		c.Stored = contact.State{Life: contact.Gone, Last: last}
		return nil
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
