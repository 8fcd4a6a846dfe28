// Package operator records what operators do in operator_actions: one row for
// each command that changed something, append-only.
//
// The packages that make the change call [Record] in their own transaction, so a
// change and its record are committed together. What is changed outside of the
// database, such as spool files that are discarded, is recorded before. What serve does by itself, such as
// pruning on a schedule, is not recorded. A detail never holds values of a contact.
package operator

import (
	"context"
	"encoding/json"
	"fmt"

	"contactmirror/internal/pg"
	"contactmirror/sql"
)

var recordStmt = pg.NewCommand[recordArgs](sql.OperatorRecord)

type recordArgs struct {
	Actor, Action     string
	ContextIdentifier *string
	ContactID         *int64
	Detail            string // JSON
}

// Actor is who acts, such as "alice@reports-1".
type Actor string

// Action is what was done.
type Action string

// The values of [Action], as they stand in operator_actions.
const (
	Erase             Action = "erase"
	LiftErasure       Action = "lift_erasure"
	RetryQuarantine   Action = "retry_quarantine"
	DiscardQuarantine Action = "discard_quarantine"
	DiscardSpool      Action = "discard_spool"
	Prune             Action = "prune"
	Rebuild           Action = "rebuild"
	Replay            Action = "replay"
	ForgetProcess     Action = "forget_process"
	Grant             Action = "grant"
	Publish           Action = "publish"
	AdoptAudit        Action = "adopt_audit"
)

// Detail is what was asked for and what came of it, by name. The values must have
// a form in JSON.
type Detail map[string]any

// Entry is one row of operator_actions.
type Entry struct {
	Actor  Actor
	Action Action
	// Tenant and ContactID are nil where it was not about one tenant, or one contact.
	Tenant    *string
	ContactID *int64
	Detail    Detail
}

// Record adds e.
func Record(ctx context.Context, db pg.DB, e Entry) error {
	if e.Detail == nil {
		e.Detail = Detail{}
	}
	detail, err := json.Marshal(e.Detail)
	if err == nil {
		_, err = recordStmt.Run(ctx, db, recordArgs{string(e.Actor), string(e.Action), e.Tenant, e.ContactID, string(detail)})
	}
	if err != nil {
		return fmt.Errorf("operator: record %s by %q: %w", e.Action, e.Actor, err)
	}
	return nil
}
