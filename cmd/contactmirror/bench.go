package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/localpg"
	"contactmirror/internal/pg"
	"contactmirror/migrations"
)

// benchCmd measures what the README publishes, on this machine and database.
type benchCmd struct {
	Only     []string      `placeholder:"NAME,…" help:"Which measures: ${benchmarks}; default all of them."`
	Quick    bool          `help:"Measure the rates only, with a backlog of 150000 events and floods of 3 s: under 90 s, for comparing two builds. Replaces the other sizes."`
	Events   int           `default:"1000000" placeholder:"N" help:"How many events wait in a backlog; default 1000000."`
	Contacts int           `default:"200000" placeholder:"N" help:"How many contacts they are about; default 200000."`
	Grown    int           `default:"1000000" placeholder:"N" help:"How many contacts and logged events a grown database has; default 1000000. Ten times as many take some 20 GB of disk."`
	Duration time.Duration `default:"10s" placeholder:"TIME" help:"How long deliveries are posted for a measure; default 10s."`
	Workers  int           `default:"3" placeholder:"N" help:"Batches that are applied at a time, as serve has it; default 3."`
	JSON     bool          `help:"Print JSON."`
	DatabaseFlags
	LogFlags
}

// Help says what is done where.
func (benchCmd) Help() string {
	return `Measures this build on this machine and database: how fast deliveries are acknowledged and applied, how soon they are visible, and what it takes. Every rate stands beside what it is to be compared with, measured in the same run, for machines differ and are seldom quiet.

Each measure makes a schema of its own, contactmirror_bench_…, and drops it; nothing else in the database is touched. The role must be allowed to make schemas; one that may also ask for checkpoints gets steadier figures. With the default sizes it takes about a quarter of an hour and 5 GB of disk.

--quick measures only the rates, on a smaller backlog. Single runs differ by a tenth on a shared machine: to compare two builds, run them in turn with --quick --json and compare the median of the ratios.`
}

// benchmark is one measure. Those that are rates are what --quick runs.
type benchmark struct {
	name string
	rate bool
	run  func(*benchRun, context.Context) error
}

// benchmarks are all measures, in the order in which they are run.
var benchmarks = []benchmark{
	{"acknowledge", true, (*benchRun).acknowledge},
	{"sustain", true, (*benchRun).sustain},
	{"drain", true, (*benchRun).drain},
	{"late", true, (*benchRun).late},
	{"hot", true, (*benchRun).hot},
	{"snapshot", false, (*benchRun).snapshot},
	{"latency", false, (*benchRun).latency},
	{"fairness", false, (*benchRun).fairness},
	{"memory", false, (*benchRun).memory},
	{"idle", false, (*benchRun).idle},
	{"grown", false, (*benchRun).grown},
}

func benchmarkNames() string {
	names := make([]string, len(benchmarks))
	for i, b := range benchmarks {
		names[i] = b.name
	}
	return strings.Join(names, ", ")
}

// Run measures and prints.
func (c *benchCmd) Run(ctx context.Context, call *invocation) error {
	if c.Quick {
		if err := c.shorten(); err != nil {
			return err
		}
	}
	if err := c.check(); err != nil {
		return err
	}
	config, err := call.config()
	if err != nil {
		return err
	}
	return c.withDatabase(ctx, config, call, func(url string) error {
		b := &benchRun{benchCmd: c, url: url, call: call}
		if b.dir, err = os.MkdirTemp("", "contactmirror-bench-"); err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(b.dir) }() // empty spools
		if b.machine.PostgreSQL, err = b.server(ctx); err != nil {
			return fmt.Errorf("bench: %w", err)
		}
		err := b.all(ctx)
		if len(b.results) > 0 {
			err = errors.Join(err, b.print())
		}
		return err
	})
}

// shorten sets what --quick stands for. All measures of its sizes together must
// take less than 90 s on two cores.
func (c *benchCmd) shorten() error {
	if len(c.Only) > 0 {
		return misused("--quick chooses the measures itself; leave out --only")
	}
	for _, b := range benchmarks {
		if b.rate {
			c.Only = append(c.Only, b.name)
		}
	}
	c.Events, c.Contacts, c.Duration = 150_000, 30_000, 3*time.Second
	return nil
}

