package contactrow

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/contact"
	"contactmirror/internal/pgtest"
	"contactmirror/sql"
)

// batchRows is how many contacts a full batch has at most.
const batchRows = 1000

// benchStates are states with the values that SuperOffice sends.
func benchStates() []*contact.State {
	states := make([]*contact.State, batchRows)
	for i := range states {
		s := &contact.State{Life: contact.Live, Last: contact.Order{Ticks: contact.Ticks(i), Kind: contact.Changed}}
		for c := range contact.Sent.All() {
			switch c.Spec().Type {
			case contact.Timestamptz:
				s.Row.Values[c] = contact.MicrosValue(1_770_000_000_000_000 + int64(i))
			default:
				s.Row.Values[c] = contact.IntValue(int64(i))
			}
		}
		states[i] = s
	}
	return states
}

// BenchmarkShape_args lays out and encodes the rows of a batch.
func BenchmarkShape_args(b *testing.B) {
	conn, err := pgtest.New(b).Pool.Acquire(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Release()
	states := benchStates()
	for name, c := range map[string]struct {
		*Shape
		update string
	}{"whole": {&Whole, sql.MirrorUpdate}, "sent": {&Sent, sql.MirrorUpdateSent}} {
		b.Run(name, func(b *testing.B) {
			var a addresses
			for i := range states {
				a.add(&Row{Key: contact.Key{Tenant: "Cust1", ID: int64(i + 1)}, address: pgtype.TID{Valid: true}})
			}
			var buf []byte
			b.ReportAllocs()
			for b.Loop() {
				text, values, err := c.updateArgs(&a, states, nil, time.Unix(0, 0)).RewriteQuery(b.Context(), conn.Conn(), c.update, nil)
				if err != nil {
					b.Fatal(err)
				}
				prepared, err := conn.Conn().Prepare(b.Context(), c.update, text) // once, then cached
				if err != nil {
					b.Fatal(err)
				}
				for i, oid := range prepared.ParamOIDs {
					if buf, err = conn.Conn().TypeMap().Encode(oid, pgtype.BinaryFormatCode, values[i], buf[:0]); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batchRows, "ns/row")
		})
	}
}

// BenchmarkShape_scan reads the rows of a batch, as they came from the server.
func BenchmarkShape_scan(b *testing.B) {
	conn, err := pgtest.New(b).Pool.Acquire(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Release()
	states := benchStates()
	keys := make([]contact.Key, len(states))
	for i := range keys {
		keys[i] = contact.Key{Tenant: "Cust1", ID: int64(i + 1)}
	}
	tenants, ids := Split(keys)
	var batch pgx.Batch
	var rows []*Row
	for i, s := range states {
		rows = append(rows, &Row{Key: keys[i], Shape: &Whole, State: *s})
	}
	QueueWrite(&batch, rows, time.Unix(0, 0))
	if err := conn.SendBatch(b.Context(), &batch).Close(); err != nil {
		b.Fatal(err)
	}
	for name, c := range map[string]struct {
		*Shape
		load string
	}{"whole": {&Whole, sql.MirrorContacts}, "sent": {&Sent, sql.MirrorContactsSent}} {
		b.Run(name, func(b *testing.B) {
			found, err := conn.Query(b.Context(), c.load, pgx.StrictNamedArgs{"context_identifiers": tenants, "contact_ids": ids})
			if err != nil {
				b.Fatal(err)
			}
			recorded := recording{types: conn.Conn().TypeMap(), fields: slices.Clone(found.FieldDescriptions())}
			for found.Next() {
				var values [][]byte
				for _, v := range found.RawValues() {
					values = append(values, slices.Clone(v))
				}
				recorded.rows = append(recorded.rows, values)
			}
			if err := found.Err(); err != nil || len(recorded.rows) != batchRows {
				b.Fatal(len(recorded.rows), err)
			}
			b.ReportAllocs()
			for b.Loop() {
				read := 0
				err := c.Shape.load.Each(b.Context(), &recorded, keysArgs{}, func(r *loaded) error {
					read++
					_, err := r.state()
					return err
				})
				if err != nil || read != batchRows {
					b.Fatal(fmt.Sprint(read, err))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/batchRows, "ns/row")
		})
	}
}

// recording is rows as the server sent them, for any query.
type recording struct {
	pgx.Rows
	types  *pgtype.Map
	fields []pgconn.FieldDescription
	rows   [][][]byte
	row    [][]byte
	plans  []pgtype.ScanPlan
}

func (r *recording) Query(context.Context, string, ...any) (pgx.Rows, error) {
	replay := *r
	return &replay, nil
}

func (r *recording) Exec(context.Context, string, ...any) (pgconn.CommandTag, error) {
	return pgconn.CommandTag{}, nil
}

func (r *recording) Close()                                       {}
func (r *recording) Err() error                                   { return nil }
func (r *recording) CommandTag() pgconn.CommandTag                { return pgconn.CommandTag{} }
func (r *recording) FieldDescriptions() []pgconn.FieldDescription { return r.fields }

func (r *recording) Next() bool {
	if len(r.rows) == 0 {
		return false
	}
	r.row, r.rows = r.rows[0], r.rows[1:]
	return true
}

// Scan plans once, as pgx does.
func (r *recording) Scan(targets ...any) error {
	if r.plans == nil {
		for i, target := range targets {
			r.plans = append(r.plans, r.types.PlanScan(r.fields[i].DataTypeOID, r.fields[i].Format, target))
		}
	}
	for i, target := range targets {
		if err := r.plans[i].Scan(r.row[i], target); err != nil {
			return fmt.Errorf("scan %s: %w", r.fields[i].Name, err)
		}
	}
	return nil
}
