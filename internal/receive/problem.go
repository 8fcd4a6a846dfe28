package receive

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/labstack/echo/v4"

	"contactmirror/internal/event"
	"contactmirror/internal/signature"
)

// problem is an answer other than 200. Its detail is for the operator at the
// other end, where SuperOffice stores it; what went wrong in here is in cause,
// for the log alone.
type problem struct {
	status  int
	outcome Outcome // empty where no delivery is refused
	level   slog.Level
	detail  string
	cause   error
	tenant  string // as claimed by a body that nobody vouches for
	// bodyRead means that the connection stands at the next request.
	bodyRead bool
}

func (p *problem) Error() string { return p.detail }
func (p *problem) Unwrap() error { return p.cause }

var errUnsigned = &problem{
	status: http.StatusUnauthorized, outcome: MissingSignature, level: slog.LevelInfo,
	detail: "The request has no " + signature.Header + " header. " +
		"Set a secret on the webhook in SuperOffice and give the same one to this receiver.",
}

var errMalformedSignature = &problem{
	status: http.StatusUnauthorized, outcome: MalformedSignature, level: slog.LevelInfo,
	detail: signature.Header + " is not the base64 of an HMAC-SHA256, 44 characters.",
}

// unverified words err of [signature.Keyring.Verify] without telling strangers
// which tenants have secrets here.
func unverified(err error, tenant string) error {
	p := &problem{
		status: http.StatusUnauthorized, outcome: WrongSignature, level: slog.LevelWarn,
		detail: signature.Header + " does not match the body under any secret that is live here for its ContextIdentifier. " +
			"Check that the webhook has the secret that this receiver has, and that nothing on the way changes the body.",
		cause: err, tenant: tenant, bodyRead: true,
	}
	if errors.Is(err, signature.ErrUnverifiable) {
		p.outcome = Unverifiable
		p.detail = "The body's ContextIdentifier can't be read, and without it the body is too large for its signature to be verified."
	}
	return p
}

// malformed refuses what nobody signed and nobody can read.
func malformed(err *event.InvalidError) error {
	return &problem{
		status: http.StatusBadRequest, outcome: Malformed, level: slog.LevelInfo,
		detail: "The delivery is no event that can be taken: " + err.Error() + ".", cause: err, bodyRead: true,
	}
}

// notKept asks for the delivery again, as it is not durable.
func notKept(err error) error {
	return &problem{
		status: http.StatusServiceUnavailable, outcome: Unavailable, level: slog.LevelError,
		detail: "The delivery could not be stored and was not accepted. Send it again.", cause: err, bodyRead: true,
	}
}

// unread tells why a body could not be read to its end.
func unread(err error, limit int64) error {
	p := &problem{outcome: Aborted, level: slog.LevelDebug, cause: err}
	var network net.Error
	switch {
	case errors.Is(err, errTooLarge):
		p.status, p.outcome, p.level = http.StatusRequestEntityTooLarge, TooLarge, slog.LevelWarn
		p.detail = fmt.Sprintf("The body is larger than the %d bytes that this receiver takes.", limit)
	case errors.Is(err, errNoMemory):
		p.status, p.outcome, p.level = http.StatusServiceUnavailable, NoMemory, slog.LevelError
		p.detail = "All memory for deliveries is in use. Send it again."
	case errors.As(err, &network) && network.Timeout():
		p.status, p.detail = http.StatusRequestTimeout, "The body did not arrive in time."
	default: // most likely nobody is there to read this
		p.status, p.detail = http.StatusBadRequest, "The body ends early or is not framed as its headers say."
	}
	return p
}

const faultDetail = "The receiver is at fault. Send the delivery again."

// refuse answers every request that ends in an error; Echo calls it. What is
// not foreseen asks for the delivery again rather than lose it.
func (r *Receiver) refuse(err error, c echo.Context) {
	if c.Response().Committed {
		return // the client has gone, or a panic came after the answer
	}
	path := c.Request().URL.Path
	var p *problem
	switch {
	case errors.As(err, &p):
	case errors.Is(err, echo.ErrNotFound):
		p = &problem{status: http.StatusNotFound, detail: "There is nothing here. Deliveries are posted to /webhook."}
	case errors.Is(err, echo.ErrMethodNotAllowed):
		p = &problem{status: http.StatusMethodNotAllowed, detail: path + " takes " + allow[path] + " only."}
		c.Response().Header().Set(echo.HeaderAllow, allow[path])
	default:
		p = &problem{
			status: http.StatusServiceUnavailable, outcome: Unavailable, level: slog.LevelError,
			detail: faultDetail, cause: err,
		}
	}
	r.tellRefused(c.Request(), p)
	p.write(c)
}

func (r *Receiver) tellRefused(req *http.Request, p *problem) {
	if p.outcome == "" {
		return
	}
	r.tally.count(p.outcome)
	if p.outcome == WrongSignature { // the others can't come of a wrong secret
		r.tally.refused.Refused(r.config.Now())
	}
	attrs := []slog.Attr{slog.Int("status", p.status), slog.String("from", req.RemoteAddr)}
	if p.cause != nil {
		attrs = append(attrs, slog.Any("cause", p.cause))
	}
	if p.tenant != "" {
		attrs = append(attrs, slog.String("claimed_tenant", p.tenant[:min(len(p.tenant), 64)]))
	}
	r.tally.log(req.Context(), p.outcome, p.level, "delivery refused: "+string(p.outcome), attrs...)
}

// lingerTimeout is how long an unread body may take to pass by after the
// answer, so that the answer is not lost to a reset.
const lingerTimeout = time.Second

func (p *problem) write(c echo.Context) {
	h := c.Response().Header()
	switch p.status {
	case http.StatusUnauthorized:
		h.Set(echo.HeaderWWWAuthenticate, signature.Header)
	case http.StatusServiceUnavailable:
		h.Set(echo.HeaderRetryAfter, "1")
	}
	if !p.bodyRead && c.Request().ContentLength != 0 {
		// Without this net/http would wait for the body before it sends the answer.
		h.Set(echo.HeaderConnection, "close")
		// An error means that there is no connection to wait for.
		_ = http.NewResponseController(c.Response()).SetReadDeadline(time.Now().Add(lingerTimeout))
	}
	document, err := json.Marshal(struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{"about:blank", http.StatusText(p.status), p.status, p.detail})
	if err != nil {
		panic(err) // strings and a number
	}
	_ = c.Blob(p.status, "application/problem+json", document) // fails only when the client has gone
}

// recovered turns a panic into an error, so that the sender tries again and
// other deliveries go on.
func (r *Receiver) recovered(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) (err error) {
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler:
				panic(v)
			default:
				err = &problem{
					status: http.StatusServiceUnavailable, outcome: Panicked, level: slog.LevelError,
					detail: faultDetail, cause: fmt.Errorf("panic: %v\n%s", v, debug.Stack()),
				}
			}
		}()
		return next(c)
	}
}
