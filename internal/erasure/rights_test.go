package erasure_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"contactmirror/internal/audit"
	"contactmirror/internal/contact"
)

// Whoever may only write facts can't make the log say that a contact was erased or an
// erasure lifted, by insert or by COPY, alone or among facts.
func TestErase_serviceCannotLogErasures(t *testing.T) {
	t.Parallel()
	r := newRig(t, 1)
	r.run(r.worker.Run)
	r.put(secretEvent("contact.changed", "", received))
	r.drain()
	r.erase(contact.Key{Tenant: "Cust1", ID: 8})
	for _, event := range []string{audit.Erased, audit.ErasureLifted} {
		err := pgx.BeginFunc(context.Background(), r.service, func(tx pgx.Tx) error {
			row := audit.NewOperatorRow(event, contact.Key{Tenant: "Cust1", ID: 7}, pgtype.UUID{Bytes: [16]byte{7}, Valid: true}, received)
			return audit.Append(context.Background(), tx, nil, &row)
		})
		if err == nil {
			t.Errorf("the service has logged %s", event)
		}
	}
	if got := r.texts(`select count(*)::text from contact_audit_log where outcome is null`); got[0] != "1" {
		t.Errorf("%s rows about erasures, want 1", got[0])
	}
	r.verify()
}
