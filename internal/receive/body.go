package receive

import (
	"context"
	"errors"
	"io"
	"time"

	"golang.org/x/sync/semaphore"
)

// All bodies in flight share 32 MiB, in two parts. Nearly every event is small:
// large bodies, which strangers can send as well as anybody, must not keep
// small ones waiting.
const (
	// smallBodies has room for a small body of every connection, so none waits,
	// whoever has the other connections and whatever they send.
	smallBodies = maxConnections * smallBody
	largeBodies = 16 << 20
	// smallBody is the size up to which a body is small, in bytes. An event with
	// all its columns takes two KiB.
	smallBody = 16 << 10
	// memoryWait is how long one body waits for its memory, in all. The sender
	// comes again after a second.
	memoryWait = time.Second
)

var (
	errTooLarge = errors.New("body over the limit")
	errNoMemory = errors.New("no memory for the body in time")
)

// memory is the budget that all bodies share, from their first byte until the
// delivery has been answered.
type memory struct {
	small, large *semaphore.Weighted
}

// newMemory makes the budget large enough for one body of maxBody bytes.
func newMemory(maxBody int64) *memory {
	return &memory{
		small: semaphore.NewWeighted(smallBodies),
		large: semaphore.NewWeighted(max(largeBodies, maxBody+1)),
	}
}

// body is a request's body and the memory it holds.
type body struct {
	bytes  []byte
	pool   *semaphore.Weighted
	waited time.Duration
}

// read reads src to its end, but not more than one byte over limit: then it is
// errTooLarge. declared is the Content-Length, -1 where unknown. The body must
// be released, also after an error, and not be used then.
//
// Each body begins small and takes its share of the large part only when it has
// filled that: announcing much and sending nothing holds nothing large.
func (m *memory) read(ctx context.Context, src io.Reader, declared, limit int64) (*body, error) {
	b := &body{bytes: []byte{}}
	if declared > limit {
		return b, errTooLarge
	}
	most := limit + 1 // the byte over the limit proves that there is one
	if declared >= 0 {
		most = declared // where net/http ends the body
	}
	if err := b.move(ctx, m.small, min(most, smallBody)); err != nil {
		return b, err
	}
	done, err := b.fill(src)
	if err == nil && !done && most > smallBody {
		if err := b.move(ctx, m.large, most); err != nil {
			return b, err
		}
		_, err = b.fill(src)
	}
	// The last byte may come together with the end, so the size is checked
	// however the body ended.
	if err == nil && int64(len(b.bytes)) > limit {
		err = errTooLarge
	}
	return b, err
}

// fill reads until src ends, which is done, or b is full.
func (b *body) fill(src io.Reader) (done bool, err error) {
	for len(b.bytes) < cap(b.bytes) {
		n, err := src.Read(b.bytes[len(b.bytes):cap(b.bytes)])
		b.bytes = b.bytes[:len(b.bytes)+n]
		if err == io.EOF {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// move takes size bytes of pool, and gives back what b held before.
func (b *body) move(ctx context.Context, pool *semaphore.Weighted, size int64) error {
	if !pool.TryAcquire(size) {
		start := time.Now()
		waiting, cancel := context.WithTimeout(ctx, memoryWait-b.waited)
		defer cancel()
		if err := pool.Acquire(waiting, size); err != nil {
			return errNoMemory
		}
		b.waited += time.Since(start)
	}
	moved := append(make([]byte, 0, size), b.bytes...)
	b.release()
	b.bytes, b.pool = moved, pool
	return nil
}

// release gives back the memory of b. A Put that has given up may hold the bytes
// a little longer, which is why they are never used again.
func (b *body) release() {
	if b.pool != nil {
		b.pool.Release(int64(cap(b.bytes)))
	}
	b.pool, b.bytes = nil, nil
}
