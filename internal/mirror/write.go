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
	"contactmirror/internal/contactrow"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var buryStmt = pg.NewCommand[buryArgs](sql.MirrorBury)

type buryArgs struct {
	ContextIdentifiers []string
	ContactIDs         []int64
	DeletedAt          []time.Time
	EventSeqs          []int64
	OccurredTicks      []int64
	EventIDs           []pgtype.UUID
}

// write stores the folded contacts and one audit row for each of n events.
func write(ctx context.Context, tx pgx.Tx, contacts []*touched, n int, log *audit.Appender, now time.Time) error {
	rows, err := auditRows(contacts, n, log, now)
	if err != nil {
		return err
	}
	var batch pgx.Batch
	stored := rowsOf(contacts)
	contactrow.QueueWrite(&batch, stored, now)
	contactrow.QueueRemove(&batch, stored)
	queueTombstones(&batch, contacts)
	log.QueueWrite(&batch)
	unquarantineStmt.Queue(&batch, unquarantineArgs{seqsOf(contacts, n)})
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return fmt.Errorf("write %d contacts: %w", len(contacts), err)
	}
	return audit.Copy(ctx, tx, rows)
}

// seqsOf is the numbers of the n events.
func seqsOf(contacts []*touched, n int) []int64 {
	seqs := make([]int64, 0, n)
	for _, t := range contacts {
		for _, e := range t.events {
			seqs = append(seqs, e.seq)
		}
	}
	return seqs
}

func queueTombstones(batch *pgx.Batch, contacts []*touched) {
	var (
		keys []contact.Key
		args buryArgs
	)
	for _, t := range contacts {
		if t.State.Life != contact.Gone || t.State.Last == t.Stored.Last {
			continue
		}
		for _, e := range t.events {
			if last := t.State.Last; e.Fact.Order == last {
				keys = append(keys, t.Key)
				args.DeletedAt, args.EventSeqs = append(args.DeletedAt, last.Ticks.Time()), append(args.EventSeqs, e.seq)
				args.OccurredTicks = append(args.OccurredTicks, int64(last.Ticks))
				args.EventIDs = append(args.EventIDs, pgtype.UUID{Bytes: last.ID, Valid: true})
			}
		}
	}
	if len(keys) == 0 {
		return
	}
	args.ContextIdentifiers, args.ContactIDs = contactrow.Split(keys)
	buryStmt.Queue(batch, args)
}

// unwritableError tells that what an event leads to has no form in the database.
type unwritableError struct{ error }

func (e *unwritableError) Unwrap() error { return e.error }

// auditRows makes the audit rows of n events, and links them.
func auditRows(contacts []*touched, n int, log *audit.Appender, now time.Time) ([]audit.Row, error) {
	rows := make([]audit.Row, 0, n)
	for _, t := range contacts {
		for i, e := range t.events {
			known, err := lastKnown(t.Key, t.results[i].LastKnown)
			if err != nil {
				return nil, &unwritableError{fmt.Errorf("last known row of %v: %w", t.Key, err)}
			}
			rows = append(rows, audit.NewRow(e.Contact))
			r := &rows[len(rows)-1]
			r.EventSeq, r.ReceivedAt, r.RecordedAt = &e.seq, e.receivedAt, now
			r.WebhookName, r.Origin = e.webhook, "webhook"
			result := &t.results[i]
			r.Outcome, r.Effect, r.LastKnown = new(string(result.Outcome)), result.Effect, known
			r.NoticedColumns, r.Irregular = result.Noticed.Sources(), result.Irregular
			if err := log.Append(r, t.erased.OfRow(e.Contact, e.receivedAt)); err != nil {
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
	for _, c := range contactrow.Whole.Columns() {
		row[c.Spec().Name] = c.Spec().Type.JSON(s.Row.Values[c])
	}
	return json.Marshal(row)
}
