package bench

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/contact"
)

// Backlog is events that were accepted and wait to be applied.
type Backlog struct {
	Traffic
	// Events is how many, Contacts how many contacts they are about.
	Events, Contacts int
	// From is the number of each contact's first event.
	From int
	// Late is which share of the events arrives behind the contact's next one.
	Late float64
}

// order calls yield with the backlog's events in the order of their arrival:
// round by round, one event of each contact, the contacts in another order each
// round.
func (b *Backlog) order(yield func(Event)) {
	random := rand.New(rand.NewPCG(uint64(b.Contacts), uint64(b.Events)))
	swapped := make([]bool, b.Contacts)
	rounds := (b.Events + b.Contacts - 1) / b.Contacts
	for round, left := 0, b.Events; left > 0; round++ {
		for _, c := range random.Perm(b.Contacts)[:min(left, b.Contacts)] {
			number := round
			// Of two rounds that are swapped the second one's event is late. The first
			// round is never one of them: a contact's first event is in order.
			switch {
			case round == 0 || b.Late == 0:
			case round%2 == 1:
				swapped[c] = round+1 < rounds && random.Float64() < 2*b.Late
				if swapped[c] {
					number++
				}
			case swapped[c]:
				number--
			}
			yield(Event{Contact: int64(c) + 1, Number: b.From + number})
		}
		left -= min(left, b.Contacts)
	}
}

// received is the receipt of a backlog's events: all at once, for nothing is
// made of it.
var received = time.Now().UTC().Truncate(time.Microsecond)

// fillChunk is how many events go into the tables at a time.
const fillChunk = 500

// Queue stores the backlog as the inbox would, but faster: by COPY.
func (b *Backlog) Queue(ctx context.Context, pool *pgxpool.Pool) error {
	chunk := make([]Event, 0, fillChunk)
	var err error
	flush := func() {
		if err == nil && len(chunk) > 0 {
			err = pgx.BeginTxFunc(ctx, pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error { return b.store(ctx, tx, chunk) })
		}
		chunk = chunk[:0]
	}
	b.order(func(e Event) {
		if chunk = append(chunk, e); len(chunk) == fillChunk {
			flush()
		}
	})
	flush()
	if err != nil {
		return fmt.Errorf("bench: queue %d events: %w", b.Events, err)
	}
	return nil
}

func (b *Backlog) store(ctx context.Context, tx pgx.Tx, events []Event) error {
	const numbers = "select max(nextval('webhook_events_event_seq_seq')) from (select pg_current_xact_id() offset 0) x, generate_series(1, $1)"
	var last int64
	if err := tx.QueryRow(ctx, numbers, len(events)).Scan(&last); err != nil {
		return err
	}
	seq := func(i int) int64 { return last - int64(len(events)) + int64(i) + 1 }
	each := func(table string, columns []string, row func(i int, e Event) []any) error {
		_, err := tx.CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromSlice(len(events), func(i int) ([]any, error) {
			return row(i, events[i]), nil
		}))
		return err
	}
	err := each("webhook_events", []string{
		"event_seq", "context_identifier", "event_id", "event", "entity", "primary_key", "occurred_at", "occurred_ticks", "received_at", "ignored",
	}, func(i int, e Event) []any {
		key, at := b.Key(e), b.Ticks(e)
		return []any{seq(i), key.Tenant, uuid(b.ID(e)), b.Kind(e).String(), "contact", key.ID, at.Time(), int64(at), received, false}
	})
	if err != nil {
		return err
	}
	var room []byte
	err = each("webhook_bodies", []string{"event_seq", "received_at", "ignored", "body"}, func(i int, e Event) []any {
		room = b.AppendBody(room[:0], e)
		return []any{seq(i), received, false, room}
	})
	if err != nil {
		return err
	}
	return each("sync_queue", []string{"shard", "context_identifier", "event_seq", "received_at", "body_bytes"}, func(i int, e Event) []any {
		key := b.Key(e)
		room = b.AppendBody(room[:0], e)
		return []any{key.Shard(), key.Tenant, seq(i), received, int32(len(room))}
	})
}

func uuid(id contact.EventID) pgtype.UUID { return pgtype.UUID{Bytes: id, Valid: true} }
