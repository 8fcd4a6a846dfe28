package main

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"contactmirror/internal/inbox"
	"contactmirror/internal/pgtest"
	"contactmirror/migrations"
)

// Tables that are dropped and restored are checked again, those of another version
// are not used, and what remembers the old ones starts over. Nothing is migrated.
func TestWatch_restoredTables(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	w := newWatch(db.Pool, slog.New(slog.DiscardHandler))
	w.migrateURL = db.URL
	put := w.guardPut(func(context.Context, inbox.Delivery) (inbox.Result, error) { return inbox.Accepted, nil })
	looked := func(step string, right bool) {
		t.Helper()
		if err := w.look(t.Context()); (err == nil) != right {
			t.Errorf("%s: look: %v, want success: %t", step, err, right)
		}
		if _, err := put(t.Context(), inbox.Delivery{}); errors.Is(err, errSchemaUnknown) == right {
			t.Errorf("%s: put: %v", step, err)
		}
	}
	starts, ends := make(chan struct{}, 10), make(chan struct{}, 10)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() {
		ran <- w.whileSchema(ctx, func(ctx context.Context) error {
			starts <- struct{}{}
			<-ctx.Done()
			ends <- struct{}{}
			return nil
		})
	}()
	looked("at the start", true)
	<-starts
	looked("again", true)
	if _, err := db.Pool.Exec(t.Context(), "drop schema public cascade; create schema public"); err != nil {
		t.Fatal(err)
	}
	looked("dropped", false)
	<-ends
	looked("still empty", false)
	if _, err := migrations.Up(t.Context(), db.URL); err != nil {
		t.Fatal(err)
	}
	if _, err := migrations.Down(t.Context(), db.URL, migrations.Version-1, false); err != nil {
		t.Fatal(err)
	}
	looked("restored from an older version", false)
	if _, err := migrations.Up(t.Context(), db.URL); err != nil {
		t.Fatal(err)
	}
	looked("migrated", true)
	<-starts
	stop()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if n := len(starts); n != 0 {
		t.Errorf("started %d times more", n)
	}
}

// A sequence that is behind is moved before anything is stored.
func TestWatch_sequenceBehindItsTable(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t)
	if _, err := db.Pool.Exec(t.Context(), `insert into webhook_events (context_identifier, event, received_at, ignored, keyless_sha256)
		select '', 'test', now(), true, convert_to(n::text, 'UTF8') from generate_series(1, 9) n`); err != nil {
		t.Fatal(err)
	}
	db.ResetSequences(t)
	if err := newWatch(db.Pool, slog.New(slog.DiscardHandler)).look(t.Context()); err != nil {
		t.Fatal(err)
	}
	var next int64
	if err := db.Pool.QueryRow(t.Context(), "select nextval('webhook_events_event_seq_seq')").Scan(&next); err != nil || next != 10 {
		t.Errorf("the next number is %d, %v, want 10", next, err)
	}
}
