//go:build linux

package faults

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"contactmirror/internal/simulator"
)

const (
	// usualRate is how many deliveries begin a second.
	usualRate = 250
	// inFlight bounds the deliveries under way, with their retries.
	inFlight = 512
	// repeats is one in how many deliveries is an old one again.
	repeats = 20
	// most bounds the deliveries of one fault.
	most = 30_000
)

// traffic is a fake SuperOffice that delivers without end: each delivery has its
// three attempts, and then it is gone.
type traffic struct {
	lab     *lab
	oracle  simulator.Oracle
	senders []*simulator.Sender
	// everywhere delivers each event to every address, at about the same time.
	everywhere bool
	rate       int
	lives      *simulator.Lives
	random     *rand.Rand
	cancel     context.CancelFunc
	ended      chan struct{}

	mu         sync.Mutex
	bodies     [][]byte
	deliveries int // begun
	finished   int // answered 200 or given up
	delivered  int
	statuses   map[int]int // of attempts; 0: no answer came
	results    map[string]int
	longest    time.Duration
	kept       []kept // see sampler
}

var tenants = []string{"Cust1", "Cust2", "Cust3"}

// traffic begins to deliver, each event to one of urls.
func (l *lab) traffic(urls ...string) *traffic {
	l.Helper()
	t := l.newTraffic(urls...)
	t.start()
	return t
}

func (l *lab) newTraffic(urls ...string) *traffic {
	l.Helper()
	return l.trafficOf(tenants, urls...)
}

// trafficOf prepares the traffic of the given tenants.
func (l *lab) trafficOf(tenants []string, urls ...string) *traffic {
	// Ahead of the events is a day's room, for each comes seconds after the last.
	lives := simulator.NewLives(*seed, tenants, 300, time.Now().Add(-20*time.Hour).UTC())
	t := &traffic{
		lab: l, lives: lives, random: rand.New(rand.NewPCG(*seed, 1)), ended: make(chan struct{}), rate: usualRate,
		statuses: map[int]int{}, results: map[string]int{},
	}
	transport := &http.Transport{MaxIdleConnsPerHost: inFlight}
	l.Cleanup(transport.CloseIdleConnections)
	client := simulator.NewClient(10 * time.Second)
	client.Transport = transport
	for _, url := range urls {
		t.senders = append(t.senders, &simulator.Sender{URL: url, Secret: secret, Client: client})
	}
	return t
}

func (t *traffic) start() {
	ctx, cancel := context.WithCancel(context.Background())
	t.cancel = cancel
	go t.run(ctx, t.ended)
	t.lab.Cleanup(t.stop)
}

// resume begins to deliver again after a stop.
func (t *traffic) resume() {
	t.ended = make(chan struct{})
	t.start()
}

// run begins deliveries until ctx ends, and then waits for those under way.
func (t *traffic) run(ctx context.Context, ended chan<- struct{}) {
	defer close(ended)
	var sending sync.WaitGroup
	defer sending.Wait()
	tick := time.NewTicker(time.Second / time.Duration(t.rate))
	defer tick.Stop()
	room := make(chan struct{}, inFlight)
	for range most {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		body, senders := t.next()
		for _, sender := range senders {
			room <- struct{}{}
			sending.Go(func() {
				t.deliver(sender, body)
				<-room
			})
		}
	}
}

// next is a new event, or at times one that was offered before, and where it
// goes.
func (t *traffic) next() ([]byte, []*simulator.Sender) {
	t.mu.Lock()
	defer t.mu.Unlock()
	senders := t.senders
	if !t.everywhere {
		i := t.random.IntN(len(senders))
		senders = senders[i : i+1]
	}
	if n := len(t.bodies); n > 0 && t.random.IntN(repeats) == 0 {
		return t.bodies[t.random.IntN(n)], senders
	}
	body := t.lives.Next()
	t.bodies = append(t.bodies, body)
	return body, senders
}

// deliver makes one delivery, with its retries, and notes what came of it.
func (t *traffic) deliver(sender *simulator.Sender, body []byte) simulator.Attempt {
	t.count(func() int { t.deliveries++; return t.deliveries })
	t.oracle.Offered(body)
	attempts, err := sender.Send(context.Background(), body)
	if err != nil {
		panic(err) // neither is the URL malformed nor does the context end
	}
	last := attempts[len(attempts)-1]
	if last.Delivered() {
		t.oracle.Kept(body)
		t.count(func() int { t.keep(body); return 0 })
	}
	t.note(attempts, last)
	return last
}

func (t *traffic) note(attempts []simulator.Attempt, last simulator.Attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range attempts {
		t.longest = max(t.longest, a.Took)
		t.statuses[a.Status]++
	}
	t.finished++
	if last.Delivered() {
		t.delivered++
		t.results[result(last)]++
	}
}

// result is the word in an answer.
func result(a simulator.Attempt) string {
	var answer struct {
		Result string `json:"result"`
	}
	_ = json.Unmarshal(a.Body, &answer) // no JSON is no result
	return answer.Result
}

// offer delivers an event of the test's own, and returns the result.
func (t *traffic) offer(body []byte) string {
	return result(t.deliver(t.senders[0], body))
}

// count reads a figure that deliveries change.
func (t *traffic) count(figure func() int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return figure()
}

// flow waits until n more deliveries have been answered 200 or given up.
func (t *traffic) flow(n int) {
	t.lab.Helper()
	finished := func() int { return t.count(func() int { return t.finished }) }
	goal := finished() + n
	t.lab.await("deliveries are through", patience, func() bool { return finished() >= goal })
}

// answered waits until n more deliveries have got that result.
func (t *traffic) answered(n int, result string) {
	t.lab.Helper()
	answers := func() int { return t.count(func() int { return t.results[result] }) }
	goal := answers() + n
	t.lab.await("deliveries are answered "+result, patience, func() bool { return answers() >= goal })
}

// stop ends the traffic. Deliveries under way are finished, with their retries.
func (t *traffic) stop() {
	t.cancel()
	<-t.ended
}
