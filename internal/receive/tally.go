package receive

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"contactmirror/internal/inbox"
	"contactmirror/internal/signature"
)

// Outcome is how a delivery ended: a word of [inbox.Result] for what was kept,
// one of these for the rest.
type Outcome string

// The outcomes of deliveries that were not kept, and Unsigned, which counts
// those that were kept without a signature once more.
const (
	MissingSignature   Outcome = "missing_signature"
	MalformedSignature Outcome = "malformed_signature" // can't be anybody's
	WrongSignature     Outcome = "wrong_signature"     // well-formed, of no live secret
	Unverifiable       Outcome = "unverifiable"        // of no readable tenant, and too large for every secret
	TooLarge           Outcome = "too_large"
	Malformed          Outcome = "malformed"
	NoMemory           Outcome = "no_memory"
	Unavailable        Outcome = "unavailable"
	Aborted            Outcome = "aborted"
	Panicked           Outcome = "panicked"
	Unsigned           Outcome = "unsigned"
)

// logWindow is the time in which each outcome is logged once.
const logWindow = time.Minute

// tally counts outcomes and logs them, each at most once a window: strangers
// can cause refusals as fast as they like.
type tally struct {
	logger *slog.Logger

	refused  signature.Streak
	retries  retryTally
	accepted atomic.Int64 // when a delivery was last kept, in microseconds since 1970

	mu     sync.Mutex
	counts map[Outcome]uint64
	held   map[Outcome]uint64 // lines held back in the outcome's open window
}

func newTally(logger *slog.Logger) *tally {
	t := &tally{logger: logger, counts: make(map[Outcome]uint64), held: make(map[Outcome]uint64)}
	for _, o := range []Outcome{
		Outcome(inbox.Accepted), Outcome(inbox.Duplicate), Outcome(inbox.Ignored), Outcome(inbox.Quarantined),
		MissingSignature, MalformedSignature, WrongSignature, Unverifiable, TooLarge, Malformed, NoMemory, Unavailable, Aborted, Panicked, Unsigned,
	} {
		t.counts[o] = 0
	}
	return t
}

func (t *tally) count(o Outcome) {
	t.mu.Lock()
	t.counts[o]++
	t.mu.Unlock()
}

func (t *tally) snapshot() map[Outcome]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.counts)
}

// log writes one line, or holds it back when o has been logged within the
// window. The window's end tells how many were held back, and opens another
// one as long as there are any.
func (t *tally) log(ctx context.Context, o Outcome, level slog.Level, message string, attrs ...slog.Attr) {
	if !t.logger.Enabled(ctx, level) {
		return
	}
	t.mu.Lock()
	_, open := t.held[o]
	if open {
		t.held[o]++
	} else {
		t.held[o] = 0
	}
	t.mu.Unlock()
	if !open {
		t.logger.LogAttrs(ctx, level, message, attrs...)
		time.AfterFunc(logWindow, func() { t.endWindow(o, level, message) })
	}
}

func (t *tally) endWindow(o Outcome, level slog.Level, message string) {
	t.mu.Lock()
	held := t.held[o]
	if held == 0 {
		delete(t.held, o)
	} else {
		t.held[o] = 0
	}
	t.mu.Unlock()
	if held > 0 {
		t.logger.LogAttrs(context.Background(), level, message,
			slog.Uint64("times", held), slog.Duration("within", logWindow))
		time.AfterFunc(logWindow, func() { t.endWindow(o, level, message) })
	}
}
