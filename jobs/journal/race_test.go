package journal_test

import (
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/journal"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/dir"
	"github.com/synapse-maint/synapse-maint/storage/mem"
	"github.com/synapse-maint/synapse-maint/storage/s3"
)

// stores opens one of each kind.
func stores(t *testing.T) map[string]storage.Store {
	t.Helper()
	server := testbed.S3(t)
	u, err := url.Parse(server.URL(server.Bucket(t)))
	if err != nil {
		t.Fatal(err)
	}
	conf, err := s3.ParseURL(u)
	if err != nil {
		t.Fatal(err)
	}
	bucket, err := s3.Open(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := dir.Create(t.TempDir() + "/store")
	if err != nil {
		t.Fatal(err)
	}
	return map[string]storage.Store{"mem": mem.New(), "dir": folder, "s3": bucket}
}

func TestManyContendersOneLock(t *testing.T) {
	for kind, s := range stores(t) {
		t.Run(kind, func(t *testing.T) { raceForLock(t, storage.Sub(s, server)) })
	}
}

// raceForLock lets many take over, hold and give back the same lock: never two
// are inside.
func raceForLock(t *testing.T, s storage.Store) {
	const contenders, rounds = 5, 3
	dead(t, s, func(rec map[string]any) { goneHere(rec, 1<<30, "1") })
	var inside sync.Mutex
	var wg sync.WaitGroup
	for range contenders {
		wg.Go(func() {
			l := journal.NewLocker(s, journal.Options{TTL: 10 * time.Second, Wait: time.Minute})
			for range rounds {
				_, release, err := l.Lock(t.Context(), server, "race")
				for errors.Is(err, jobs.ErrLocked) { // waited a whole minute on a busy machine
					_, release, err = l.Lock(t.Context(), server, "race")
				}
				if err != nil {
					t.Error(err)
					return
				}
				if !inside.TryLock() {
					t.Error("two have the lock")
					return
				}
				inside.Unlock()
				if err := release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// A real process that holds the lock and is killed: the next one is let in at
// once, on every kind of store that processes share.
func TestKilledHolderLeavesNoLock(t *testing.T) {
	const told = "JOURNAL_TEST_HOLD"
	if folder := os.Getenv(told); folder != "" {
		holdForEver(t, folder)
	}
	folder := t.TempDir() + "/store"
	s, err := dir.Create(folder)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledHolderLeavesNoLock$")
	cmd.Env = append(os.Environ(), told+"="+folder)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil { // it has the lock
		t.Fatal(err)
	}
	l := journal.NewLocker(s, journal.Options{})
	if _, _, err := l.Lock(t.Context(), server, "prune"); !errors.Is(err, jobs.ErrLocked) {
		t.Fatalf("while it lives: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() //nolint:errcheck // it was killed
	began := time.Now()
	_, release := mustLock(t, l)
	release()
	if d := time.Since(began); d > journal.TTL/4 {
		t.Errorf("let in after %s", d)
	}
}

func holdForEver(t *testing.T, folder string) {
	t.Helper()
	s, err := dir.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	held, _, err := journal.NewLocker(s, journal.Options{}).Lock(context.Background(), server, "backup")
	if err != nil {
		t.Fatal(err)
	}
	os.Stdout.WriteString("locked\n") //nolint:errcheck // then the parent waits in vain
	<-held.Done()
}

// Of those who save to one run, one succeeds, on every kind of store, be it with
// what was there already.
func TestTwoProcessesOneRun(t *testing.T) {
	for kind, s := range stores(t) {
		t.Run(kind, func(t *testing.T) {
			j := journal.New(s)
			for hour := range 3 {
				save(t, j, at("backup", hour))
				opened := make([]*jobs.Run, 4)
				for i := range opened {
					run, err := j.Open(t.Context(), at("backup", hour))
					if err != nil {
						t.Fatal(err)
					}
					run.PID = i
					opened[i] = run
				}
				var wg sync.WaitGroup
				saved := make(chan error, len(opened))
				for _, run := range opened {
					wg.Go(func() { saved <- j.Save(t.Context(), run) })
				}
				wg.Wait()
				close(saved)
				won := 0
				for err := range saved {
					switch {
					case err == nil:
						won++
					case !errors.Is(err, jobs.ErrStale):
						t.Error(err)
					}
				}
				if won != 1 {
					t.Errorf("%d could save", won)
				}
			}
			if got := runs(t, j, "backup"); len(got) != 3 || got[0] != 2 {
				t.Errorf("runs of %v", got)
			}
		})
	}
}
