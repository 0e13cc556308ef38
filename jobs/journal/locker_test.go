package journal_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/journal"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

const (
	server = "matrix.example.org"
	object = "locks/" + server + ".json"
)

// elsewhere makes the lock's object look as if another machine had written it.
func elsewhere(t *testing.T, s storage.Store, change func(rec map[string]any)) {
	t.Helper()
	body, err := storage.ReadAll(t.Context(), s, object)
	if err != nil {
		t.Fatal(err)
	}
	var rec map[string]any
	if err := json.Unmarshal(body, &rec); err != nil {
		t.Fatal(err)
	}
	rec["process"].(map[string]any)["host"] = "other"
	if change != nil {
		change(rec)
	}
	if body, err = json.Marshal(rec); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), object, body, storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
}

// dead leaves the lock of another machine that never beats again.
func dead(t *testing.T, s storage.Store, change func(rec map[string]any)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, release, err := journal.NewLocker(s, journal.Options{}).Lock(ctx, server, "backup-20261125T020000Z")
	if err != nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	elsewhere(t, s, func(rec map[string]any) {
		rec["released"] = false
		if change != nil {
			change(rec)
		}
	})
}

func mustLock(t *testing.T, l *journal.Locker) (context.Context, func()) {
	t.Helper()
	held, release, err := l.Lock(t.Context(), server, "prune-20261125T030000Z")
	if err != nil {
		t.Fatal(err)
	}
	return held, func() {
		t.Helper()
		if err := release(); err != nil {
			t.Error(err)
		}
	}
}

func TestLockNamesItsHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New()
		l := journal.NewLocker(s, journal.Options{})
		_, release, err := l.Lock(t.Context(), server, "backup-20261125T020000Z")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10*time.Minute + 12*time.Second) // it beats
		_, _, err = journal.NewLocker(s, journal.Options{}).Lock(t.Context(), server, "prune")
		if !errors.Is(err, jobs.ErrLocked) {
			t.Fatalf("second lock: %v", err)
		}
		host, _ := os.Hostname()
		for _, want := range []string{
			"backup-20261125T020000Z", host, fmt.Sprintf("pid %d", os.Getpid()),
			"since 2000-01-01 00:00:00 UTC", "its last heartbeat was 12 s ago", "taken over in 48 s",
		} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %q", err, want)
			}
		}
		if err := release(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, again := mustLock(t, l)
		again()
		if waited := time.Since(began); waited != 0 {
			t.Errorf("a lock that was given back was waited for: %s", waited)
		}
	})
}

// A lock whose holder is dead must not need a person.
func TestStaleLockIsTakenOver(t *testing.T) {
	for _, c := range []struct {
		name   string
		age    time.Duration // of the last heartbeat
		change func(rec map[string]any)
		wait   time.Duration
		locked bool
		within time.Duration
	}{
		{name: "old: watched for a TTL", age: 24 * time.Hour, within: 66 * time.Second},
		{name: "fresh: not waited for", age: 10 * time.Second, locked: true},
		{name: "fresh: waited for", age: 10 * time.Second, wait: 2 * time.Minute, within: 66 * time.Second},
		{
			name: "its own TTL counts", age: 24 * time.Hour, within: 305 * time.Second,
			change: func(rec map[string]any) { rec["ttl"] = 300 },
		},
		{
			name: "damaged", age: 24 * time.Hour, within: 66 * time.Second,
			change: func(rec map[string]any) { rec["ttl"] = -1 },
		},
		{
			name: "a process of this machine that is gone", within: 0,
			change: func(rec map[string]any) { goneHere(rec, 1<<30, "1") },
		},
		{
			name: "its PID is used again", within: 0,
			change: func(rec map[string]any) { goneHere(rec, os.Getpid(), "1") },
		},
		{
			name: "the same PID in another container", age: 10 * time.Second, locked: true,
			change: func(rec map[string]any) {
				goneHere(rec, 1<<30, "1")
				rec["process"].(map[string]any)["space"] = "pid:[1]"
			},
		},
		{
			name: "the machine was booted since: another machine may bear its name", age: 10 * time.Second, locked: true,
			change: func(rec map[string]any) {
				goneHere(rec, 1<<30, "1")
				rec["process"].(map[string]any)["boot"] = "another"
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := mem.New()
				dead(t, s, c.change)
				time.Sleep(c.age)
				began := time.Now()
				_, release, err := journal.NewLocker(s, journal.Options{Wait: c.wait}).Lock(t.Context(), server, "prune")
				if c.locked {
					if !errors.Is(err, jobs.ErrLocked) || time.Since(began) != 0 {
						t.Fatalf("after %s: %v", time.Since(began), err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				defer release()
				if waited := time.Since(began); waited > c.within || c.within > 0 && waited < c.within-10*time.Second {
					t.Errorf("taken over after %s, want about %s", waited, c.within)
				}
			})
		})
	}
}

func goneHere(rec map[string]any, pid int, start string) {
	p := rec["process"].(map[string]any)
	p["host"], _ = os.Hostname()
	p["pid"], p["start"] = pid, start
}

// A holder whose heartbeats are seen is never taken for dead, however skewed
// the clocks are.
func TestLivingHolderIsNotTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New()
		held, release := mustLock(t, journal.NewLocker(s, journal.Options{
			Now: func() time.Time { return time.Now().Add(-72 * time.Hour) }, // its clock is wrong
		}))
		_, _, err := journal.NewLocker(s, journal.Options{Wait: time.Hour}).Lock(t.Context(), server, "prune")
		if !errors.Is(err, jobs.ErrLocked) {
			t.Fatal(err)
		}
		if held.Err() != nil {
			t.Fatal(context.Cause(held))
		}
		release()
	})
}

func TestWaitsForRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New()
		_, release := mustLock(t, journal.NewLocker(s, journal.Options{}))
		time.AfterFunc(90*time.Second, release)
		began := time.Now()
		_, again := mustLock(t, journal.NewLocker(s, journal.Options{Wait: 5 * time.Minute}))
		again()
		if waited := time.Since(began); waited < 90*time.Second || waited > 100*time.Second {
			t.Errorf("waited %s", waited)
		}
	})
}

// Of a holder that was frozen and the one that took over, one works.
func TestTwoMachinesOneLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New()
		frozen := &gate{Store: s}
		held, release, err := journal.NewLocker(frozen, journal.Options{}).Lock(t.Context(), server, "backup")
		if err != nil {
			t.Fatal(err)
		}
		frozen.block()
		began := time.Now()
		other, again := mustLock(t, journal.NewLocker(s, journal.Options{Wait: 10 * time.Minute}))
		if d := time.Since(began); d < journal.TTL {
			t.Errorf("taken over after %s, before the TTL of %s", d, journal.TTL)
		}
		if cause := context.Cause(held); !errors.Is(cause, jobs.ErrLockLost) {
			t.Errorf("the frozen holder's context: %v", cause)
		}
		frozen.open()
		if err := release(); !errors.Is(err, jobs.ErrStale) || !strings.Contains(err.Error(), "prune") {
			t.Errorf("release of a lock that another has: %v", err)
		}
		time.Sleep(3 * journal.TTL)
		if other.Err() != nil {
			t.Errorf("the late release ended the new holder: %v", context.Cause(other))
		}
		again()
	})
}

// The holder stops while nobody else can have the lock yet.
func TestHolderStopsBeforeItCanBeTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &gate{Store: mem.New()}
		held, release, err := journal.NewLocker(store, journal.Options{}).Lock(t.Context(), server, "backup")
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		time.Sleep(time.Hour)
		store.block()
		began := time.Now()
		<-held.Done()
		if d := time.Since(began); d > journal.TTL*2/3 {
			t.Errorf("went on for %s without heartbeat", d)
		}
		if cause := context.Cause(held); !errors.Is(cause, jobs.ErrLockLost) {
			t.Error(cause)
		}
	})
}

// A put whose answer is lost has changed the tag all the same.
func TestHeartbeatWithLostAnswerKeepsTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &gate{Store: mem.New()}
		held, release := mustLock(t, journal.NewLocker(store, journal.Options{}))
		for range 20 {
			store.loseAnswer()
			time.Sleep(journal.TTL)
		}
		if held.Err() != nil {
			t.Fatal(context.Cause(held))
		}
		store.loseAnswer()
		release()
		_, again := mustLock(t, journal.NewLocker(store, journal.Options{}))
		again()
	})
}

func TestReleaseWorksAfterInterruption(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New()
		ctx, cancel := context.WithCancel(t.Context())
		held, release, err := journal.NewLocker(s, journal.Options{}).Lock(ctx, server, "backup")
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		<-held.Done()
		time.Sleep(10 * time.Minute) // it puts things in order, and beats meanwhile
		_, _, err = journal.NewLocker(s, journal.Options{Wait: 10 * time.Minute}).Lock(t.Context(), server, "restore")
		if !errors.Is(err, jobs.ErrLocked) {
			t.Errorf("another could have the lock while things are put in order: %v", err)
		}
		if err := release(); err != nil {
			t.Fatal(err)
		}
		_, again := mustLock(t, journal.NewLocker(s, journal.Options{}))
		again()
	})
}
