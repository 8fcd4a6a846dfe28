package verify

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"contactmirror/internal/pg"
	"contactmirror/sql"
)

// Accounts is what was found of the events' account.
type Accounts struct {
	Tenants int `json:"tenants"`
	// Wrong is the number of tenants whose events don't add up, or whose account
	// in event_accounting is not what counting row by row comes to.
	Wrong int      `json:"wrong"`
	Lines []string `json:"lines"`
}

// account is one tenant's.
type account struct {
	ContextIdentifier string
	Accepted          int64
	Ignored           int64
	Queued            int64
	Quarantined       int64
	Applied           int64
	NoOp              int64
	Superseded        int64
	AfterDelete       int64
}

var (
	countedStmt  = pg.NewQuery[tenantArgs, account](sql.VerifyAccounts)
	reportedStmt = pg.NewQuery[tenantArgs, account](sql.VerifyAccounting)
)

// tenantArgs has the tenant asked for; nil for all.
type tenantArgs struct{ ContextIdentifier *string }

func checkAccounts(ctx context.Context, tx pgx.Tx, tenant *string) (Accounts, error) {
	args := tenantArgs{tenant}
	found := Accounts{Lines: []string{}}
	actual, err := countedStmt.All(ctx, tx, args)
	if err != nil {
		return found, fmt.Errorf("count the events: %w", err)
	}
	shown, err := reportedStmt.All(ctx, tx, args)
	if err != nil {
		return found, fmt.Errorf("read event_accounting: %w", err)
	}
	wrong := func(tenant, format string, args ...any) {
		if found.Wrong++; found.Wrong <= maxLines {
			found.Lines = append(found.Lines, fmt.Sprintf("account of tenant %q: ", tenant)+fmt.Sprintf(format, args...))
		}
	}
	byTenant := map[string]account{}
	for _, a := range shown {
		byTenant[a.ContextIdentifier] = a
	}
	for _, a := range actual {
		found.Tenants++
		sum := a.Ignored + a.Queued + a.Quarantined + a.Applied + a.NoOp + a.Superseded + a.AfterDelete
		told, ok := byTenant[a.ContextIdentifier]
		delete(byTenant, a.ContextIdentifier)
		switch {
		case a.Accepted != sum:
			wrong(a.ContextIdentifier, "%d events were accepted, and %d have an outcome or wait", a.Accepted, sum)
		case !ok || told != a:
			wrong(a.ContextIdentifier, "event_accounting says %+v, counting says %+v", told, a)
		}
	}
	for tenant := range byTenant {
		wrong(tenant, "event_accounting has it, and it has no events")
	}
	return found, nil
}
