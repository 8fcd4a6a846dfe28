package verify

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/chain"
	"contactmirror/internal/contact"
	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var chainStmt = pg.NewStream[pg.NoArgs](sql.VerifyChain, (*logRow).targets)

// logRow is a row of verify_chain. It is read, and put together for the chain,
// without audit.Row, by which the log is written: so a mistake there is found here.
type logRow struct {
	auditSeq                           int64
	chainSeq                           *int64
	link, salt, commitment             []byte
	eventSeq                           *int64
	shard                              int16
	tenant                             string
	contactID                          int64
	event                              string
	eventID                            [16]byte
	occurredAt, receivedAt, recordedAt pgtype.Timestamptz
	occurredTicks                      int64
	changedColumns, unreadableColumns  list
	noticedColumns                     list
	irregular                          bool
	fieldValues, idValues, lastKnown   []byte
	givenColumns                       int64
	softDeleted                        *bool
	hardDeleted                        bool
	outcome                            *string
	effect                             string
	changedBy                          *int64
	webhookName                        *string
	origin                             string
	plainLists                         bool
	erased                             bool // by what the row says of itself
	erasedColumns                      list
}

func (r *logRow) targets() []any {
	return []any{
		&r.auditSeq, &r.chainSeq, &r.link, &r.salt, &r.commitment,
		&r.eventSeq, &r.shard, &r.tenant, &r.contactID, &r.event, &r.eventID, &r.occurredAt, &r.occurredTicks,
		&r.receivedAt, &r.recordedAt, &r.changedColumns, &r.fieldValues, &r.givenColumns, &r.idValues, &r.unreadableColumns,
		&r.noticedColumns, &r.irregular,
		&r.softDeleted, &r.hardDeleted, &r.outcome, &r.effect, &r.changedBy, &r.webhookName, &r.origin, &r.lastKnown,
		&r.plainLists, &r.erased, &r.erasedColumns,
	}
}

// values writes what the commitment covers.
func (r *logRow) values(e *chain.Encoder) error {
	e.Texts(r.changedColumns)
	err := e.JSON(r.fieldValues)
	e.Int64(r.givenColumns)
	return errors.Join(err, e.JSON(r.idValues), e.JSON(r.lastKnown))
}

// names are the names under which the event gave values, whether the row still has
// the values or not. An object that can't be read has no commitment either.
func (r *logRow) names() []string {
	if r.erased {
		return r.erasedColumns
	}
	var object map[string]json.RawMessage
	_ = json.Unmarshal(r.fieldValues, &object)
	return slices.Sorted(maps.Keys(object))
}

// fields writes what the link covers.
func (r *logRow) fields(e *chain.Encoder, values chain.Commitment) {
	e.Int64(r.auditSeq)
	e.OptionalInt64(r.eventSeq)
	e.Int16(r.shard)
	e.Text(r.tenant)
	e.Int64(r.contactID)
	e.Text(r.event)
	e.UUID(r.eventID)
	e.Int64(micros(r.occurredAt))
	e.Int64(r.occurredTicks)
	e.Int64(micros(r.receivedAt))
	e.Int64(micros(r.recordedAt))
	e.Texts(r.unreadableColumns)
	e.Texts(r.noticedColumns)
	e.Bool(r.irregular)
	e.OptionalBool(r.softDeleted)
	e.Bool(r.hardDeleted)
	e.OptionalText(r.outcome)
	e.Text(r.effect)
	e.OptionalInt64(r.changedBy)
	e.OptionalText(r.webhookName)
	e.Text(r.origin)
	e.Texts(contact.OfColumns(r.changedColumns))
	e.Texts(r.names())
	e.Commitment(values)
}

func (r *logRow) ref() *Ref {
	ref := &Ref{
		AuditSeq: r.auditSeq, Event: r.event, EventID: contact.EventID(r.eventID).String(),
		Tenant: r.tenant, ContactID: r.contactID,
	}
	if r.chainSeq != nil {
		ref.ChainSeq = new(*r.chainSeq)
	}
	if r.eventSeq != nil {
		ref.EventSeq = new(*r.eventSeq)
	}
	return ref
}

// list is a column of texts, whatever has been made of it: NULLs are empty, and
// dimensions are lost. verify_chain tells of both.
type list []string

func (l *list) SetDimensions(dimensions []pgtype.ArrayDimension) error {
	n := 0
	for i, d := range dimensions {
		if i == 0 {
			n = 1
		}
		n *= int(d.Length)
	}
	*l = make(list, n)
	return nil
}

func (l list) ScanIndex(i int) any { return (*element)(&l[i]) }
func (l list) ScanIndexType() any  { return new(element) }

type element string

func (e *element) ScanText(v pgtype.Text) error {
	*e = element(v.String)
	return nil
}

func micros(t pgtype.Timestamptz) int64 {
	if t.InfinityModifier != pgtype.Finite {
		return int64(t.InfinityModifier) << 62
	}
	return t.Time.UnixMicro()
}
