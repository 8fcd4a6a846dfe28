package inbox

import (
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// Marks remembers how far claims have come, so that the next ones need not walk
// over rows that are gone. Normally there are few of those: vacuum takes them
// away. But it can't while any transaction, in whatever database of the server,
// holds an older snapshot, such as a report that takes an hour; and then each
// claim would walk over every row claimed since.
//
// A mark says that in a lane (a tenant in a shard) nothing queued by a
// transaction below a number is left. That stays true for ever: the number is at
// most the horizon, the oldest transaction under way, and transactions get their
// number before they draw an event_seq. (The event_seq itself would not do: 100
// may become visible after 200 was claimed.) So each process keeps its own
// marks, and needs to tell nobody.
//
// Only a server that has lost its latest transactions, after a failover, numbers
// new ones like old ones. Marks are therefore forgotten once a minute, and after
// every error. The zero value remembers nothing.
type Marks struct {
	mu    sync.Mutex
	since time.Time
	lanes map[lane]*progress
}

type lane struct {
	shard  int16
	tenant string
}

// progress is what was claimed of a lane since the marks were last forgotten.
type progress struct {
	claimed int
	mark    uint64
}

const (
	// marksLife is how long marks are trusted.
	marksLife = time.Minute
	// worthMarking is how many rows of a lane must have been claimed for it to be
	// marked: each mark costs a look into the index, as some dozen dead rows do.
	worthMarking = 256
)

// Passed notes a batch that was claimed, in the order of its claim, and whose
// transaction has committed.
func (m *Marks) Passed(batch []Claimed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := time.Now(); m.lanes == nil || now.Sub(m.since) > marksLife {
		m.since, m.lanes = now, map[lane]*progress{}
	}
	for i := range batch {
		c := &batch[i]
		writtenBy, err := strconv.ParseUint(c.WrittenBy, 10, 64)
		horizon, err2 := strconv.ParseUint(c.Horizon, 10, 64)
		if err != nil || err2 != nil {
			continue // no mark is always right
		}
		key := lane{c.Shard, c.ContextIdentifier}
		p := m.lanes[key]
		if p == nil {
			p = &progress{}
			m.lanes[key] = p
		}
		p.claimed++
		p.mark = max(p.mark, min(writtenBy, horizon))
	}
}

// Forget forgets all marks.
func (m *Marks) Forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lanes = nil
}

// args are the marks of some shards, or of all where shards is nil.
func (m *Marks) args(shards []int16) pgx.StrictNamedArgs {
	m.mu.Lock()
	defer m.mu.Unlock()
	numbers, tenants, marks := []int16{}, []string{}, []string{}
	if time.Since(m.since) <= marksLife {
		for key, p := range maps.All(m.lanes) {
			if p.claimed >= worthMarking && (shards == nil || slices.Contains(shards, key.shard)) {
				numbers, tenants = append(numbers, key.shard), append(tenants, key.tenant)
				marks = append(marks, strconv.FormatUint(p.mark, 10))
			}
		}
	}
	return pgx.StrictNamedArgs{"marked_shards": numbers, "marked_context_identifiers": tenants, "marks": marks}
}
