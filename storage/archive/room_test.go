package archive_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/dir"
)

// noisy adds blobs that don't compress to an encrypted archive and returns a
// reader of it.
func noisy(t *testing.T, sizes ...int) (*archive.Reader, []archive.ID) {
	t.Helper()
	k := newKeys(t)
	store, err := dir.Create(t.TempDir())
	ok(t, err)
	a, err := archive.Init(t.Context(), store, k.opt)
	ok(t, err)
	w, err := a.Writer(t.Context(), archive.WriterOptions{})
	ok(t, err)
	ids := make([]archive.ID, len(sizes))
	rnd := rand.New(rand.NewPCG(1, 2))
	for i, size := range sizes {
		blob := make([]byte, size)
		for at := 0; at+8 <= len(blob); at += 8 {
			binary.LittleEndian.PutUint64(blob[at:], rnd.Uint64())
		}
		ids[i], _, err = w.Add(t.Context(), blob)
		ok(t, err)
	}
	_, err = w.Close(t.Context())
	ok(t, err)
	a, err = archive.Open(t.Context(), store, k.owner)
	ok(t, err)
	r, err := a.Reader(t.Context(), archive.ReaderOptions{})
	ok(t, err)
	return r, ids
}

// TestReadersShareTheirMemory: 16 workers, each of which holds one blob while
// it has the next one fetched already, as a load does.
func TestReadersShareTheirMemory(t *testing.T) {
	const workers, blobs = 16, 48
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(200 << 20))
	defer debug.SetGCPercent(debug.SetGCPercent(50))
	r, ids := noisy(t, slices.Repeat([]int{8 << 20}, blobs)...)
	debug.FreeOSMemory()
	before := inUse()
	peak := watch(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for n := range workers {
		all.Go(func() { readAhead(ctx, t, r, ids[n*blobs/workers:(n+1)*blobs/workers]) })
	}
	all.Wait()
	if ctx.Err() != nil {
		t.Error("they wait for each other")
	}
	// What is in use, what waits to be used again, and half as much of garbage: 130
	// to 160 MiB. With room for all of them at once it was 400.
	got, limit := peak()-before, uint64(192<<20)
	t.Logf("%d MiB", got>>20)
	if got > limit {
		t.Errorf("%d MiB of memory, more than %d", got>>20, limit>>20)
	}
}

// readAhead reads blob after blob, with a call each. The one after it has begun
// to be read before the one before is done with.
func readAhead(ctx context.Context, t *testing.T, r *archive.Reader, ids []archive.ID) {
	turn := make(chan struct{})
	close(turn)
	var all sync.WaitGroup
	defer all.Wait()
	for _, id := range ids {
		mine, begun, done := turn, make(chan struct{}), make(chan struct{})
		all.Go(func() {
			defer close(done)
			begin := sync.OnceFunc(func() { close(begun) })
			defer begin()
			for data, err := range r.Blobs(ctx, []archive.ID{id}) {
				begin()
				select {
				case <-mine:
				case <-ctx.Done():
				}
				if err != nil || len(data) != 8<<20 {
					t.Errorf("%d bytes, %v", len(data), err)
				}
			}
		})
		turn = done
		<-begun
	}
}

// TestALargeBlobLeavesRoomForAListing: whoever reads the one while it reads the
// other must not wait for itself.
func TestALargeBlobLeavesRoomForAListing(t *testing.T) {
	r, ids := noisy(t, 1<<20, 32<<20, 1<<20, 32<<20)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, err := range r.Blobs(ctx, []archive.ID{ids[0], ids[2]}) {
		ok(t, err)
		for data, err := range r.Blobs(ctx, []archive.ID{ids[1], ids[3]}) {
			ok(t, err)
			if len(data) != 32<<20 {
				t.Errorf("%d bytes", len(data))
			}
		}
	}
}
