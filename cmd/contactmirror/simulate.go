package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/simulator"
)

// simulateCmd is a SuperOffice that does not exist.
type simulateCmd struct {
	Tenants     int           `default:"2" placeholder:"N" group:"Lives:" help:"How many tenants; default 2."`
	Prefix      string        `placeholder:"NAME" group:"Lives:" help:"Tenants are called NAME-1, NAME-2 and so on; default sim-SEED."`
	Contacts    int           `default:"100" placeholder:"N" group:"Lives:" help:"How many contacts live at a time, of all tenants; default 100."`
	Events      int           `placeholder:"N" group:"Lives:" help:"How many events happen; default 1000, with --duration no end."`
	Burst       int           `default:"20" placeholder:"N" group:"Lives:" help:"How many contacts a mass import creates, as fast as possible; default 20, 0 for no imports."`
	Ties        float64       `default:"5" placeholder:"%" group:"Lives:" help:"Events at exactly the time of the contact's last one, in percent; default 5."`
	V10         float64       `name:"v10" default:"30" placeholder:"%" group:"Lives:" help:"Contacts whose events have no FieldValues, as before SuperOffice 11, in percent; default 30."`
	Start       time.Time     `default:"2020-01-01T00:00:00Z" placeholder:"TIME" group:"Lives:" help:"When the first event happens; default 2020-01-01T00:00:00Z. Each of the others follows within 3 s."`
	Seed        uint64        `placeholder:"N" group:"Lives:" help:"The same seed and dials make the same deliveries; default random."`
	Rate        float64       `placeholder:"N" group:"Deliveries:" help:"Events a second, apart from imports; default 0, which is as fast as possible."`
	Connections int           `default:"8" placeholder:"N" group:"Deliveries:" help:"Deliveries under way at a time, those that wait for a retry among them; default 8. With 1 and no delay they arrive in order."`
	Duration    time.Duration `placeholder:"TIME" group:"Deliveries:" help:"Begin no delivery after that time; default no limit."`
	Duplicates  float64       `default:"5" placeholder:"%" group:"Deliveries:" help:"Events delivered twice, in percent; default 5."`
	Reorder     float64       `default:"10" placeholder:"%" group:"Deliveries:" help:"Events that later ones overtake, in percent; default 10."`
	ReorderBy   int           `default:"50" placeholder:"N" group:"Deliveries:" help:"How many events at most overtake one; default 50."`
	Delay       time.Duration `placeholder:"TIME" group:"Deliveries:" help:"Hold each delivery back for a random time up to that; default 0."`
	Tamper      float64       `placeholder:"%" group:"Deliveries:" help:"Events of which a copy comes too that was altered after signing, in percent; default 0. The receiver must refuse it."`
	Malformed   float64       `placeholder:"%" group:"Deliveries:" help:"Events of which a copy comes too that is signed but no event, in percent; default 0. They fill the quarantine."`

	To      string        `placeholder:"URL" help:"Where to post, the whole URL; default this machine's /webhook."`
	Secret  string        `placeholder:"SECRET" help:"Secret to sign with; default $$CONTACTMIRROR_SECRET, else the generated one in the data directory. Arguments are visible to other users: use it for trying only."`
	NoCheck bool          `help:"Only send: don't look at the database."`
	Force   bool          `help:"Run although the mirror knows these tenants. Other events of theirs than this run's count as differences."`
	Drain   time.Duration `default:"1m" placeholder:"TIME" help:"How long to wait until everything is applied; default 1m."`
	JSON    bool          `help:"Print JSON."`

	SecretFile string `group:"settings" setting:"CONTACTMIRROR_SECRET_FILE" placeholder:"PATH" help:"File that holds the secret."`
	DatabaseFlags
	ListenFlag
}

// Help says what the exit codes mean here.
func (simulateCmd) Help() string {
	return `Fake tenants live random contact lives, and a sender delivers their events as SuperOffice does: three attempts within five seconds, then the event is gone; nine failed attempts in a row switch a tenant's hook off. At the end contacts, tombstones and audit log are compared with the truth.

Exit codes: 0 all is as it should be, 1 deliveries were lost or nothing could be checked, 3 the mirror or an answer is wrong.`
}

const (
	defaultEvents = 1000
	// ahead is how far the last event may lie in the future: a receiver refuses
	// what is more than a day ahead of its own clock.
	ahead = 20 * time.Hour
)

// Run simulates, checks, and prints what it found.
func (s *simulateCmd) Run(ctx context.Context, call *invocation) error {
	if err := s.complete(time.Now()); err != nil {
		return err
	}
	traffic, err := s.traffic(call)
	if err != nil {
		return err
	}
	if _, set := os.LookupEnv("GOMEMLIMIT"); !set {
		debug.SetMemoryLimit(math.MaxInt64) // the oracle remembers every delivery
	}
	if s.NoCheck {
		tally, err := s.send(ctx, call, traffic)
		if err != nil {
			return err
		}
		return s.conclude(call, &simulation{tally: tally})
	}
	return withMirror(ctx, call, func(pool *pgxpool.Pool) error { return s.check(ctx, call, pool, traffic) })
}

