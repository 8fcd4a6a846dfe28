package simulator

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// calm is a traffic of one tenant with nothing wrong about it, one delivery at a
// time.
func calm(r *receiver, events int) *Traffic {
	return &Traffic{
		Sender: Sender{URL: "http://receiver/webhook", Secret: secret, Client: r.client}, Connections: 1,
		Dials: Dials{Seed: 1, Tenants: []string{"sim-1-1"}, Contacts: 3, Events: events, Start: start.AddDate(-21, 0, 0)},
	}
}

// Nine failed attempts in a row, at 0, 1, 5, 5, 6, 10, 10, 11 and 15 s, switch
// the hook off.
func TestTrafficSwitchesTheHookOff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, http.StatusInternalServerError)
		tally, err := calm(r, 50).Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(tally.HooksOff) != 1 || tally.HooksOff[0].Tenant != "sim-1-1" || tally.HooksOff[0].Failures != 9 {
			t.Fatalf("got hooks off %+v, want sim-1-1 after 9 failures", tally.HooksOff)
		}
		if len(r.requests) != 9 || r.requests[8].At != 15*time.Second || tally.Took != 15*time.Second {
			t.Errorf("got %d requests in %v, want 9 in 15s", len(r.requests), tally.Took)
		}
		if tally.GivenUp < 2 || tally.Answers["500"] != 9 {
			t.Errorf("got %+v, want at least two events given up, and nine answers", tally)
		}
	})
}

func TestTrafficHookGone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newReceiver(t, http.StatusOK, http.StatusGone)
		tally, err := calm(r, 50).Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(tally.HooksOff) != 1 || len(r.requests) != 2 {
			t.Errorf("got %d requests and hooks off %+v, want 2 and one", len(r.requests), tally.HooksOff)
		}
	})
}

// A success between failures begins the count again; what fails three times is
// gone.
func TestTrafficGoesOnAfterASuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const bad = http.StatusServiceUnavailable
		r := newReceiver(t, bad, bad, bad, bad, bad, bad, bad, bad, 200, bad, bad, bad, 200)
		tally, err := calm(r, 6).Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(tally.HooksOff) != 0 || tally.GivenUp != 3 || tally.NotSent != 0 || tally.Answers["200"] != 3 {
			t.Errorf("got %+v, want three of six events given up, and no hook off", tally)
		}
	})
}

func TestTrafficKeepsItsRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		traffic := calm(newReceiver(t, http.StatusOK), 0)
		traffic.Rate, traffic.Duration = 10, 5*time.Second
		tally, err := traffic.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if n := tally.Deliveries[Genuine]; n != 50 || tally.Took != 5*time.Second {
			t.Errorf("got %d deliveries in %v, want 50 in 5s", n, tally.Took)
		}
	})
}
