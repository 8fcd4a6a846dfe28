package simulator

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// heldLimit bounds the deliveries that are held back at a time.
const heldLimit = 10_000

// catchUp is how far behind its rate a traffic may fall and still make up for it.
const catchUp = time.Second

// Traffic delivers what a [Plan] holds, each tenant by a hook of its own, and
// tells an oracle. It is for one [Traffic.Run].
type Traffic struct {
	Sender Sender
	Dials  Dials
	// Rate is how many events are delivered a second, mass imports apart; 0: as
	// fast as possible.
	Rate float64
	// Connections is how many deliveries are under way at a time, with their
	// retries. With one, deliveries arrive in the order of the plan.
	Connections int
	// Duration is for how long deliveries begin; 0: until the plan ends.
	Duration time.Duration
	Oracle   *Oracle
	// Progress, when set, is told how many events have happened.
	Progress func(events int)

	hooks map[string]*hook
	slots chan struct{} // one for each delivery under way
	mu    sync.Mutex
	tally Tally
}

// Tally is what came of a traffic.
type Tally struct {
	Events     int
	Contacts   int
	Deliveries map[Kind]int // begun
	Attempts   int
	// Answers counts them: the status with the receiver's result, or "no answer".
	Answers map[string]int
	// GivenUp counts deliveries that failed three times, and NotSent those that
	// found their hook switched off, or while they waited to try again; tampered
	// ones are in neither.
	GivenUp, NotSent int
	HooksOff         []HookOff
	// Wrong counts answers that the delivery should not have had; WrongAnswers
	// describes them, up to a hundred.
	Wrong        int
	WrongAnswers []string
	Took         time.Duration
	latencies    []time.Duration
}

// HookOff is a hook that was switched off.
type HookOff struct {
	Tenant   string
	Failures int     // in a row
	Last     Attempt // the last of them
}

// Latency is the time within which that share of attempts was answered.
func (t *Tally) Latency(share float64) time.Duration {
	if len(t.latencies) == 0 {
		return 0
	}
	slices.Sort(t.latencies)
	return t.latencies[int(share*float64(len(t.latencies)-1))]
}

// Run delivers until the plan or the duration ends, or every hook is switched
// off, and waits for the deliveries under way. The error is ctx's, or about a
// URL that no request can be made for.
func (t *Traffic) Run(ctx context.Context) (*Tally, error) {
	start := time.Now()
	t.tally = Tally{Deliveries: map[Kind]int{}, Answers: map[string]int{}}
	group, delivering := errgroup.WithContext(ctx)
	t.slots = make(chan struct{}, t.Connections)
	group.SetLimit(t.Connections)
	if t.Dials.Delay > 0 {
		group.SetLimit(t.Connections + heldLimit)
	}
	t.hooks = map[string]*hook{}
	for _, tenant := range t.Dials.Tenants {
		h := newHook(delivering, tenant)
		defer h.switchOff(nil)
		t.hooks[tenant] = h
	}
	plan := NewPlan(t.Dials)
	t.begin(delivering, group, plan)
	if err := group.Wait(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	t.tally.Took = time.Since(start)
	t.tally.Events, t.tally.Contacts = plan.Events(), plan.Contacts()
	t.listHooksOff()
	return &t.tally, nil
}

// begin begins deliveries, each in its time.
func (t *Traffic) begin(ctx context.Context, group *errgroup.Group, plan *Plan) {
	start := time.Now()
	pace := pacer{next: start}
	if t.Rate > 0 {
		pace.interval = time.Duration(float64(time.Second) / t.Rate)
	}
	for d, ok := plan.Next(); ok && !t.allOff(); d, ok = plan.Next() {
		if d.Kind == Genuine && !d.Burst {
			pace.wait(ctx)
		}
		if ctx.Err() != nil || t.Duration > 0 && time.Since(start) >= t.Duration {
			return
		}
		if t.Progress != nil {
			t.Progress(plan.Events())
		}
		group.Go(func() error { return t.deliver(ctx, d) })
	}
}

// pacer spaces events.
type pacer struct {
	interval time.Duration
	next     time.Time
}

// wait waits for the next event's time, or the end of ctx.
func (p *pacer) wait(ctx context.Context) {
	if p.interval == 0 {
		return
	}
	early := time.Until(p.next)
	if early < -catchUp {
		p.next = time.Now()
	}
	p.next = p.next.Add(p.interval)
	if early <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(early):
	}
}

