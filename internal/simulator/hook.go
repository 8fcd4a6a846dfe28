package simulator

import (
	"context"
	"errors"
	"net/http"
	"sync"
)

// failureLimit is the number of failed attempts in a row, over all events, after
// which SuperOffice switches a hook off.
const failureLimit = 9

// errHookOff is the cause of the context of a hook that was switched off.
var errHookOff = errors.New("the hook is switched off")

// hook is one tenant's webhook as its SuperOffice sees it.
type hook struct {
	tenant string
	// on ends when the hook is switched off.
	on        context.Context
	switchOff context.CancelCauseFunc

	mu       sync.Mutex
	failures int // in a row
	last     Attempt
}

func newHook(ctx context.Context, tenant string) *hook {
	on, off := context.WithCancelCause(ctx)
	return &hook{tenant: tenant, on: on, switchOff: off}
}

func (h *hook) off() bool { return errors.Is(context.Cause(h.on), errHookOff) }

// note takes an attempt, and switches the hook off after too many failures, or
// at once where the receiver says that it is gone for good.
func (h *hook) note(a Attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.off():
		return
	case a.Delivered():
		h.failures = 0
		return
	}
	h.failures++
	h.last = a
	if h.failures >= failureLimit || a.Status == http.StatusGone {
		h.switchOff(errHookOff)
	}
}