// complete fills in what depends on other dials, and refuses what makes no
// sense.
func (s *simulateCmd) complete(now time.Time) error {
	if err := s.inRange(); err != nil {
		return err
	}
	for s.Seed == 0 {
		s.Seed = rand.Uint64N(1_000_000)
	}
	if s.Prefix == "" {
		s.Prefix = fmt.Sprintf("sim-%d", s.Seed)
	}
	room := int(now.Add(ahead).Sub(s.Start) / simulator.Pace)
	switch {
	case s.Events == 0 && s.Duration == 0:
		s.Events = defaultEvents
	case s.Events == 0:
		s.Events = max(room, 1)
	}
	if s.Events > room {
		return misused("--start: %s: %d events from then on may reach more than a day into the future, where no receiver takes them",
			s.Start.Format(time.RFC3339), s.Events)
	}
	return nil
}

func (s *simulateCmd) inRange() error {
	for _, n := range []struct {
		flag       string
		value, min int
	}{
		{"tenants", s.Tenants, 1},
		{"contacts", s.Contacts, 1},
		{"events", s.Events, 0},
		{"burst", s.Burst, 0},
		{"connections", s.Connections, 1},
		{"reorder-by", s.ReorderBy, 1},
	} {
		if n.value < n.min {
			return misused("--%s: %d: allowed: %d or more", n.flag, n.value, n.min)
		}
	}
	for _, n := range []struct {
		flag  string
		value float64
	}{
		{"ties", s.Ties}, {"v10", s.V10}, {"duplicates", s.Duplicates}, {"reorder", s.Reorder}, {"tamper", s.Tamper}, {"malformed", s.Malformed},
	} {
		if !(n.value >= 0 && n.value <= 100) {
			return misused("--%s: %v: allowed: 0 to 100", n.flag, n.value)
		}
	}
	if !(s.Rate >= 0) || s.Delay < 0 || s.Duration < 0 || s.Drain < 0 {
		return misused("--rate, --delay, --duration, --drain: allowed: 0 or more")
	}
	return nil
}

// traffic is what the dials ask for.
func (s *simulateCmd) traffic(call *invocation) (*simulator.Traffic, error) {
	config, err := call.config()
	if err != nil {
		return nil, err
	}
	sender := simulator.Sender{Client: simulator.NewClient(30 * time.Second)}
	sender.Client.Transport = &http.Transport{MaxIdleConnsPerHost: s.Connections, Proxy: http.ProxyFromEnvironment}
	if sender.URL, err = (&sendCmd{To: s.To}).target(config); err != nil {
		return nil, err
	}
	if sender.Secret, err = s.secret(config); err != nil {
		return nil, err
	}
	dials := simulator.Dials{
		Seed: s.Seed, Contacts: s.Contacts, Events: s.Events, Start: s.Start,
		Mix:        simulator.Mix{Ties: s.Ties, V10: s.V10, Burst: s.Burst},
		Duplicates: s.Duplicates, Reorder: s.Reorder, Span: s.ReorderBy, Tampered: s.Tamper, Malformed: s.Malformed, Delay: s.Delay,
	}
	for n := range s.Tenants {
		dials.Tenants = append(dials.Tenants, fmt.Sprintf("%s-%d", s.Prefix, n+1))
	}
	return &simulator.Traffic{Sender: sender, Dials: dials, Rate: s.Rate, Connections: s.Connections, Duration: s.Duration}, nil
}

// secret is what to sign with: of several that are live, the first.
func (s *simulateCmd) secret(config *Config) (string, error) {
	switch {
	case s.Secret != "":
		return s.Secret, nil
	case len(config.Secrets) > 0:
		return config.Secrets[0].Key, nil
	}
	secret, err := generatedSecret(config.DataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", misused("no secret to sign with: %s does not exist; set CONTACTMIRROR_SECRET, or give --secret", filepath.Join(config.DataDir, secretFile))
	}
	return secret, err
}

// check sends, waits, and compares the mirror in pool with the truth.
func (s *simulateCmd) check(ctx context.Context, call *invocation, pool *pgxpool.Pool, traffic *simulator.Traffic) error {
	tenants := traffic.Dials.Tenants
	known, err := simulator.Known(ctx, pool, tenants)
	if err != nil {
		return fmt.Errorf("simulate: %w", err)
	}
	if len(known) > 0 && !s.Force {
		return misused("simulate: the mirror has events of %s already, and only a run that made them all can judge them; give another --seed or --prefix, or --force", strings.Join(known, ", "))
	}
	traffic.Oracle = &simulator.Oracle{Tenants: tenants}
	tally, err := s.send(ctx, call, traffic)
	if err != nil {
		return err
	}
	found := &simulation{tally: tally}
	found.drain, found.drainErr = drainMirror(ctx, s.Drain, readyURL(traffic.Sender.URL), pool, tenants)
	if found.drainErr == nil {
		if found.verdict, err = judge(ctx, pool, traffic.Oracle); err != nil {
			return fmt.Errorf("simulate: %w", err)
		}
	}
	return s.conclude(call, found)
}

// send runs the traffic, with its progress on a terminal.
func (s *simulateCmd) send(ctx context.Context, call *invocation, traffic *simulator.Traffic) (*simulator.Tally, error) {
	defer traffic.Sender.Client.CloseIdleConnections()
	progress, finish := s.progress(call.stderr)
	traffic.Progress = progress
	tally, err := traffic.Run(ctx)
	finish()
	return tally, err
}

// judge asks the oracle about the mirror as it is at one instant.
func judge(ctx context.Context, pool *pgxpool.Pool, oracle *simulator.Oracle) (verdict *simulator.Verdict, err error) {
	instant := pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}
	err = pgx.BeginTxFunc(ctx, pool, instant, func(tx pgx.Tx) error {
		verdict, err = oracle.Judge(ctx, tx)
		return err
	})
	return verdict, err
}
