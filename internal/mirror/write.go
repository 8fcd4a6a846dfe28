package mirror

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/audit"
	"contactmirror/internal/contact"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

// write stores the folded contacts and one audit row for each of n events.
func write(ctx context.Context, tx pgx.Tx, contacts []*touched, n int, ends *ends, now time.Time) error {
	rows, err := auditRows(contacts, n, ends, now)
	if err != nil {
		return err
	}
	var batch pgx.Batch
	queueRows(&batch, contacts, now)
	queueRemovals(&batch, contacts)
	queueTombstones(&batch, contacts)
	ends.queueWrite(&batch)
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("write %d contacts: %w", len(contacts), err)
	}
	return audit.Copy(ctx, tx, rows)
}

// queueRows writes the rows of live contacts of which anything changed, be it
// only what the last event was.
func queueRows(batch *pgx.Batch, contacts []*touched, now time.Time) {
	var (
		keys     []contact.Key
		inserted []*contact.State
		rows     = map[*shape]*addresses{&whole: {}, &sent: {}}
		updated  = map[*shape][]*contact.State{}
		stored   = map[*shape][]*contact.State{}
	)
	for _, t := range contacts {
		switch {
		case t.state.Life != contact.Live || t.state.Row == t.stored.Row && t.state.Last == t.stored.Last:
		case t.stored.Life == contact.Live:
			rows[t.shape].add(t)
			stored[t.shape], updated[t.shape] = append(stored[t.shape], &t.stored), append(updated[t.shape], &t.state)
		default:
			keys, inserted = append(keys, t.key), append(inserted, &t.state)
		}
	}
	if len(inserted) > 0 {
		args := whole.args(inserted, nil, now)
		args["context_identifier"], args["contact_id"] = split(keys)
		batch.Queue(sql.MirrorInsert, args).Exec(pg.Touched(len(inserted)))
	}
	for _, s := range []*shape{&whole, &sent} {
		if states := updated[s]; len(states) > 0 {
			args := s.args(states, stored[s], now)
			rows[s].to(args)
			batch.Queue(s.update, args).Exec(pg.Touched(len(states)))
		}
	}
}

func queueRemovals(batch *pgx.Batch, contacts []*touched) {
	var gone addresses
	for _, t := range contacts {
		if t.stored.Life == contact.Live && t.state.Life == contact.Gone {
			gone.add(t)
		}
	}
	if n := len(gone.rows); n > 0 {
		args := pgx.StrictNamedArgs{}
		gone.to(args)
		batch.Queue(sql.MirrorRemove, args).Exec(pg.Touched(n))
	}
}

// addresses are where rows of contacts are stored, with the keys that they must
// still have.
type addresses struct {
	rows []pgtype.TID
	keys []contact.Key
}

func (a *addresses) add(t *touched) {
	a.rows, a.keys = append(a.rows, t.row), append(a.keys, t.key)
}

func (a *addresses) to(args pgx.StrictNamedArgs) {
	args["row"] = a.rows
	args["context_identifier"], args["contact_id"] = split(a.keys)
}

func queueTombstones(batch *pgx.Batch, contacts []*touched) {
	var (
		keys  []contact.Key
		at    []time.Time
		seqs  []int64
		ticks []int64
		ids   []pgtype.UUID
	)
	for _, t := range contacts {
		if t.state.Life != contact.Gone || t.state.Last == t.stored.Last {
			continue
		}
		for _, e := range t.events {
			if last := t.state.Last; e.Fact.Order == last {
				keys, at, seqs = append(keys, t.key), append(at, last.Ticks.Time()), append(seqs, e.seq)
				ticks, ids = append(ticks, int64(last.Ticks)), append(ids, pgtype.UUID{Bytes: last.ID, Valid: true})
			}
		}
	}
	if len(keys) == 0 {
		return
	}
	tenants, contactIDs := split(keys)
	batch.Queue(sql.MirrorBury, pgx.StrictNamedArgs{
		"context_identifiers": tenants, "contact_ids": contactIDs, "deleted_at": at,
		"event_seqs": seqs, "occurred_ticks": ticks, "event_ids": ids,
	})
}

// unwritableError tells that what an event leads to has no form in the database.
type unwritableError struct{ error }

func (e *unwritableError) Unwrap() error { return e.error }

// auditRows makes the audit rows of n events, and links them.
func auditRows(contacts []*touched, n int, ends *ends, now time.Time) ([]audit.Row, error) {
	rows := make([]audit.Row, 0, n)
	for _, t := range contacts {
		for i, e := range t.events {
			known, err := lastKnown(t.key, t.results[i].LastKnown)
			if err != nil {
				return nil, &unwritableError{fmt.Errorf("last known row of %v: %w", t.key, err)}
			}
			rows = append(rows, audit.NewRow(e.Contact))
			r := &rows[len(rows)-1]
			r.EventSeq, r.ReceivedAt, r.RecordedAt = &e.seq, e.receivedAt, now
			r.WebhookName, r.Origin = e.webhook, "webhook"
			r.Outcome, r.Effect, r.LastKnown = string(t.results[i].Outcome), t.results[i].Effect, known
			ends.number(r)
			if r.ErasedColumns = e.Erased; t.erased || e.Erased != nil {
				err = ends.linker.Erase(r)
			}
			if err == nil {
				err = ends.link(r)
			}
			if err != nil {
				return nil, &unwritableError{fmt.Errorf("link event %d: %w", e.seq, err)}
			}
		}
	}
	return rows, nil
}

// lastKnown is the row that a hard delete took away, as a JSON object by column
// name; jsonb_populate_record makes a row of contacts of it again. It lacks
// only first_seen_at and mirrored_at, which the fold does not know.
func lastKnown(key contact.Key, s *contact.State) ([]byte, error) {
	if s == nil {
		return nil, nil
	}
	row := map[string]any{
		"context_identifier": key.Tenant, "contact_id": key.ID,
		"soft_deleted": s.Row.SoftDeleted, "soft_deleted_at": nil, "pending_columns": s.Row.Pending.Names(),
		"last_event": s.Last.Kind.String(), "last_event_id": s.Last.ID.String(),
		"last_event_at": s.Last.Ticks.Time(), "last_event_ticks": int64(s.Last.Ticks),
		"last_changed_by_associate_id": s.ChangedBy,
	}
	if s.Row.SoftDeleted {
		row["soft_deleted_at"] = contact.Timestamptz.JSON(contact.MicrosValue(s.Row.SoftDeletedAt))
	}
	for _, c := range whole.columns {
		row[c.Spec().Name] = c.Spec().Type.JSON(s.Row.Values[c])
	}
	return json.Marshal(row)
}
