package inbox

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"

	"contactmirror/internal/contact"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var (
	put        = pg.Column[int64](sql.InboxPut)
	duplicate  = pg.Column[int64](sql.InboxDuplicate)
	quarantine = pg.Command(sql.InboxQuarantine)
	probe      = pg.Column[int64](sql.InboxProbe)
)

// store commits a batch and answers every request in it.
func (in *Inbox) store(batch []*request) {
	events := make([]*request, 0, len(batch))
	for _, r := range batch {
		if r.Event == nil {
			r.answer <- in.quarantine(r)
		} else {
			events = append(events, r)
		}
	}
	slices.SortStableFunc(events, func(a, b *request) int { return a.key.compare(b.key) })
	first, again := partition(events)
	again = append(again, in.accept(first)...)
	in.noteDuplicates(again)
}

// partition takes repetitions within a batch, sorted by key, out of it.
func partition(events []*request) (first, again []*request) {
	for i, r := range events {
		if i > 0 && r.key.compare(events[i-1].key) == 0 {
			again = append(again, r)
		} else {
			first = append(first, r)
		}
	}
	return first, again
}

// accept stores the events that are new and answers their requests. It returns
// those of events that were stored before.
func (in *Inbox) accept(events []*request) (known []*request) {
	if len(events) == 0 {
		return nil
	}
	places, err := retry(events, func(ctx context.Context) ([]int64, error) {
		return put.All(ctx, in.pool, putArgs(events))
	})
	switch {
	case err != nil && pg.DataFault(err) && len(events) == 1:
		// The server can't hold what parsing let pass, so it is kept as bytes.
		events[0].Reason = pg.Explain(err)
		events[0].answer <- in.quarantine(events[0])
		return nil
	case err != nil && pg.DataFault(err):
		half := len(events) / 2
		return append(in.accept(events[:half]), in.accept(events[half:])...)
	case err != nil:
		fail(events, fmt.Errorf("inbox: store %d events: %w", len(events), err))
		return nil
	}
	isNew := make([]bool, len(events))
	for _, place := range places {
		isNew[place-1] = true
	}
	queued := false
	for i, r := range events {
		switch {
		case !isNew[i]:
			known = append(known, r)
		case r.Event.Ignored():
			r.answer <- answer{result: Ignored}
		default:
			queued = true
			r.answer <- answer{result: Accepted}
		}
	}
	if queued {
		in.queued()
	}
	return known
}

// PutIn stores the event of d within tx, and reports whether it was new. It is
// for a delivery that an operator has sent on; requests share commits in
// [Inbox.Put].
func PutIn(ctx context.Context, tx pgx.Tx, d Delivery) (stored bool, err error) {
	places, err := put.All(ctx, tx, putArgs([]*request{{Delivery: d, key: keyOf(&d)}}))
	if err != nil {
		return false, fmt.Errorf("inbox: store an event: %w", err)
	}
	return len(places) == 1, nil
}

func (in *Inbox) noteDuplicates(again []*request) {
	if len(again) == 0 {
		return
	}
	noted, err := retry(again, func(ctx context.Context) (int64, error) {
		return duplicate.One(ctx, in.pool, duplicateArgs(again))
	})
	switch {
	case err != nil:
		fail(again, fmt.Errorf("inbox: note %d duplicates: %w", len(again), err))
	case noted != int64(len(again)):
		fail(again, fmt.Errorf("inbox: %d of %d duplicates have no event", int64(len(again))-noted, len(again)))
	default:
		for _, r := range again {
			r.answer <- answer{result: Duplicate}
		}
	}
}

// quarantine keeps a delivery that is no event.
func (in *Inbox) quarantine(r *request) answer {
	headers, err := json.Marshal(r.Headers)
	if err != nil {
		return answer{err: fmt.Errorf("inbox: quarantine: headers: %w", err)}
	}
	if r.Tenant != nil && strings.IndexByte(*r.Tenant, 0) >= 0 {
		r.Tenant = nil // a text can't hold a NUL; the bytes are kept
	}
	hash := sha256.Sum256(r.Body)
	_, err = retry([]*request{r}, func(ctx context.Context) (int64, error) {
		return quarantine.Run(ctx, in.pool, pgx.StrictNamedArgs{
			"received_at": r.ReceivedAt, "reason": r.Reason, "context_identifier": r.Tenant,
			"headers": headers, "body": r.Body, "body_sha256": hash[:],
		})
	})
	if err != nil {
		return answer{err: fmt.Errorf("inbox: quarantine: %w", err)}
	}
	return answer{result: Quarantined}
}

// retry makes the call again while it may help and the oldest request can wait.
// A commit whose answer was lost is repeated too: the dedupe key makes that
// harmless (it may turn "accepted" into "duplicate").
func retry[T any](batch []*request, call func(context.Context) (T, error)) (T, error) {
	deadline := batch[0].deadline
	for _, r := range batch {
		if r.deadline.Before(deadline) {
			deadline = r.deadline
		}
	}
	ctx, cancel := context.WithDeadline(context.Background(), deadline)
	defer cancel()
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 10 * time.Millisecond
	var last error // says more than that the time was up
	result, err := backoff.Retry(ctx, func() (T, error) {
		result, err := call(ctx)
		if last = err; err != nil && !pg.Transient(err) {
			err = backoff.Permanent(err)
		}
		return result, err
	}, backoff.WithBackOff(pause))
	if err != nil {
		err = last
	}
	return result, err
}

func fail(batch []*request, err error) {
	for _, r := range batch {
		r.answer <- answer{err: err}
	}
}

// key is what makes an event the same one: its four parts, or where it lacks
// one of them the hash of its body.
type key struct {
	tenant, event string
	id            contact.EventID
	primaryKey    int64
	keyless       []byte
}

func keyOf(d *Delivery) key {
	e := d.Event
	if e.ID == nil || e.PrimaryKey == nil {
		hash := sha256.Sum256(d.Body)
		return key{keyless: hash[:]}
	}
	return key{tenant: e.Tenant, event: e.Name, id: *e.ID, primaryKey: *e.PrimaryKey}
}

func (k key) compare(other key) int {
	return cmp.Or(
		bytes.Compare(k.keyless, other.keyless),
		cmp.Compare(k.tenant, other.tenant),
		bytes.Compare(k.id[:], other.id[:]),
		cmp.Compare(k.event, other.event),
		cmp.Compare(k.primaryKey, other.primaryKey),
	)
}
