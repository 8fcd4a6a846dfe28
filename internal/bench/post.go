package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"contactmirror/internal/signature"
)

// Poster delivers events of one traffic, signed, over HTTP.
type Poster struct {
	Traffic
	// URL is where to post.
	URL    string
	Secret string
	// Connections is how many deliveries are under way at a time.
	Connections int
	// Contacts is how many contacts the events are about, in turn.
	Contacts int

	next   atomic.Int64
	client *http.Client
}

// Posted is what became of a run.
type Posted struct {
	// Answered is how many deliveries were answered 200.
	Answered int64
	Took     time.Duration
}

// Rate is how many a second.
func (p Posted) Rate() float64 { return float64(p.Answered) / p.Took.Seconds() }

// event is the place of the i-th event, from 0.
func (p *Poster) event(i int64) Event {
	return Event{Contact: i%int64(p.Contacts) + 1, Number: int(i / int64(p.Contacts))}
}

func (p *Poster) open() {
	if p.client == nil {
		p.client = &http.Client{
			Transport: &http.Transport{MaxIdleConnsPerHost: p.Connections, DisableCompression: true},
			Timeout:   30 * time.Second,
		}
	}
}

// Close ends the connections.
func (p *Poster) Close() {
	if p.client != nil {
		p.client.CloseIdleConnections()
	}
}

// Flood posts on all connections for as long as d says, each as soon as its last
// delivery was answered. An answer other than 200 is an error, and so is one
// from the spool.
func (p *Poster) Flood(ctx context.Context, d time.Duration) (Posted, error) {
	p.open()
	var (
		answered atomic.Int64
		posting  errgroup.Group
		began    = time.Now()
	)
	for range p.Connections {
		posting.Go(func() error {
			var room []byte
			for time.Since(began) < d {
				room = p.AppendBody(room[:0], p.event(p.next.Add(1)-1))
				if err := p.post(ctx, room); err != nil {
					return err
				}
				answered.Add(1)
			}
			return nil
		})
	}
	err := posting.Wait()
	return Posted{answered.Load(), time.Since(began)}, err
}

var errSpooled = errors.New("bench: answered from the spool: the database did not keep up")

func (p *Poster) post(ctx context.Context, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json; charset=utf-8")
	request.Header.Set(signature.Header, signature.Sign(p.Secret, body))
	answer, err := p.client.Do(request)
	if err != nil {
		return fmt.Errorf("bench: post: %w", err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	switch {
	case err != nil:
		return fmt.Errorf("bench: post: %w", err)
	case answer.StatusCode != http.StatusOK:
		return fmt.Errorf("bench: post: answered %s: %.200s", answer.Status, text)
	case bytes.Contains(text, []byte(`"spooled"`)):
		return errSpooled
	}
	return nil
}

// Paced posts events at rate a second for as long as d says, each about a new
// contact, and returns when each was answered, by the contact's id.
func (p *Poster) Paced(ctx context.Context, rate float64, d time.Duration) (map[int64]time.Time, error) {
	p.open()
	type answer struct {
		contact int64
		at      time.Time
	}
	var (
		posting  errgroup.Group
		n        = int64(rate * d.Seconds())
		answers  = make(chan answer, n)
		tick     = time.NewTicker(time.Duration(float64(time.Second) / rate))
		answered = make(map[int64]time.Time, n)
	)
	defer tick.Stop()
	posting.SetLimit(p.Connections)
	for range n {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		e := Event{Contact: p.next.Add(1)}
		posting.Go(func() error {
			err := p.post(ctx, p.AppendBody(nil, e))
			answers <- answer{p.First + e.Contact, time.Now()}
			return err
		})
	}
	err := posting.Wait()
	close(answers)
	for a := range answers {
		answered[a.contact] = a.at
	}
	return answered, err
}
