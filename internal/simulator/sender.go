// Package simulator is a fake SuperOffice, for trying and testing a receiver.
//
// A [Sender] delivers one webhook as SuperOffice documents it: its headers, its
// signature over the exact bytes, its three attempts within five seconds. It
// knows nothing of the mirror behind the receiver, and neither repairs nor
// judges the bodies it is given: malformed ones are deliveries too.
//
// [Lives] makes up what there is to deliver, a [Plan] adds what goes wrong on
// the way, [Traffic] delivers it, and an [Oracle] judges what has become of it.
// All but the traffic's timing follows from a seed.
package simulator

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"contactmirror/internal/signature"
)

// delays are SuperOffice's pauses before its second and third attempt.
var delays = []time.Duration{time.Second, 4 * time.Second}

// MaxAttempts is how often SuperOffice tries to deliver an event before it
// discards it.
const MaxAttempts = 3

// answerLimit bounds what is kept of an answer, in bytes.
const answerLimit = 64 << 10

// Sender delivers webhooks to one URL. Several goroutines may use it at once.
type Sender struct {
	// URL is the whole address, such as http://127.0.0.1:8080/webhook.
	URL string
	// Secret signs every delivery; where it is empty they go unsigned.
	Secret string
	// Attempts is how often to try, up to [MaxAttempts]; 0 means that often.
	Attempts int
	// Client makes the requests. It should not follow redirects and should have
	// a timeout; [NewClient] makes one. Nil means that one.
	Client *http.Client
	// OnFailure, when set, is told of each attempt that another one follows.
	OnFailure func(failed Attempt, next time.Duration)
	// OnAttempt, when set, is told of each attempt as it ends.
	OnAttempt func(Attempt)
}

// Attempt is one request and what came of it.
type Attempt struct {
	Status int    // 0 where no answer came
	Body   []byte // of the answer, up to 64 KiB
	Err    error  // why no whole answer came
	Took   time.Duration
}

// Delivered reports whether the sender takes the attempt as a success. Only 200
// is one.
func (a Attempt) Delivered() bool { return a.Err == nil && a.Status == http.StatusOK }

// NewClient returns a client that gives each request timeout and follows no
// redirect, as a webhook's sender takes any answer for the answer.
func NewClient(timeout time.Duration) *http.Client {
	return &http.Client{
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

var defaultClient = NewClient(30 * time.Second)

// Send delivers body: at once, one second after a failure, and four seconds
// after the next. It returns every attempt made, the last of which decides. The
// error is ctx's, or about a URL that no request can be made for; an attempt's
// own failure is in the attempt.
func (s *Sender) Send(ctx context.Context, body []byte) ([]Attempt, error) {
	return s.send(ctx, s.header(body), body)
}

// SendTampered is Send with the signature of other bytes: those that body was
// before somebody on the way altered it.
func (s *Sender) SendTampered(ctx context.Context, body, original []byte) ([]Attempt, error) {
	header := s.header(body)
	if s.Secret != "" {
		header.Set("X-SuperOffice-Signature", signature.Sign(s.Secret, original))
	}
	return s.send(ctx, header, body)
}

func (s *Sender) send(ctx context.Context, header http.Header, body []byte) ([]Attempt, error) {
	limit := s.Attempts
	if limit <= 0 || limit > MaxAttempts {
		limit = MaxAttempts
	}
	var attempts []Attempt
	for {
		a, err := s.post(ctx, header, body)
		if err != nil {
			return attempts, err
		}
		attempts = append(attempts, a)
		if s.OnAttempt != nil {
			s.OnAttempt(a)
		}
		if a.Delivered() || len(attempts) == limit {
			return attempts, nil
		}
		delay := delays[len(attempts)-1]
		if s.OnFailure != nil {
			s.OnFailure(a, delay)
		}
		select {
		case <-ctx.Done():
			return attempts, context.Cause(ctx)
		case <-time.After(delay):
		}
		header.Set("X-SuperOffice-Retry", strconv.Itoa(len(attempts)))
	}
}

// post makes one attempt.
func (s *Sender) post(ctx context.Context, header http.Header, body []byte) (Attempt, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL, bytes.NewReader(body))
	if err != nil {
		return Attempt{}, fmt.Errorf("simulator: post to %s: %w", s.URL, err)
	}
	request.Header = header.Clone()
	client := s.Client
	if client == nil {
		client = defaultClient
	}
	start := time.Now()
	response, err := client.Do(request)
	if ctx.Err() != nil {
		return Attempt{}, context.Cause(ctx)
	}
	if err != nil {
		return Attempt{Err: err, Took: time.Since(start)}, nil
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, answerLimit))
	return Attempt{Status: response.StatusCode, Body: answer, Err: err, Took: time.Since(start)}, nil
}

// header makes the headers of a first attempt. Event and EventId repeat what
// the body says, where it says it.
func (s *Sender) header(body []byte) http.Header {
	header := http.Header{}
	header.Set("Content-Type", "application/json; charset=utf-8")
	header.Set("User-Agent", "NetServer-Webhook/8.8.6684.1719")
	var said map[string]json.RawMessage // a struct would take Event from event too
	if json.Unmarshal(body, &said) == nil {
		setText(header, "X-SuperOffice-Event", said["Event"])
		setText(header, "X-SuperOffice-EventId", said["EventId"])
	}
	if s.Secret != "" {
		header.Set("X-SuperOffice-Signature", signature.Sign(s.Secret, body))
	}
	return header
}

// setText sets the header to raw where that is a JSON string a header can hold.
func setText(header http.Header, name string, raw json.RawMessage) {
	var text string
	if json.Unmarshal(raw, &text) != nil || text == "" {
		return
	}
	for _, r := range text {
		if r < ' ' || r > '~' {
			return
		}
	}
	header.Set(name, text)
}
