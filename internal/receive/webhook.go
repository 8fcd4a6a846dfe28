package receive

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/signature"
)

// webhook takes one delivery: it is refused, or durable and answered 200.
func (r *Receiver) webhook(c echo.Context) error {
	req := c.Request()
	header := req.Header.Get(signature.Header)
	checked := r.config.Keyring.Checks(header, r.config.AllowUnsigned)
	switch { // before a stranger's body is read, and memory taken for it
	case !checked:
	case header == "":
		return errUnsigned
	case !signature.WellFormed(header):
		return errMalformedSignature
	}
	body, err := r.memory.read(req.Context(), req.Body, req.ContentLength, r.config.MaxBody)
	defer body.release()
	if err != nil {
		return unread(err, r.config.MaxBody)
	}
	d, err := r.delivery(req, body.bytes, header, checked)
	if err != nil {
		return err
	}
	result, err := r.put(req.Context(), d)
	if err != nil {
		return notKept(err)
	}
	r.tell(req, d, result, checked)
	return answer(c, result)
}

// delivery verifies and reads a body.
func (r *Receiver) delivery(req *http.Request, body []byte, header string, checked bool) (inbox.Delivery, error) {
	// PostgreSQL keeps microseconds. The worker reads the body again with the
	// time stored, and must come to the same event.
	received := r.config.Now().UTC().Truncate(time.Microsecond)
	scanned := event.Scan(body)
	tenant, known := scanned.Tenant()
	d := inbox.Delivery{Body: body, ReceivedAt: received, Retry: retries(req.Header)}
	var vouchers signature.Vouchers // of a tenant that is not known
	if checked {
		var err error
		if known {
			err = r.config.Keyring.Verify(tenant, true, header, body, received)
		} else {
			vouchers, err = r.config.Keyring.VerifyAny(header, body, received)
		}
		if err != nil {
			return inbox.Delivery{}, unverified(err, tenant)
		}
		d.Signature = header
		r.tally.refused.Verified()
		r.tally.retries.count(d.Retry)
	}
	ev, err := scanned.Event(received)
	if err == nil {
		d.Event = &ev
		return d, nil
	}
	var invalid *event.InvalidError
	switch {
	case !errors.As(err, &invalid):
		return inbox.Delivery{}, err
	case !checked:
		return inbox.Delivery{}, malformed(invalid)
	}
	d.Reason, d.Headers, d.Vouchers = invalid.Error(), keptHeaders(req.Header), vouchers
	if known {
		d.Tenant = &tenant
	}
	return d, nil
}

// put makes d durable. A sender that hangs up does not cancel it: its delivery
// may be half way into a commit that others share, and it will come again.
func (r *Receiver) put(ctx context.Context, d inbox.Delivery) (inbox.Result, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.config.PutTimeout)
	defer cancel()
	return r.config.Put(ctx, d)
}

// tell counts a delivery that was kept, and logs it.
func (r *Receiver) tell(req *http.Request, d inbox.Delivery, result inbox.Result, checked bool) {
	ctx := req.Context()
	r.tally.count(Outcome(result))
	r.tally.accepted.Store(r.config.Now().UnixMicro())
	if !checked {
		r.tally.count(Unsigned)
		r.tally.log(ctx, Unsigned, slog.LevelWarn, "unsigned delivery accepted", slog.String("from", req.RemoteAddr))
	}
	if d.Event == nil {
		r.tally.log(ctx, Outcome(inbox.Quarantined), slog.LevelWarn, "delivery quarantined",
			slog.String("reason", d.Reason), slog.String("from", req.RemoteAddr))
		return
	}
	r.trace(ctx, d, result)
}

// trace logs a kept event for whoever debugs.
func (r *Receiver) trace(ctx context.Context, d inbox.Delivery, result inbox.Result) {
	if !r.config.Log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	e := d.Event
	attrs := []slog.Attr{
		slog.String("result", string(result)), slog.String("tenant", e.Tenant), slog.String("event", e.Name),
	}
	if e.ID != nil {
		attrs = append(attrs, slog.String("event_id", e.ID.String()))
	}
	if e.PrimaryKey != nil {
		attrs = append(attrs, slog.Int64("primary_key", *e.PrimaryKey))
	}
	if d.Retry != nil {
		attrs = append(attrs, slog.Int64("retry", int64(*d.Retry)))
	}
	r.config.Log.LogAttrs(ctx, slog.LevelDebug, "delivery", attrs...)
}

func answer(c echo.Context, result inbox.Result) error {
	body, err := json.Marshal(struct {
		Result inbox.Result `json:"result"`
	}{result})
	if err != nil {
		return err
	}
	return c.JSONBlob(http.StatusOK, body)
}
