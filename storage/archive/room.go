package archive

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"golang.org/x/sync/semaphore"
)

const (
	// readRoom is how many bytes all calls of [Reader.Blobs] hold together.
	readRoom = 80 << 20
	// readShare is what one of them gets at most, though it holds more: of
	// blobs of 32 MiB, which only other programs write, one goes on at a time,
	// and the pages of a listing can be read besides.
	readShare = 48 << 20
	// spareRoom is how many bytes of buffers wait for their next use.
	spareRoom = 24 << 20
)

// room is memory that is shared: the right to hold so many bytes, and buffers
// that were used before. Whoever claims gets all it needs at once and claims no
// more until it has given everything back, so that nobody waits for somebody
// who waits.
type room struct {
	share int64
	right *semaphore.Weighted

	mu    sync.Mutex
	spare [][]byte // by capacity, the smallest first
	kept  int64    // bytes of spare
}

func newRoom(size, share int64) *room {
	return &room{share: share, right: semaphore.NewWeighted(size)}
}

// claim waits for n bytes, or a share, in the order of the calls. It returns how
// many to release.
func (m *room) claim(ctx context.Context, n int64) (int64, error) {
	n = min(n, m.share)
	if m.right.Acquire(ctx, n) != nil {
		return 0, context.Cause(ctx)
	}
	return n, nil
}

// try claims n bytes if nobody has to wait for that.
func (m *room) try(n int64) bool { return n <= m.share && m.right.TryAcquire(n) }

func (m *room) release(n int64) { m.right.Release(n) }

// take returns an empty buffer for n bytes.
func (m *room) take(n int64) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, _ := slices.BinarySearchFunc(m.spare, n, func(b []byte, n int64) int { return cmp.Compare(int64(cap(b)), n) })
	if i == len(m.spare) || int64(cap(m.spare[i])) > 2*n+1<<20 { // nothing that large for so little
		const step = 256 << 10 // near sizes use each other's buffers
		return make([]byte, 0, (n+step-1)/step*step)
	}
	b := m.spare[i]
	m.spare = slices.Delete(m.spare, i, i+1)
	m.kept -= int64(cap(b))
	return b[:0]
}

// give keeps a buffer for the next; smaller ones make way for it.
func (m *room) give(b []byte) {
	n := int64(cap(b))
	if n == 0 || n > keepBuffer {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for m.kept+n > spareRoom {
		if len(m.spare) == 0 || int64(cap(m.spare[0])) >= n {
			return
		}
		m.kept -= int64(cap(m.spare[0]))
		m.spare = slices.Delete(m.spare, 0, 1)
	}
	i, _ := slices.BinarySearchFunc(m.spare, n, func(b []byte, n int64) int { return cmp.Compare(int64(cap(b)), n) })
	m.spare = slices.Insert(m.spare, i, b)
	m.kept += n
}
