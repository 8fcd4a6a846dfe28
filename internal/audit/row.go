package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/chain"
	"contactmirror/internal/contact"
)

// Row is a row of contact_audit_log. The struct and the list of its columns below
// are the only description of one: the writer, the readers of facts, history,
// erasure and the chain all use it. Only verify has its own, to check this one.
//
// The JSON is that of [History].
type Row struct {
	AuditSeq int64 `json:"audit_seq"`
	// EventSeq is the event in webhook_events; nil where the row did not come by
	// webhook.
	EventSeq       *int64          `json:"event_seq"`
	Shard          int16           `json:"-"`
	Tenant         string          `json:"-"`
	ContactID      int64           `json:"-"`
	Event          string          `json:"event"`
	EventID        pgtype.UUID     `json:"event_id"`
	OccurredAt     time.Time       `json:"occurred_at"`
	OccurredTicks  contact.Ticks   `json:"-"`
	ReceivedAt     time.Time       `json:"received_at"`
	RecordedAt     time.Time       `json:"recorded_at"`
	ChangedColumns []string        `json:"changed_columns"`
	FieldValues    json.RawMessage `json:"field_values"`
	// GivenColumns is the columns to which FieldValues gives a readable value, a
	// [contact.Set]; none once it was erased.
	GivenColumns      int64           `json:"-"`
	IDValues          json.RawMessage `json:"id_values"`
	UnreadableColumns []string        `json:"unreadable_columns"`
	// NoticedColumns and Irregular are for contact_changes: see [contact.Result].
	NoticedColumns []string `json:"-"`
	Irregular      bool     `json:"-"`
	SoftDeleted    *bool    `json:"soft_deleted"`
	HardDeleted    bool     `json:"hard_deleted"`
	// Outcome is nil of a row that is no fact: an erasure, or its lifting.
	Outcome *string `json:"outcome"`
	// Effect is what the row did to the contact as the mirror held it.
	Effect               contact.Effect  `json:"effect"`
	ChangedByAssociateID *int64          `json:"changed_by_associate_id"`
	WebhookName          *string         `json:"webhook_name"`
	Origin               string          `json:"origin"`
	LastKnown            json.RawMessage `json:"last_known"`
	// ErasedColumns is the columns that field_values gave values to; nil where
	// nothing was erased.
	ErasedColumns []string `json:"erased_columns"`
	// ChainSeq is the row's place in the chain of its shard, and Chain its link.
	ChainSeq int64  `json:"-"`
	Chain    []byte `json:"-"`
	// Salt is what the commitment to the values is made with. Once they were erased
	// it is nil, and the Commitment is kept.
	Salt       []byte `json:"-"`
	Commitment []byte `json:"-"`
}

// Set is some of the columns, by their use.
type Set uint8

const (
	// Key names the contact.
	Key Set = 1 << iota
	// Fact is what [Row.Fact] reads, together with Key.
	Fact
	// Shown is what [History] returns.
	Shown
	// Linked is what a link covers directly. The type says in which form.
	Linked
	// Committed is what a link covers through the commitment: the values that can
	// be erased. Of changed_columns the names of columns are no values, and stay; the
	// link covers them directly too.
	Committed
	// Proof is what proves the others.
	Proof

	// All is all columns.
	All = Key | Fact | Shown | Linked | Committed | Proof
)

// column is a column of the table.
type column struct {
	name string
	in   Set
	// at is the field of the row, as a pointer: one of the types that encode, value
	// and target know.
	at func(*Row) any
}

