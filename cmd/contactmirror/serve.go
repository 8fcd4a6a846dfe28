package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"contactmirror/internal/accept"
	"contactmirror/internal/freshness"
	"contactmirror/internal/inbox"
	"contactmirror/internal/mirror"
	"contactmirror/internal/pg"
	"contactmirror/internal/process"
	"contactmirror/internal/receive"
	"contactmirror/internal/retention"
	"contactmirror/internal/settle"
	"contactmirror/internal/signature"
	"contactmirror/internal/spool"
)

// A process that is stopped has ten seconds before its supervisor kills it.
const (
	// leaveTime is how long a load balancer has to see readyz at 503 and send
	// deliveries elsewhere, before the listener is closed.
	leaveTime = 2 * time.Second
	// drainTime is how long requests under way may then take to end.
	drainTime = 4 * time.Second
)

// serveCmd receives deliveries and applies them.
type serveCmd struct {
	Roles   []process.Role `default:"receive,sync,admin" placeholder:"ROLE,…" help:"What this process does: receive, sync and admin; default all of them."`
	Migrate bool           `help:"Bring the schema up to date before starting. The embedded database always is."`
	Workers int            `default:"3" placeholder:"N" help:"Batches that this process applies at a time, 1 to 32; default 3."`
	DatabaseFlags
	MigrateFlag
	ReceiveFlags
	AuditFlag
	AdminFlags
	RetentionFlags
	LogFlags
}

// Run serves until ctx ends, which is no error.
func (s *serveCmd) Run(ctx context.Context, call *invocation) error {
	if err := s.check(); err != nil {
		return err
	}
	config, err := call.config()
	if err != nil {
		return err
	}
	if s.receives() {
		if err := requireSecret(config); err != nil {
			return err
		}
	}
	if config.AdminListen == "" && !s.receives() && !s.syncs() {
		return misused("--roles: there is nothing to do: CONTACTMIRROR_ADMIN_LISTEN is off")
	}
	log := newLogger(config, call.stderr)
	return serveDatabase(ctx, config, call, log, func(d database) error {
		return s.serve(ctx, config, log, call.stderr, d)
	})
}

func (s *serveCmd) check() error {
	for _, role := range s.Roles {
		if !slices.Contains(process.Roles(), role) {
			return misused("--roles: %q: allowed: receive, sync, admin", role)
		}
	}
	if s.Workers < 1 || s.Workers > 32 {
		return misused("--workers: %d: allowed: 1 to 32", s.Workers)
	}
	return nil
}

func (s *serveCmd) receives() bool { return slices.Contains(s.Roles, process.Receive) }
func (s *serveCmd) syncs() bool    { return slices.Contains(s.Roles, process.Sync) }
func (s *serveCmd) shows() bool    { return slices.Contains(s.Roles, process.Admin) }

// requireSecret refuses to receive where nothing could be verified.
func requireSecret(c *Config) error {
	if c.Embedded() || c.AllowUnsigned || len(c.Secrets)+len(c.TenantSecrets) > 0 {
		return nil
	}
	return misused("no webhook secret: set CONTACTMIRROR_SECRET, CONTACTMIRROR_SECRET_FILE or CONTACTMIRROR_TENANT_SECRETS_FILE to the secret of the webhook at SuperOffice")
}

// keyring is what deliveries are verified by. Beside the embedded database a
// secret is made where none is set.
func keyring(c *Config) (*signature.Keyring, error) {
	return keyringWith(c, ensureSecret)
}

// presentKeyring is [keyring] for commands that only look: where no secret has been
// made yet, it is empty.
func presentKeyring(c *Config) (*signature.Keyring, error) {
	keys, err := keyringWith(c, generatedSecret)
	if errors.Is(err, fs.ErrNotExist) {
		return signature.NewKeyring(nil, nil), nil
	}
	return keys, err
}

func keyringWith(c *Config, generated func(dataDir string) (string, error)) (*signature.Keyring, error) {
	shared := c.Secrets
	if c.Embedded() && len(c.Secrets)+len(c.TenantSecrets) == 0 {
		secret, err := generated(c.DataDir)
		if err != nil {
			return nil, err
		}
		shared = []signature.Secret{{Key: secret}}
	}
	return signature.NewKeyring(shared, c.TenantSecrets), nil
}

