package inbox

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"contactmirror/internal/contact"
)

// Marks remembers how far claims have come, so that the next ones need not walk
// over rows that are gone. Normally there are few of those: vacuum takes them
// away. But it can't while any transaction, in whatever database of the server,
// holds an older snapshot, such as a report that takes an hour; and then each
// claim would walk over every row claimed since.
//
// A mark says that in a lane nothing queued by a transaction below a number is
// left. That stays true for ever: the number is at most the horizon, the oldest
// transaction under way, and transactions get their number before they draw an
// event_seq. (The event_seq itself would not do: 100 may become visible after 200
// was claimed.) So each process keeps its own marks, and needs to tell nobody.
//
// It is true for one table only. A table that was restored has rows of old
// transactions, and another server, promoted without the latest transactions,
// numbers new ones like old ones. So marks hold for one run of a server, one
// database and one file of the table, and the statements that use them compare
// that. Rows copied into the same table are left to [CheckMarks]. The zero value
// remembers nothing.
type Marks struct {
	mu    sync.Mutex
	queue string // that the marks are of
	lanes map[Lane]*progress
}

// progress is how many rows of a lane were claimed, up to which transaction, and
// when last.
type progress struct {
	claimed int
	mark    uint64
	at      time.Time
}

const (
	// marksLife is how long after a lane's last claim its mark is kept: dead rows
	// that nothing holds are long gone then.
	marksLife = time.Hour
	// worthMarking is how many rows of a lane must have been claimed for it to be
	// marked: each mark costs a look into the index, as some dozen dead rows do.
	worthMarking = 256
	// mostLanes bounds what is remembered.
	mostLanes = 4096
)

// Passed notes a batch that was claimed, in the order of its claim, and whose
// transaction has committed.
func (m *Marks) Passed(batch []Claimed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	for i := range batch {
		c := &batch[i]
		writtenBy, err := strconv.ParseUint(c.WrittenBy, 10, 64)
		horizon, err2 := strconv.ParseUint(c.Horizon, 10, 64)
		if err != nil || err2 != nil {
			continue // no mark is always right
		}
		if c.Queue != m.queue || len(m.lanes) >= mostLanes {
			m.queue, m.lanes = c.Queue, map[Lane]*progress{}
		}
		p := m.lanes[c.Lane]
		if p == nil {
			p = &progress{}
			m.lanes[c.Lane] = p
		}
		p.claimed++
		p.mark, p.at = max(p.mark, min(writtenBy, horizon)), now
	}
}

func (m *Marks) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.queue, m.lanes = "", nil
}

// allShards is the number of every shard.
var allShards = func() []int16 {
	all := make([]int16, contact.Shards)
	for i := range all {
		all[i] = int16(i)
	}
	return all
}()

// passedOver is a mark behind everything.
const passedOver uint64 = math.MaxUint64

// args are the marks of some shards. What tenants of except have there is passed
// over, if the queue is still the same.
func (m *Marks) args(shards []int16, except []string) marksArgs {
	numbers, tenants, marks := []int16{}, []string{}, []string{}
	add := func(shard int16, tenant string, mark uint64) {
		numbers, tenants, marks = append(numbers, shard), append(tenants, tenant), append(marks, strconv.FormatUint(mark, 10))
	}
	for _, tenant := range except {
		for _, shard := range shards {
			add(shard, tenant, passedOver)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.lanes, func(_ Lane, p *progress) bool { return time.Since(p.at) > marksLife })
	for key, p := range m.lanes {
		if p.claimed >= worthMarking && slices.Contains(shards, key.Shard) && !slices.Contains(except, key.ContextIdentifier) {
			add(key.Shard, key.ContextIdentifier, p.mark)
		}
	}
	return marksArgs{m.queue, numbers, tenants, marks}
}