func (c *benchCmd) check() error {
	for _, name := range c.Only {
		if !slices.ContainsFunc(benchmarks, func(b benchmark) bool { return b.name == name }) {
			return misused("--only: %q: allowed: %s", name, benchmarkNames())
		}
	}
	switch {
	case c.Events < 1000:
		return misused("--events: %d: allowed: 1000 or more", c.Events)
	case c.Contacts < 1 || c.Contacts > c.Events:
		return misused("--contacts: %d: allowed: 1 to %d, the number of --events", c.Contacts, c.Events)
	case c.Grown < 1000:
		return misused("--grown: %d: allowed: 1000 or more", c.Grown)
	case c.Duration < 100*time.Millisecond:
		return misused("--duration: %v: allowed: 100ms or more", c.Duration)
	case c.Workers < 1 || c.Workers > 32:
		return misused("--workers: %d: allowed: 1 to 32", c.Workers)
	}
	return nil
}

// withDatabase calls do with the database to measure on: the one of the settings,
// or else the embedded one, made where there is none.
func (c *benchCmd) withDatabase(ctx context.Context, config *Config, call *invocation, do func(url string) error) error {
	if config.Embedded() {
		if url, ok := localpg.Running(ctx, config.DataDir); ok {
			return do(url)
		}
	}
	return serveDatabase(ctx, config, call, newLogger(config, call.stderr), func(d database) error { return do(d.url) })
}

// benchRun is one run.
type benchRun struct {
	*benchCmd
	call    *invocation
	url     string
	dir     string // for what processes need
	machine benchMachine
	results []benchResult
}

// benchMachine is where a run took place.
type benchMachine struct {
	System     string    `json:"system"`
	Cores      int       `json:"cores"`
	PostgreSQL string    `json:"postgresql"`
	Build      string    `json:"build"`
	At         time.Time `json:"at"`
}

func (b *benchRun) all(ctx context.Context) error {
	b.machine.System, b.machine.Cores, b.machine.At = runtime.GOOS+"/"+runtime.GOARCH, runtime.NumCPU(), time.Now().UTC()
	b.machine.Build = thisBuild().Version
	for _, m := range benchmarks {
		if len(b.Only) > 0 && !slices.Contains(b.Only, m.name) {
			continue
		}
		began := time.Now()
		b.say("%s …", m.name)
		if err := m.run(b, ctx); err != nil {
			return fmt.Errorf("bench: %s: %w", m.name, err)
		}
		b.say("%s took %v", m.name, time.Since(began).Round(time.Second))
	}
	return nil
}

// say tells how far it is.
func (b *benchRun) say(format string, args ...any) {
	fmt.Fprintf(b.call.stderr, "bench: "+format+"\n", args...)
}

// server is the database's version, and whether its commits are durable: numbers
// of a server that does not sync are no numbers.
func (b *benchRun) server(ctx context.Context) (string, error) {
	conn, err := pgx.Connect(ctx, b.url)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var version, fsync, commit string
	err = conn.QueryRow(ctx, "select current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit')").Scan(&version, &fsync, &commit)
	if fsync != "on" || commit == "off" {
		version += fmt.Sprintf(", fsync %s, synchronous_commit %s", fsync, commit)
	}
	return version, err
}

// inSchema calls do with a new schema of this build's version.
func (b *benchRun) inSchema(ctx context.Context, do func(url string, pool *pgxpool.Pool) error) (err error) {
	name := fmt.Sprintf("contactmirror_bench_%d", time.Now().UnixNano())
	conn, err := pgx.Connect(ctx, b.url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if _, err := conn.Exec(ctx, "create schema "+name); err != nil {
		return err
	}
	defer func() { // also where ctx has ended
		dropping, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_, dropErr := conn.Exec(dropping, "drop schema "+name+" cascade")
		err = errors.Join(err, dropErr)
	}()
	in, err := inSearchPath(b.url, name)
	if err != nil {
		return err
	}
	if _, err := migrations.Up(ctx, in); err != nil {
		return err
	}
	pool, err := pg.Open(in, int32(b.Workers+4))
	if err != nil {
		return err
	}
	defer pool.Close()
	return do(in, pool)
}

// inSearchPath is the database at dsn with schema in front.
func inSearchPath(dsn, schema string) (string, error) {
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		return dsn + " search_path=" + schema, nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", err
	}
	query := u.Query()
	query.Set("search_path", schema)
	u.RawQuery = query.Encode()
	return u.String(), nil
}
