package main

import (
	"context"
	"fmt"
	"net"
	"time"

	"golang.org/x/sync/errgroup"

	"contactmirror/internal/accept"
	"contactmirror/internal/admin"
	"contactmirror/internal/feed"
	"contactmirror/internal/mirror"
	"contactmirror/internal/receive"
)

// adminGrace is how long a scrape under way may take when the process stops.
const adminGrace = time.Second

// listenAdmin takes the address for metrics and profiles. It is nil where this
// process shows none.
func (s *serveCmd) listenAdmin(ctx context.Context, config *Config) (net.Listener, error) {
	if !s.shows() || config.AdminListen == "" {
		return nil, nil
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", config.AdminListen)
	if err != nil {
		return nil, fmt.Errorf("admin: %w; set CONTACTMIRROR_ADMIN_LISTEN to another address, or to off", err)
	}
	return listener, nil
}

// serveAdmin starts the admin listener among roles, when the others are there to
// be measured, with the changes of the database that watch has found right.
func serveAdmin(ctx context.Context, roles *errgroup.Group, config *Config, watch *watch, listener net.Listener, metrics *admin.Metrics) {
	log, changes := watch.log, feed.New(watch.pool, watch.log)
	a := admin.New(admin.Config{Token: config.AdminToken, Metrics: metrics, Feed: changes, Log: log})
	roles.Go(func() error { return watch.whileSchema(ctx, changes.Run) })
	roles.Go(func() error { return a.Serve(ctx, listener, adminGrace) })
	address := listener.Addr().String()
	log.Info("measuring", "metrics", localURL(address, "/metrics"), "changes", localURL(address, "/changes"))
}

// newMetrics measures this process. The parts have to be there when it is
// scraped; watch and entry are given them before.
func (s *serveCmd) newMetrics(watch *watch, entry *entrance) *admin.Metrics {
	build := thisBuild()
	sources := admin.Sources{Version: build.Version, Revision: build.Revision, Pool: watch.pool}
	if s.syncs() {
		sources.Worker = func() mirror.Health { return watch.worker() }
	}
	if entry != nil {
		sources.Receiver = &admin.Receiver{
			Deliveries:   entry.deliveries,
			Unsigned:     func() uint64 { return entry.receiver.Counts()[receive.Unsigned] },
			Retries:      func() map[string]uint64 { return entry.receiver.Retries() },
			RefusedSince: func() time.Time { since, _ := entry.receiver.Refused(); return since },
			LastAccepted: func() time.Time { return entry.receiver.LastAccepted() },
			Spool:        entry.spool.State,
			InboxAway:    func() bool { _, away := entry.gate.AwaySince(); return away },
		}
	}
	return admin.NewMetrics(sources)
}

// deliveries counts what was received, each delivery under one result.
func (e *entrance) deliveries() map[string]uint64 {
	counts := map[string]uint64{string(accept.Spooled): 0}
	for outcome, n := range e.receiver.Counts() {
		counts[string(outcome)] = n
	}
	delete(counts, string(receive.Unsigned)) // counts some of them once more
	return counts
}

// alertsCmd prints alert rules.
type alertsCmd struct{}

// Run prints a rule file for Prometheus.
func (alertsCmd) Run(call *invocation) error {
	_, err := fmt.Fprint(call.stdout, admin.Rules)
	return err
}
