package postgres

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// BenchmarkCopyOut copies a Synapse-shaped database to nowhere on two
// connections: by our way, and by two psql that share the tables. client-s/GB
// is the CPU time of the client alone, which is what it takes from the server,
// from compression and from Synapse.
func BenchmarkCopyOut(b *testing.B) {
	p := testbed.Postgres(b)
	dsn := testbed.SynapseDatabase(b, p, 0.5)
	b.Run("snapshot", func(b *testing.B) {
		for b.Loop() {
			s, err := Snap(b.Context(), parsed(b, dsn), Options{BinDir: p.BinDir()})
			if err != nil {
				b.Fatal(err)
			}
			_ = s.Close()
		}
	})
	s := snap(b, p, dsn)
	b.Run("copyout", func(b *testing.B) {
		measure(b, syscall.RUSAGE_SELF, func() int64 { return copyAll(b, s) })
	})
	bytes := copyAll(b, s)
	b.Run("psql", func(b *testing.B) {
		measure(b, syscall.RUSAGE_CHILDREN, func() int64 { psqlAll(b, p, dsn, s); return bytes })
	})
}

func measure(b *testing.B, who int, f func() int64) {
	cpu := func() time.Duration {
		var u syscall.Rusage
		_ = syscall.Getrusage(who, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	var total int64
	before := cpu()
	for b.Loop() {
		total += f()
	}
	b.SetBytes(total / int64(b.N))
	b.ReportMetric((cpu()-before).Seconds()/(float64(total)/1e9), "client-s/GB")
}

func copyAll(b *testing.B, s *Snapshot) int64 {
	var total, next atomic.Int64
	var wg sync.WaitGroup
	for range cap(s.slots) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(s.Ranges()) {
					return
				}
				err := s.CopyOut(b.Context(), s.Ranges()[i], func(c synapse.Chunk) error {
					total.Add(int64(len(c.Data)))
					return nil
				})
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	return total.Load()
}

// psqlAll deals the ranges out to two psql.
func psqlAll(b *testing.B, p *testbed.PG, dsn string, s *Snapshot) {
	var scripts [2]strings.Builder
	for i, r := range s.Ranges() {
		fmt.Fprintln(&scripts[i%2], s.columns[r.Table].copyOut(r, "")+";")
	}
	var wg sync.WaitGroup
	for i := range scripts {
		wg.Go(func() {
			cmd := exec.CommandContext(b.Context(), filepath.Join(p.BinDir(), "psql"), "-qX")
			cmd.Env = parsed(b, dsn).Env()
			cmd.Stdin = strings.NewReader(scripts[i].String())
			if err := cmd.Run(); err != nil {
				b.Error(err)
			}
		})
	}
	wg.Wait()
}
