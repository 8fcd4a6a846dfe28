package verify

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/event"
	"contactmirror/internal/inbox"
	"contactmirror/internal/mirror"
	"contactmirror/internal/pg"
	"contactmirror/internal/report"
	"contactmirror/internal/settle"
	"contactmirror/internal/simulator"
)

// Defaults of the database that change how values are written or read are refused by
// name. With all others everything works as usual.
func TestRun_withDefaultsOfTheDatabase(t *testing.T) {
	t.Parallel()
	for setting, refused := range map[string]bool{
		"array_nulls = off":                              true,
		"bytea_output = escape":                          true,
		"client_encoding = latin1":                       true,
		"datestyle = 'German, DMY'":                      true,
		"datestyle = 'SQL, MDY'":                         true,
		"datestyle = 'ISO, DMY'":                         false,
		"intervalstyle = sql_standard":                   false,
		"standard_conforming_strings = off":              true,
		"transform_null_equals = on":                     false,
		"extra_float_digits = -15":                       false,
		"timezone = 'Asia/Kathmandu'":                    false,
		"timezone = 'America/St_Johns'":                  false,
		"lc_messages = 'C'":                              false,
		"lc_numeric = 'C'":                               false,
		"quote_all_identifiers = on":                     false,
		"default_transaction_isolation = 'serializable'": false,
		"default_transaction_deferrable = on":            false,
		"plan_cache_mode = force_generic_plan":           false,
	} {
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeExec} {
			t.Run(setting+" "+mode.String(), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, 7)
				alterDefault(r, setting)
				config := r.Pool.Config()
				config.ConnConfig.DefaultQueryExecMode = mode
				config.MaxConns = 8
				pool, err := pgxpool.NewWithConfig(t.Context(), config)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(pool.Close)
				_, err = pool.Exec(t.Context(), "select")
				if wrong, ok := errors.AsType[*pg.SettingsError](err); refused {
					name, _, _ := strings.Cut(setting, " ")
					switch {
					case !ok || !strings.Contains(strings.ToLower(wrong.Settings), name):
						t.Errorf("%v, want an error that names %s", err, name)
					case pg.DataFault(err) || pg.Transient(err):
						t.Errorf("%v is taken for the data's fault, or for an outage that passes", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				works(r, pool)
			})
		}
	}
}

func alterDefault(r *rig, setting string) {
	r.t.Helper()
	database := r.value("select current_database()::text")
	if _, err := r.Pool.Exec(context.Background(), "alter database "+database+" set "+setting); err != nil {
		r.t.Fatal(err)
	}
}

// works receives, applies, seals and verifies on pool.
func works(r *rig, pool *pgxpool.Pool) {
	r.t.Helper()
	worker := mirror.New(pool, slog.New(slog.DiscardHandler), 1)
	in := inbox.New(pool, worker.Wake)
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{worker.Run, in.Run, settle.New(pool, slog.New(slog.DiscardHandler)).Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				r.t.Error(err)
			}
		})
	}
	r.t.Cleanup(func() { stop(); running.Wait() })
	deliver := func(body []byte, want inbox.Result) {
		d := inbox.Delivery{Body: body, ReceivedAt: received}
		if e, err := event.Parse(body, received); err != nil {
			d.Reason = err.Error()
		} else {
			d.Event = &e
		}
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		got, err := in.Put(ctx, d)
		if err != nil || got != want {
			r.t.Fatalf("%s: %s, %v, want %s", body, got, err, want)
		}
	}
	lives := simulator.NewLives(7, []string{"Cust1", "Cust2"}, 5, received.AddDate(0, -1, 0))
	for range 40 {
		body := lives.Next()
		deliver(body, inbox.Accepted)
		deliver(body, inbox.Duplicate)
	}
	deliver([]byte(`{"Event":"test","ContextIdentifier":"Ærø ’\\"}`), inbox.Ignored)
	deliver([]byte(`{"Event":"contact.changed","ContextIdentifier":"Ærø ’\\"}`), inbox.Quarantined)
	for deadline := time.Now().Add(time.Minute); r.value(`select exists (select from sync_queue)::text`) != "false"; worker.Wake() {
		if time.Now().After(deadline) {
			r.t.Fatalf("events are still queued; health: %+v", worker.Health())
		}
	}
	found, err := Run(context.Background(), pool, Options{})
	if err != nil || found.Differences() > 0 {
		r.t.Errorf("%+v, %v", found, err)
	}
	if _, err := report.Read(context.Background(), pool); err != nil {
		r.t.Error(err)
	}
	if got := r.value(`select concat_ws(' ', sum(accepted), sum(quarantined), bool_and(balanced)) from event_accounting`); got != "41 0 t" {
		r.t.Errorf("the account is %s", got)
	}
	if got := r.value(`select count(*)::text from webhook_events where context_identifier = 'Ærø ’\'`); got != "1" {
		r.t.Error("a tenant's name was changed on the way")
	}
}
