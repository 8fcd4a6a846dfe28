package verify

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/pg"
	"contactmirror/sql"
)

// Erasures is what was found of erasures: the table erasures is held against the rows of
// the log about erasures and liftings, and so are the facts, with values and without.
// Whether a link covers the names in erased_columns is for the chain.
type Erasures struct {
	Wrong int64    `json:"wrong"`
	Lines []string `json:"lines"` // the first of each
}

// Duplicates is what was found of repeated deliveries: each must repeat an accepted
// event, and have a hash of its body exactly where its contact was not erased. Nothing
// proves that an event was delivered again, or how often.
type Duplicates struct {
	Wrong int64    `json:"wrong"`
	Lines []string `json:"lines"`
}

var (
	registerStmt   = pg.NewQuery[unmatchedArgs, ofContact](sql.VerifyRegister)
	erasedStmt     = pg.NewQuery[unmatchedArgs, ofContact](sql.VerifyErased)
	duplicatesStmt = pg.NewQuery[unmatchedArgs, struct {
		DuplicateSeq      int64
		EventSeq          int64
		ContextIdentifier *string
		Difference        string
		Total             int64
	}](sql.VerifyDuplicates)
)

// ofContact is a difference at a row of the log.
type ofContact struct {
	AuditSeq          int64
	ContextIdentifier string
	ContactID         int64
	Difference        string
	Total             int64
}

func checkErasures(ctx context.Context, tx pgx.Tx, tenant *string) (Erasures, error) {
	found := Erasures{Lines: []string{}}
	args := unmatchedArgs{tenant, maxLines}
	registered, err := registerStmt.All(ctx, tx, args)
	if err != nil {
		return found, fmt.Errorf("compare the register of erasures with the log: %w", err)
	}
	erased, err := erasedStmt.All(ctx, tx, args)
	if err != nil {
		return found, fmt.Errorf("compare erased facts with the erasures: %w", err)
	}
	found.add("erasure", registered)
	found.add("fact", erased)
	return found, nil
}

func (e *Erasures) add(what string, rows []ofContact) {
	for _, r := range rows {
		e.Lines = append(e.Lines, fmt.Sprintf("%s in row %d of the log, contact %d of tenant %q: %s", what, r.AuditSeq, r.ContactID, r.ContextIdentifier, r.Difference))
	}
	if len(rows) > 0 {
		e.Wrong += rows[0].Total
	}
}

func checkDuplicates(ctx context.Context, tx pgx.Tx, tenant *string) (Duplicates, error) {
	found := Duplicates{Lines: []string{}}
	rows, err := duplicatesStmt.All(ctx, tx, unmatchedArgs{tenant, maxLines})
	if err != nil {
		return found, fmt.Errorf("compare repeated deliveries with the accepted events: %w", err)
	}
	for _, r := range rows {
		found.Wrong = r.Total
		found.Lines = append(found.Lines, fmt.Sprintf("repeated delivery %d of event %d: %s", r.DuplicateSeq, r.EventSeq, r.Difference))
	}
	return found, nil
}