// columns are all columns, in the order in which rows are written, and in which
// links and commitments cover them. Every list of columns is part of this one.
var columns = []column{
	{"audit_seq", Linked | Shown, func(r *Row) any { return &r.AuditSeq }},
	{"event_seq", Linked | Shown | Fact, func(r *Row) any { return &r.EventSeq }},
	{"shard", Linked, func(r *Row) any { return &r.Shard }},
	{"context_identifier", Linked | Key, func(r *Row) any { return &r.Tenant }},
	{"contact_id", Linked | Key, func(r *Row) any { return &r.ContactID }},
	{"event", Linked | Shown | Fact, func(r *Row) any { return &r.Event }},
	{"event_id", Linked | Shown | Fact, func(r *Row) any { return &r.EventID }},
	{"occurred_at", Linked | Shown, func(r *Row) any { return &r.OccurredAt }},
	{"occurred_ticks", Linked | Fact, func(r *Row) any { return (*int64)(&r.OccurredTicks) }},
	{"received_at", Linked | Shown, func(r *Row) any { return &r.ReceivedAt }},
	{"recorded_at", Linked | Shown, func(r *Row) any { return &r.RecordedAt }},
	{"changed_columns", Committed | Shown | Fact, func(r *Row) any { return &r.ChangedColumns }},
	{"field_values", Committed | Shown | Fact, func(r *Row) any { return &r.FieldValues }},
	{"given_columns", Committed, func(r *Row) any { return &r.GivenColumns }},
	{"id_values", Committed | Shown, func(r *Row) any { return &r.IDValues }},
	{"unreadable_columns", Linked | Shown | Fact, func(r *Row) any { return &r.UnreadableColumns }},
	{"noticed_columns", Linked, func(r *Row) any { return &r.NoticedColumns }},
	{"irregular", Linked, func(r *Row) any { return &r.Irregular }},
	{"soft_deleted", Linked | Shown | Fact, func(r *Row) any { return &r.SoftDeleted }},
	{"hard_deleted", Linked | Shown, func(r *Row) any { return &r.HardDeleted }},
	{"outcome", Linked | Shown, func(r *Row) any { return &r.Outcome }},
	{"effect", Linked | Shown, func(r *Row) any { return (*string)(&r.Effect) }},
	{"changed_by_associate_id", Linked | Shown | Fact, func(r *Row) any { return &r.ChangedByAssociateID }},
	{"webhook_name", Linked | Shown, func(r *Row) any { return &r.WebhookName }},
	{"origin", Linked | Shown, func(r *Row) any { return &r.Origin }},
	{"last_known", Committed | Shown, func(r *Row) any { return &r.LastKnown }},
	{"erased_columns", Shown | Fact, func(r *Row) any { return &r.ErasedColumns }},
	{"chain_seq", Proof, func(r *Row) any { return &r.ChainSeq }},
	{"chain", Proof, func(r *Row) any { return &r.Chain }},
	{"salt", Proof, func(r *Row) any { return &r.Salt }},
	{"commitment", Proof, func(r *Row) any { return &r.Commitment }},
}

var (
	linked    = in(Linked)
	committed = in(Committed)
	written   = Columns(All)
)

func in(s Set) []column {
	var some []column
	for _, c := range columns {
		if c.in&s != 0 {
			some = append(some, c)
		}
	}
	return some
}

// Columns is the names of the columns of s, in order.
func Columns(s Set) []string {
	var names []string
	for _, c := range in(s) {
		names = append(names, c.name)
	}
	return names
}

// Targets is where the columns of s are scanned to, in the order of [Columns]. A
// scan replaces slices and pointers and does not write to the old ones, so a copy of
// r keeps its values.
func (r *Row) Targets(s Set) []any {
	var targets []any
	for _, c := range in(s) {
		targets = append(targets, target(c.at(r)))
	}
	return targets
}

// Copy writes rows, those of a shard in the order in which they were linked.
func Copy(ctx context.Context, tx pgx.Tx, rows []Row) error {
	values := make([]any, len(columns)) // of one row after the other: CopyFrom keeps none
	source := pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
		for j := range columns {
			values[j] = value(columns[j].at(&rows[i]))
		}
		return values, nil
	})
	if _, err := tx.CopyFrom(ctx, pgx.Identifier{"contact_audit_log"}, written, source); err != nil {
		return fmt.Errorf("audit: write %d rows: %w", len(rows), err)
	}
	return nil
}

// encode writes the field at p for the chain.
func encode(e *chain.Encoder, p any) error {
	switch p := p.(type) {
	case *int16:
		e.Int16(*p)
	case *int64:
		e.Int64(*p)
	case **int64:
		e.OptionalInt64(*p)
	case *bool:
		e.Bool(*p)
	case **bool:
		e.OptionalBool(*p)
	case *string:
		e.Text(*p)
	case **string:
		e.OptionalText(*p)
	case *[]string:
		e.Texts(*p)
	case *time.Time:
		e.Int64(p.UnixMicro())
	case *pgtype.UUID:
		e.UUID(p.Bytes)
	case *json.RawMessage:
		return e.JSON(*p)
	default:
		panic(fmt.Sprintf("audit: no chain covers a %T", p))
	}
	return nil
}

// value is the field at p as COPY takes it. pgx would find the way from the
// pointer to the value by reflection.
func value(p any) any {
	switch p := p.(type) {
	case *int16:
		return *p
	case *int64:
		return *p
	case **int64:
		return optional(*p)
	case *bool:
		return *p
	case **bool:
		return optional(*p)
	case *string:
		return *p
	case **string:
		return optional(*p)
	case *[]string:
		return *p
	case *time.Time:
		return *p
	case *pgtype.UUID:
		return *p
	case *json.RawMessage:
		return []byte(*p)
	case *[]byte:
		return *p
	}
	panic(fmt.Sprintf("audit: no column is written from a %T", p))
}

func optional[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

// target is p as a scan's target. pgx would run JSON through its decoder for a
// json.RawMessage.
func target(p any) any {
	if raw, ok := p.(*json.RawMessage); ok {
		return (*[]byte)(raw)
	}
	return p
}