func (t *Traffic) allOff() bool {
	for _, h := range t.hooks {
		if !h.off() {
			return false
		}
	}
	return true
}

// deliver makes one delivery, with its retries.
func (t *Traffic) deliver(ctx context.Context, d Delivery) error {
	if d.Delay > 0 {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(d.Delay):
		}
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case t.slots <- struct{}{}:
	}
	defer func() { <-t.slots }()
	t.count(func() { t.tally.Deliveries[d.Kind]++ })
	if d.Kind == Tampered {
		return t.deliverTampered(ctx, d)
	}
	return t.deliverSigned(d)
}

// deliverSigned makes a delivery as SuperOffice would.
func (t *Traffic) deliverSigned(d Delivery) error {
	h := t.hooks[d.Tenant]
	if h.off() {
		t.count(func() { t.tally.NotSent++ })
		return nil
	}
	if t.Oracle != nil {
		t.Oracle.Offered(d.Body)
	}
	sender := t.Sender
	sender.OnAttempt = func(a Attempt) { h.note(a); t.note(a) }
	attempts, err := sender.Send(h.on, d.Body)
	switch {
	case errors.Is(err, errHookOff):
		t.count(func() { t.tally.NotSent++ })
		return nil
	case err != nil:
		return err
	}
	last := attempts[len(attempts)-1]
	if !last.Delivered() {
		t.count(func() { t.tally.GivenUp++ })
		return nil
	}
	if t.Oracle != nil {
		t.Oracle.Kept(d.Body)
	}
	t.judge(d, last)
	return nil
}

// deliverTampered makes a delivery that no SuperOffice makes, and so without
// retries or effect on a hook.
func (t *Traffic) deliverTampered(ctx context.Context, d Delivery) error {
	sender := t.Sender
	sender.Attempts, sender.OnAttempt = 1, t.note
	attempts, err := sender.SendTampered(ctx, d.Body, d.Signed)
	if err != nil {
		return err
	}
	t.judge(d, attempts[0])
	return nil
}

// wrongResults are the receiver's results that a delivery must not have.
var wrongResults = map[Kind][]string{
	Genuine:   {"ignored", "quarantined"},
	Duplicate: {"ignored", "quarantined"},
	Malformed: {"accepted", "duplicate", "ignored"},
}

// judge notes an answer that the delivery should not have had.
func (t *Traffic) judge(d Delivery, a Attempt) {
	right := !slices.Contains(wrongResults[d.Kind], result(a))
	if d.Kind == Tampered { // a receiver in trouble can't say more
		right = a.Status == http.StatusUnauthorized || a.Status == 0 || a.Status >= http.StatusInternalServerError
	}
	if right {
		return
	}
	name := map[Kind]string{Genuine: "an event", Duplicate: "a repeated event", Tampered: "a tampered delivery", Malformed: "a malformed delivery"}[d.Kind]
	t.count(func() {
		t.tally.Wrong++
		if len(t.tally.WrongAnswers) < 100 {
			t.tally.WrongAnswers = append(t.tally.WrongAnswers, fmt.Sprintf("answer: %s was answered %s: %.200s", name, answerOf(a), d.Body))
		}
	})
}

// note counts an attempt.
func (t *Traffic) note(a Attempt) {
	t.count(func() {
		t.tally.Attempts++
		t.tally.Answers[answerOf(a)]++
		t.tally.latencies = append(t.tally.latencies, a.Took)
	})
}

func (t *Traffic) count(change func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	change()
}

func (t *Traffic) listHooksOff() {
	for _, tenant := range t.Dials.Tenants {
		if h := t.hooks[tenant]; h.off() {
			t.tally.HooksOff = append(t.tally.HooksOff, HookOff{tenant, h.failures, h.last})
		}
	}
}

// answerOf is an attempt's answer as it is counted.
func answerOf(a Attempt) string {
	switch said := result(a); {
	case a.Err != nil:
		return "no answer"
	case said != "":
		return strconv.Itoa(a.Status) + " " + said
	}
	return strconv.Itoa(a.Status)
}

// result is the word in a receiver's answer, "" where there is none.
func result(a Attempt) string {
	var answer struct {
		Result string `json:"result"`
	}
	_ = json.Unmarshal(a.Body, &answer) // no JSON is no result
	return answer.Result
}
