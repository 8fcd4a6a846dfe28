package mirror_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/contact"
	"contactmirror/internal/mirror"
)

// crossed exchanges the row addresses of two contacts, once, in a batch of
// statements that writes both.
type crossed struct{ done atomic.Bool }

func (c *crossed) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	var addresses []*pgtype.TID
	for _, query := range data.Batch.QueuedQueries {
		for _, argument := range query.Arguments {
			if named, ok := argument.(pgx.StrictNamedArgs); ok {
				argument = named["row"]
			}
			rows, _ := argument.([]pgtype.TID)
			for i := range rows {
				addresses = append(addresses, &rows[i])
			}
		}
	}
	if len(addresses) == 2 && c.done.CompareAndSwap(false, true) {
		*addresses[0], *addresses[1] = *addresses[1], *addresses[0]
	}
	return ctx
}

func (*crossed) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

func (*crossed) TraceBatchEnd(context.Context, *pgx.Conn, pgx.TraceBatchEndData) {}

func (*crossed) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

func (*crossed) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// A row address that belongs to another contact writes nothing: the batch is
// rolled back, and applied again.
func TestWorker_writesNoRowOfAnotherContact(t *testing.T) {
	t.Parallel()
	ids := idsOfAShard("Cust1", 3)
	const sent, whole, deleted = `{"country_id":%d}`, `{"country_id":%d,"name":"a"}`, "deleted"
	for name, c := range map[string]struct {
		second [2]string
		want   []string
	}{
		"columns that are sent": {[2]string{sent, sent}, []string{"11", "12", "3"}},
		"all columns":           {[2]string{whole, whole}, []string{"11", "12", "3"}},
		"both":                  {[2]string{sent, whole}, []string{"11", "12", "3"}},
		"a hard delete":         {[2]string{deleted, sent}, []string{"12", "3"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, 1)
			event := func(i, n int, values string) []byte {
				kind := "contact.changed"
				if values == deleted {
					kind, values = "contact.deleted", "null"
				} else {
					values = fmt.Sprintf(values, n)
				}
				return fmt.Appendf(nil, `{"EventId":"00000000-0000-0000-0000-%012d","Timestamp":"2026-01-01T00:00:%02dZ","Event":"%s",`+
					`"PrimaryKey":%d,"ContextIdentifier":"Cust1","FieldValues":%s}`, n, n, kind, ids[i], values)
			}
			apply := func(pool *pgxpool.Pool, bodies ...[]byte) {
				r.deliver(bodies...) // all of it is queued before the worker starts, and of one shard, so it is one batch
				r.worker = mirror.New(pool, slog.New(slog.DiscardHandler), 1)
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- r.worker.Run(ctx) }()
				r.drain()
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			}
			apply(r.Pool, event(0, 1, sent), event(1, 2, sent), event(2, 3, sent))
			trace := &crossed{}
			config := r.Pool.Config()
			config.ConnConfig.Tracer = trace
			pool, err := pgxpool.NewWithConfig(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(pool.Close)
			apply(pool, event(0, 11, c.second[0]), event(1, 12, c.second[1]))
			if !trace.done.Load() {
				t.Error("no addresses were exchanged: the test tests nothing")
			}
			got := column(t, r.Pool, `select country_id::text from contacts order by contact_id`)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("contacts (-want +got):\n%s", diff)
			}
		})
	}
}

// idsOfAShard returns n ids whose contacts are in one shard, in order.
func idsOfAShard(tenant string, n int) []int64 {
	var ids []int64
	for id := int64(1); len(ids) < n; id++ {
		if (contact.Key{Tenant: tenant, ID: id}).Shard() == (contact.Key{Tenant: tenant, ID: 1}).Shard() {
			ids = append(ids, id)
		}
	}
	return ids
}
