package inbox

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/jackc/pgx/v5"

	"contactmirror/internal/contact"
	"contactmirror/internal/pg"
	"contactmirror/internal/sequence"
	"contactmirror/sql"
)

var (
	putStmt        = pg.NewColumn[putArgs, int64](sql.InboxPut)
	duplicateStmt  = pg.NewColumn[duplicateArgs, int64](sql.InboxDuplicate)
	quarantineStmt = pg.NewCommand[quarantineArgs](sql.InboxQuarantine)
	probeStmt      = pg.NewColumn[pg.NoArgs, int64](sql.InboxProbe)
)

// store commits a batch and answers every request in it.
func (in *Inbox) store(batch []*request) {
	var events, odd []*request
	for _, r := range batch {
		if r.Event == nil {
			odd = append(odd, r)
		} else {
			events = append(events, r)
		}
	}
	slices.SortStableFunc(events, func(a, b *request) int { return a.key.compare(b.key) })
	first, again := partition(events)
	known, refused := in.accept(first)
	again, twins := split(again, refused)
	in.noteDuplicates(append(again, known...))
	in.quarantine(slices.Concat(odd, refused, twins))
}

// split takes those out of again whose event was refused a moment ago.
func split(again, refused []*request) (duplicates, twins []*request) {
	for _, r := range again {
		if i := slices.IndexFunc(refused, func(f *request) bool { return f.key.compare(r.key) == 0 }); i >= 0 {
			r.Reason = refused[i].Reason
			twins = append(twins, r)
		} else {
			duplicates = append(duplicates, r)
		}
	}
	return duplicates, twins
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
// those of events that were stored before, and those that the server refuses
// for what is in them, though parsing let it pass.
func (in *Inbox) accept(events []*request) (known, refused []*request) {
	if len(events) == 0 {
		return nil, nil
	}
	places, err := retry(in, events, func(ctx context.Context) ([]int64, error) {
		return putStmt.Commit(ctx, in.pool, newPutArgs(events))
	})
	switch {
	case err != nil && pg.DataFault(err) && len(events) == 1:
		events[0].Reason = pg.Explain(err)
		return nil, events
	case err != nil && pg.DataFault(err):
		half := len(events) / 2
		known, refused = in.accept(events[:half])
		moreKnown, moreRefused := in.accept(events[half:])
		return append(known, moreKnown...), append(refused, moreRefused...)
	case err != nil:
		fail(events, fmt.Errorf("inbox: store %d events: %w", len(events), err))
		return nil, nil
	}
	isNew := make([]bool, len(events))
	for _, place := range places {
		isNew[place-1] = true
	}
	var tenants []string // of what was queued
	for i, r := range events {
		switch {
		case !isNew[i]:
			known = append(known, r)
		case r.Event.Ignored():
			r.answer <- answer{result: Ignored}
		default:
			if n := len(tenants); n == 0 || tenants[n-1] != r.key.tenant { // they are sorted
				tenants = append(tenants, r.key.tenant)
			}
			r.answer <- answer{result: Accepted}
		}
	}
	if len(tenants) > 0 {
		in.queued(tenants...)
	}
	return known, nil
}

// PutIn stores the event of d within tx, or notes d as a duplicate of the event that
// is stored already. It is for a delivery that an operator has sent on; requests share
// commits in [Inbox.Put]. The result is Accepted, Ignored or Duplicate.
func PutIn(ctx context.Context, tx pgx.Tx, d Delivery) (Result, error) {
	one := []*request{{Delivery: d, key: keyOf(&d)}}
	places, err := putStmt.All(ctx, tx, newPutArgs(one))
	switch {
	case err != nil:
		return "", fmt.Errorf("inbox: store an event: %w", err)
	case len(places) == 1 && d.Event.Ignored():
		return Ignored, nil
	case len(places) == 1:
		return Accepted, nil
	}
	noted, err := duplicateStmt.One(ctx, tx, newDuplicateArgs(one))
	switch {
	case err != nil:
		return "", fmt.Errorf("inbox: note a duplicate: %w", err)
	case noted != 1:
		return "", errors.New("inbox: the event is neither stored nor new")
	}
	return Duplicate, nil
}

func (in *Inbox) noteDuplicates(again []*request) {
	if len(again) == 0 {
		return
	}
	noted, err := retry(in, again, func(ctx context.Context) (int64, error) {
		return duplicateStmt.CommitCustomPlan(ctx, in.pool, newDuplicateArgs(again))
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

// RefusedError tells that the database takes deliveries, but not this one.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string {
	return "the database refuses this delivery alone: " + e.Err.Error()
}

func (e *RefusedError) Unwrap() error { return e.Err }

// confirm stores the delivery that quarantine has refused, after another one on
// trial. Only where the trial succeeds and the delivery is refused again is it at
// fault, and the error a [*RefusedError].
func (in *Inbox) confirm(batch []*request) error {
	trial, err := newQuarantineArgs([]*request{{Delivery: Delivery{Body: []byte{}, ReceivedAt: time.Now(), Reason: "stored on trial"}}})
	if err != nil {
		return err
	}
	args, err := newQuarantineArgs(batch)
	if err != nil {
		return err
	}
	ctx, cancel := whileAnyWaits(batch)
	defer cancel()
	errTaken := errors.New("taken")
	return pgx.BeginTxFunc(ctx, in.pool, pg.ReadCommitted, func(tx pgx.Tx) error {
		err := pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
			if _, err := quarantineStmt.Run(ctx, savepoint, trial); err != nil {
				return err
			}
			return errTaken
		})
		if !errors.Is(err, errTaken) {
			return err
		}
		if _, err = quarantineStmt.Run(ctx, tx, args); pg.DataFault(err) {
			return &RefusedError{err}
		}
		return err
	})
}

// quarantine keeps deliveries that are no events, and answers them.
func (in *Inbox) quarantine(batch []*request) {
	if len(batch) == 0 {
		return
	}
	args, err := newQuarantineArgs(batch)
	if err == nil {
		_, err = retry(in, batch, func(ctx context.Context) (struct{}, error) {
			return struct{}{}, quarantineStmt.Commit(ctx, in.pool, args)
		})
	}
	switch {
	case err != nil && pg.DataFault(err) && len(batch) > 1:
		half := len(batch) / 2
		in.quarantine(batch[:half])
		in.quarantine(batch[half:])
		return
	case err != nil && pg.DataFault(err):
		err = in.confirm(batch)
	}
	switch {
	case err != nil:
		fail(batch, fmt.Errorf("inbox: quarantine %d deliveries: %w", len(batch), err))
	default:
		for _, r := range batch {
			r.answer <- answer{result: Quarantined}
		}
	}
}

// retry makes the call again while it may help and anybody still waits: each
// request looks after its own time. A commit whose answer was lost is repeated
// too: the dedupe key makes that harmless (it may turn "accepted" into
// "duplicate"). A sequence that is behind its table is moved first.
func retry[T any](in *Inbox, batch []*request, call func(context.Context) (T, error)) (T, error) {
	ctx, cancel := whileAnyWaits(batch)
	defer cancel()
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = 10 * time.Millisecond
	var last error // says more than that the time was up
	result, err := backoff.Retry(ctx, func() (T, error) {
		result, err := call(ctx)
		taken := pg.NumberTaken(err)
		if taken {
			if failed := in.advanceSequences(ctx); failed != nil {
				err = failed
			}
		}
		if last = err; err != nil && !pg.Transient(err) && !taken {
			err = backoff.Permanent(err)
		}
		return result, err
	}, backoff.WithBackOff(pause))
	if err != nil {
		err = last
	}
	return result, err
}

func (in *Inbox) advanceSequences(ctx context.Context) error {
	moved, err := sequence.Advance(ctx, in.pool)
	if in.Log != nil {
		sequence.Log(in.Log, moved)
	}
	return err
}

// whileAnyWaits returns a context that ends with the last of the requests'.
func whileAnyWaits(batch []*request) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	var waiting atomic.Int64
	waiting.Store(int64(len(batch)))
	stops := make([]func() bool, len(batch))
	for i, r := range batch {
		stops[i] = context.AfterFunc(r.ctx, func() {
			if waiting.Add(-1) == 0 {
				cancel()
			}
		})
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
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
