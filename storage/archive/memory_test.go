package archive_test

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/dir"
)

// TestMemoryIsBounded writes much more than may be in memory, with two workers,
// and measures what the process holds, under the limit that a program which has
// to stay within 256 MiB gives the garbage collector. It runs alone: others'
// memory is counted.
func TestMemoryIsBounded(t *testing.T) {
	const total = 256 << 20
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(224 << 20))
	for _, c := range []struct {
		name      string
		encrypted bool
		blob      int
		noise     bool // does not compress
		limit     uint64
	}{
		{"blobs as a database has them", true, 4 << 20, false, 130 << 20},
		{"large blobs", true, 8 << 20, false, 140 << 20},
		{"the largest, of noise", true, 32 << 20, true, 256 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := dir.Create(t.TempDir())
			ok(t, err)
			k := newKeys(t)
			if !c.encrypted {
				k.opt.Recipients = nil
			}
			a, err := archive.Init(t.Context(), s, k.opt)
			ok(t, err)
			debug.FreeOSMemory()
			before := inUse()
			peak := watch(t)
			w, err := a.Writer(t.Context(), archive.WriterOptions{Workers: 2})
			ok(t, err)
			var workers sync.WaitGroup
			for n := range 2 {
				blob := rows(uint64(n), c.blob)
				workers.Go(func() {
					for i := range total / c.blob / 2 {
						if c.noise {
							rnd := rand.New(rand.NewPCG(uint64(i), uint64(n)))
							for at := 0; at < len(blob); at += 8 {
								binary.LittleEndian.PutUint64(blob[at:], rnd.Uint64())
							}
						}
						binary.LittleEndian.PutUint64(blob, uint64(2*i+n))
						if _, _, err := w.Add(t.Context(), blob); err != nil {
							t.Error(err)
						}
					}
				})
			}
			workers.Wait()
			_, err = w.Close(t.Context())
			ok(t, err)
			got := peak() - before
			t.Logf("%d MiB, of which the test's own blobs %d", got>>20, 2*c.blob>>20)
			if got > c.limit {
				t.Errorf("%d MiB of memory, more than %d", got>>20, c.limit>>20)
			}
		})
	}
}

// inUse is what the Go runtime holds of the machine's memory.
func inUse() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}

// watch measures inUse every few milliseconds until the peak is asked for.
func watch(t *testing.T) (peak func() uint64) {
	var most uint64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, inUse())
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	var once sync.Once
	end := func() { once.Do(func() { close(stop); <-done }) }
	t.Cleanup(end)
	return func() uint64 { end(); return most }
}
