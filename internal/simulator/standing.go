package simulator

import (
	"context"
	"fmt"

	"contactmirror/internal/pg"
)

// Known returns those of tenants of which the mirror in db has events: an
// oracle that has not seen all of them must not judge them.
func Known(ctx context.Context, db pg.DB, tenants []string) ([]string, error) {
	var (
		known  []string
		tenant string
	)
	err := each(ctx, db, tenants, `select tenant from unnest($1::text[]) as t (tenant)
		where exists (select from webhook_events where context_identifier = tenant)
		or exists (select from contacts where context_identifier = tenant)`, func() {
		known = append(known, tenant)
	}, &tenant)
	if err != nil {
		return nil, fmt.Errorf("look for earlier events: %w", err)
	}
	return known, nil
}

// Queued returns how many events of tenants are still to be applied.
func Queued(ctx context.Context, db pg.DB, tenants []string) (n int64, err error) {
	err = each(ctx, db, tenants, "select count(*) from sync_queue where "+judged, func() {}, &n)
	if err != nil {
		return 0, fmt.Errorf("look at the queue: %w", err)
	}
	return n, nil
}
