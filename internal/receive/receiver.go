package receive

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/labstack/echo/v4"

	"contactmirror/internal/inbox"
	"contactmirror/internal/signature"
)

// Config is what a [Receiver] needs. Put and Ready must be set.
type Config struct {
	// Keyring verifies deliveries; a nil one vouches for nothing.
	Keyring *signature.Keyring
	// AllowUnsigned accepts deliveries without a signature; see
	// [signature.Keyring.Checks].
	AllowUnsigned bool
	// MaxBody is the largest body taken, in bytes; 0 is 1 MiB.
	MaxBody int64
	// Put makes a delivery durable. It is called by many requests at once and
	// must not change the delivery's body.
	Put func(context.Context, inbox.Delivery) (inbox.Result, error)
	// PutTimeout ends the context that Put gets; 0 is 5 seconds. It is a last
	// resort, above Put's own deadlines.
	PutTimeout time.Duration
	// Ready is called for each /readyz, which anybody may ask for: it should
	// report what is known and not go and look.
	Ready func(context.Context) Readiness
	// Answered, when set, is told of each answer to a delivery: its status, and
	// how long it took from the end of the request's headers. It is called by many
	// requests at once, and each waits for it.
	Answered func(status int, took time.Duration)
	// Log may be nil.
	Log *slog.Logger
	// Now may be nil.
	Now func() time.Time
}

// Readiness is the answer of /readyz. It is public.
type Readiness struct {
	// Ready means that a delivery can be made durable now.
	Ready bool `json:"ready"`
	// The state of each part in a word or two; empty where this process has no
	// such part.
	Database string `json:"database,omitempty"`
	Spool    string `json:"spool,omitempty"`
	Worker   string `json:"worker,omitempty"`
	// SpoolMovedAside is how many spool files hold accepted deliveries that do not
	// drain; it says nothing of new ones.
	SpoolMovedAside int `json:"spool_moved_aside,omitempty"`
}

// Receiver is the public listener's handler.
type Receiver struct {
	config Config
	memory *memory
	tally  *tally
	echo   *echo.Echo

	leaving atomic.Bool // about to stop; see Serve
}

// New makes a receiver.
func New(c Config) *Receiver {
	if c.MaxBody == 0 {
		c.MaxBody = 1 << 20
	}
	if c.PutTimeout == 0 {
		c.PutTimeout = 5 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	r := &Receiver{config: c, memory: newMemory(c.MaxBody), tally: newTally(c.Log), echo: echo.New()}
	r.echo.Logger.SetOutput(io.Discard) // Echo's own log has nothing that ours lacks
	r.echo.HTTPErrorHandler = r.refuse
	r.echo.Use(r.recovered)
	r.routes()
	return r
}

// ServeHTTP answers one request.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if r.leaving.Load() {
		w.Header().Set(echo.HeaderConnection, "close")
	}
	r.echo.ServeHTTP(w, req)
}

// Counts returns how many deliveries ended in which way since the start.
func (r *Receiver) Counts() map[Outcome]uint64 { return r.tally.snapshot() }

// Retries returns how many verified deliveries came with which retry number
// since the start: "0", "1", "2", "more", or "unreadable".
func (r *Receiver) Retries() map[string]uint64 { return r.tally.retries.snapshot() }

// LastAccepted returns when a delivery was last kept, zero before the first.
func (r *Receiver) LastAccepted() time.Time {
	if at := r.tally.accepted.Load(); at != 0 {
		return time.UnixMicro(at).UTC()
	}
	return time.Time{}
}

// Refused returns since when no signature has matched, and how many deliveries
// with a well-formed one were refused since: most likely the secret here is not
// the one at SuperOffice. It is zero where the last well-formed signature matched.
// Requests without a signature that could be anybody's do not count. Strangers can
// make up a well-formed one, but the next delivery from SuperOffice ends that.
// Unsigned deliveries, where they are allowed, end nothing.
func (r *Receiver) Refused() (since time.Time, n int64) { return r.tally.refused.Since() }