// serve runs the roles on d.
func (s *serveCmd) serve(ctx context.Context, config *Config, log *slog.Logger, stderr io.Writer, d database) error {
	pool, err := pg.Open(d.url, int32(inbox.Writers+s.Workers+10)) // for the express loop, the notifier, the watch, the heartbeat, freshness, the settler, retention, a scrape, and two readers of changes
	if err != nil {
		return err
	}
	defer pg.Close(pool)
	watch := newWatch(pool, log)
	if s.Migrate || config.Embedded() {
		watch.migrateURL = d.migrateURL
	}
	var entry *entrance
	if s.receives() {
		if entry, err = openEntrance(ctx, config, log); err != nil {
			return err
		}
		defer func() { // what has run has closed itself
			_, _ = entry.listener.Close(), entry.spool.Close()
		}()
	}
	look, err := watch.start(ctx)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { log.Info("stopping", "cause", context.Cause(ctx).Error()) })()
	adminListener, err := s.listenAdmin(ctx, config)
	if err != nil {
		return err
	}
	metrics := s.newMetrics(watch, entry)
	roles, working := errgroup.WithContext(ctx)
	roles.Go(func() error { return look(working) })
	wake := func(...string) {}
	if s.syncs() {
		wake = s.sync(working, roles, config, watch, metrics.Batch)
	}
	if entry != nil {
		entry.receive(working, roles, watch, wake, metrics.Answered)
	}
	if s.receives() || s.syncs() {
		roles.Go(func() error {
			return watch.whileSchema(working, retention.NewKeeper(pool, config.Retention, log).Run)
		})
	}
	if adminListener != nil {
		serveAdmin(working, roles, config, watch, adminListener, metrics)
	}
	if entry != nil {
		greet(config, log, stderr, entry.listener.Addr(), d.dir)
	}
	heartbeat := s.newHeartbeat(config, watch, entry)
	roles.Go(func() error { return watch.whileSchema(working, heartbeat.Run) })
	roles.Go(func() error { return watch.whileSchema(working, freshness.New(pool, log).Run) })
	defer leave(ctx, heartbeat, watch)
	return roles.Wait()
}

// sync runs the sync worker and what advances the log horizon, and returns the
// function that wakes the worker for tenants with new events.
func (s *serveCmd) sync(ctx context.Context, roles *errgroup.Group, config *Config, watch *watch, observe func(mirror.Batch)) (wake func(tenants ...string)) {
	worker := mirror.New(watch.pool, watch.log, s.Workers)
	settler := settle.New(watch.pool, watch.log)
	worker.Observe = func(b mirror.Batch) { observe(b); settler.Wake() }
	worker.AuditKeys = config.AuditKeys
	watch.worker, watch.settler = worker.Health, settler.Health
	roles.Go(func() error { return watch.whileSchema(ctx, worker.Run) })
	roles.Go(func() error {
		return watch.whileSchema(ctx, func(ctx context.Context) error {
			settler.Wake() // for what was restored
			return settler.Run(ctx)
		})
	})
	return worker.Wake
}

// entrance is what has to be in order before anything is received.
type entrance struct {
	config   *Config
	listener net.Listener
	keys     *signature.Keyring
	spool    *spool.Spool

	// What receive starts.
	gate     *accept.Gate
	receiver *receive.Receiver
}

// openEntrance takes the secrets, the spool and the address. Connections wait
// from now on.
func openEntrance(ctx context.Context, config *Config, log *slog.Logger) (*entrance, error) {
	keys, err := keyring(config)
	if err != nil {
		return nil, err
	}
	files, err := spool.Open(spoolDir(config), config.SpoolLimit, log)
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", config.Listen)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("receive: %w", err), files.Close())
	}
	return &entrance{config: config, listener: listener, keys: keys, spool: files}, nil
}

// receive starts the receiver among roles. Inbox and spool outlive it, so that
// requests under way when ctx ends are kept and answered.
func (e *entrance) receive(ctx context.Context, roles *errgroup.Group, watch *watch, wake func(tenants ...string), answered func(status int, took time.Duration)) {
	if e.config.AllowUnsigned {
		watch.log.Warn("UNSIGNED DELIVERIES ARE ACCEPTED: whoever reaches this address can write to the mirror; unset CONTACTMIRROR_ALLOW_UNSIGNED to stop that")
	}
	// This process's worker is woken at once, others soon.
	notifier := inbox.NewNotifier(watch.pool)
	box := inbox.New(watch.pool, func(tenants ...string) { wake(tenants...); notifier.Queued() })
	box.Log = watch.log
	e.gate = accept.New(accept.Inbox{Put: watch.guardPut(box.Put), Probe: watch.guardProbe(box.Probe)}, e.spool, watch.log)
	watch.spool = e.spool.State
	watch.inboxAway = func() bool { _, away := e.gate.AwaySince(); return away }
	keeping, stopKeeping := context.WithCancel(context.WithoutCancel(ctx))
	roles.Go(func() error { return box.Run(keeping) })
	roles.Go(func() error { return e.spool.Run(keeping) })
	roles.Go(func() error { return e.gate.Run(ctx) })
	roles.Go(func() error { return notifier.Run(ctx) })
	e.receiver = receive.New(receive.Config{
		Keyring:       e.keys,
		AllowUnsigned: e.config.AllowUnsigned,
		MaxBody:       e.config.MaxBody,
		Put:           e.gate.Accept,
		Ready:         watch.ready,
		Answered:      answered,
		Log:           watch.log,
	})
	leave := leaveTime
	if e.config.Embedded() { // nobody balances load in front of a private database
		leave = 0
	}
	roles.Go(func() error {
		defer stopKeeping()
		return e.receiver.Serve(ctx, e.listener, leave, drainTime)
	})
}
