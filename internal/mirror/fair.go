package mirror

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"contactmirror/internal/contact"
	"contactmirror/internal/inbox"
)

const (
	// smallPart divides a batch: a tenant of whom a claim takes less than that part
	// of one is not behind, whatever its share was.
	smallPart = 16
	// mostBehind is how many tenants' backlogs the express loop leaves alone. With
	// more of them each has so small a share that the others are soon served anyway.
	mostBehind = 8
	// behindFor is for how long a tenant counts as behind after a claim has shown it,
	// as long as others are made, and liveFor for how long more live traffic is
	// expected after another tenant had an event.
	behindFor, liveFor = time.Second, time.Second
)

// backlogs knows which tenants are behind: those of whom a claim leaves some in the
// queue. What any other tenant sends is live traffic, which has little to do with
// their backlogs but the time it waits. The zero value knows of none.
type backlogs struct {
	mu     sync.Mutex
	behind map[string]time.Time // until when, unless a claim shows it again
	// When another tenant last had an event queued, and one applied.
	queued, applied time.Time
}

// note learns from found, a claim of up to size events that left nobody out, and
// reports whether that changes who is behind.
func (b *backlogs) note(found []inbox.Claimed, size int) (changed bool) {
	type count struct{ events, full int64 }
	counts := map[string]count{}
	lanes := map[inbox.Lane]bool{}
	for i := range found {
		c := counts[found[i].ContextIdentifier]
		c.events++
		if lane := found[i].Lane; !lanes[lane] {
			lanes[lane] = true
			c.full += found[i].Share
		}
		counts[found[i].ContextIdentifier] = c
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.behind == nil {
		b.behind = map[string]time.Time{}
	}
	now, before := time.Now(), len(b.behind)
	maps.DeleteFunc(b.behind, func(_ string, until time.Time) bool { return now.After(until) })
	changed = len(b.behind) < before
	for tenant, c := range counts {
		if c.events >= max(2, int64(size)/smallPart) && 4*c.events >= 3*c.full {
			_, known := b.behind[tenant]
			changed = changed || !known
			b.behind[tenant] = now.Add(behindFor)
		}
	}
	return changed
}

// tenants are those that are behind, none where they are too many.
func (b *backlogs) tenants() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.behind) > mostBehind {
		return nil
	}
	return slices.Sorted(maps.Keys(b.behind))
}

// served notes that a tenant that is not behind had an event applied.
func (b *backlogs) served() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.applied = time.Now()
}

// concerns reports whether any of tenants, who have just had events queued, is not
// behind while another one is. None stands for tenants that are not known, of whom
// one may be.
func (b *backlogs) concerns(tenants []string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.behind) == 0 {
		return false
	}
	for _, tenant := range tenants {
		if _, behind := b.behind[tenant]; !behind {
			b.queued = time.Now()
			return true
		}
	}
	return len(tenants) == 0
}

// awaited reports whether events of tenants that are not behind may be waiting
// for a shard to be free.
func (b *backlogs) awaited() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.behind) > 0 && (time.Since(b.queued) < liveFor || time.Since(b.applied) < liveFor)
}

// beside reports whether there is live traffic beside a backlog.
func (b *backlogs) beside() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return time.Since(b.applied) < liveFor
}

// express applies live traffic beside backlogs, on a connection that it keeps while
// anybody is behind: another one from the pool, which may not have run these
// statements yet, would plan all of them first, and a hundred milliseconds are
// many to wait.
type express struct {
	w    *Worker
	conn *pgxpool.Conn
}

// batch applies up to size events of tenants that are not behind.
func (e *express) batch(ctx context.Context, size int) (applied int, busy bool, err error) {
	behind := e.w.backlogs.tenants()
	if len(behind) == 0 {
		e.release()
		return 0, false, nil // the other loops see to everybody
	}
	if e.conn == nil {
		if e.conn, err = e.w.pool.Acquire(ctx); err != nil {
			return 0, false, fmt.Errorf("mirror: connect for live traffic: %w", err)
		}
	}
	found, busy, err := e.w.apply(ctx, e.conn, size, contact.Shards, 0, behind)
	if err != nil {
		e.release()
	}
	if len(found) > 0 {
		e.w.backlogs.served()
	}
	return len(found), busy, err
}

func (e *express) release() {
	if e.conn != nil {
		e.conn.Release()
		e.conn = nil
	}
}
