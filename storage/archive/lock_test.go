package archive_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

const (
	day   = 24 * time.Hour
	month = 30 * day
)

// nights is a yard under object lock, and a store that counts.
func nights(t *testing.T, lock time.Duration, test func(y *yard, s *storetest.FaultyStore)) {
	t.Helper()
	inYard(t, 1, func(_ *testing.T, y *yard) {
		y.store = mem.New()
		s := storetest.Faulty(y.store, func(storetest.Call) storetest.Fault { return storetest.Fault{} })
		a, err := archive.Init(y.t.Context(), s, archive.InitOptions{Homeserver: server, Program: "test 1", Retain: lock})
		ok(y.t, err)
		y.a, y.lock = a, lock
		test(y, s)
	})
}

// night takes a point of what there was yesterday, and one of the pool more.
func (y *yard) night(s storage.Store, n int) {
	y.t.Helper()
	d, err := y.beginWith(s, []int{0, 1, 2, 3, 4, 5, 10 + n%50})
	ok(y.t, err)
	ok(y.t, y.commit(d))
}

// locked proves that nobody can delete anything for as long as the lock is, but
// for the points of earlier nights.
func (y *yard) locked(s *mem.Store, when string) {
	y.t.Helper()
	until, newest := time.Now().Add(y.lock), ""
	for o, err := range s.List(y.t.Context(), "") {
		ok(y.t, err)
		switch {
		case strings.HasPrefix(o.Key, "points/"):
			newest = o.Key
		case !strings.HasPrefix(o.Key, "prune/") && s.RetainedUntil(o.Key).Before(until):
			y.t.Fatalf("%s: %s can be deleted in %s", when, o.Key, time.Until(s.RetainedUntil(o.Key)))
		}
	}
	if s.RetainedUntil(newest).Before(until) {
		y.t.Fatalf("%s: %s can be deleted in %s", when, newest, time.Until(s.RetainedUntil(newest)))
	}
}

func TestWhatAPointNeedsIsLockedHoweverOld(t *testing.T) {
	t.Parallel()
	nights(t, month, func(y *yard, s *storetest.FaultyStore) {
		extended := 0
		for n := range 200 {
			before := s.Count(storetest.Retain)
			y.night(s, n)
			ok(y.t, y.unlocked)
			y.locked(y.store, fmt.Sprint("night ", n))
			if s.Count(storetest.Retain) > before {
				extended++
			}
			later(day - time.Minute)
		}
		if extended < 200/30 || extended > 200/29 {
			y.t.Errorf("%d nights of 200 have locked everything again", extended)
		}
	})
}

// A night between costs what it does without object lock.
func TestObjectLockTakesNoRequestUntilItIsDue(t *testing.T) {
	t.Parallel()
	requests := func(lock time.Duration) (counts []int) {
		nights(t, lock, func(y *yard, s *storetest.FaultyStore) {
			for n := range 20 {
				before := s.Count()
				y.night(s, n)
				counts = append(counts, s.Count()-before)
				later(day)
			}
		})
		return counts
	}
	without, with := requests(0), requests(month)
	if fmt.Sprint(without) != fmt.Sprint(with) {
		t.Errorf("requests of each night: %d without object lock, %d with it", without, with)
	}
}

// Another length, none for a while, a store that refuses, a clock that was wrong:
// the next run that can makes it good.
func TestLocksAreMadeGood(t *testing.T) {
	t.Parallel()
	refusing := func(y *yard) storage.Store {
		return storetest.Faulty(y.store, func(c storetest.Call) storetest.Fault {
			if c.Op == storetest.Retain && strings.HasPrefix(c.Key, "packs/") {
				return storetest.Fault{Err: fs.ErrPermission}
			}
			return storetest.Fault{}
		})
	}
	for name, between := range map[string]func(y *yard, s storage.Store){
		"longer":        func(y *yard, s storage.Store) { y.lock = 3 * month },
		"shorter":       func(y *yard, s storage.Store) { y.lock = month / 2 },
		"none":          func(y *yard, s storage.Store) { y.lock = 0; y.night(s, 1); later(day); y.lock = month },
		"shorter first": func(y *yard, s storage.Store) { y.lock = day; y.night(s, 1); later(day); y.lock = month },
		"refused": func(y *yard, s storage.Store) {
			later(month)
			y.night(refusing(y), 1)
			if !errors.Is(y.unlocked, fs.ErrPermission) || !strings.Contains(y.unlocked.Error(), "was not extended") {
				y.t.Errorf("a store that refuses: %v", y.unlocked)
			}
		},
		"clock ahead": func(y *yard, s storage.Store) {
			key := "prune/lock-" + time.Now().Add(5*month).UTC().Format("20060102T150405Z") + "-2592000"
			_, err := s.Put(y.t.Context(), key, nil, storage.PutOptions{})
			ok(y.t, err)
		},
		"after years": func(*yard, storage.Store) { later(1000 * day) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nights(t, month, func(y *yard, s *storetest.FaultyStore) {
				y.night(s, 0)
				later(day)
				between(y, s)
				for n := range 70 {
					y.night(s, 2+n)
					ok(y.t, y.unlocked)
					y.locked(y.store, fmt.Sprint("night ", n))
					later(day)
				}
			})
		})
	}
}

// A copy has the lock of its own store, whatever its points say of another; also
// of packs that one which was killed has left there.
func TestCopiesAreLocked(t *testing.T) {
	t.Parallel()
	nights(t, 0, func(y *yard, from *storetest.FaultyStore) {
		const lock = 3 * month / 2
		to := mem.New()
		killed := errors.New("killed")
		clone := func(s storage.Store) error {
			b, _, err := archive.Clone(y.t.Context(), y.a, s, lock)
			if err != nil {
				return err
			}
			r, err := archive.Copy(y.t.Context(), y.a, b, archive.CopyOptions{Retain: lock})
			return errors.Join(err, r.Unlocked)
		}
		for n := range 300 {
			y.night(from, n)
			if n == 3 || n == 43 { // ends before it puts an index object
				err := clone(storetest.Faulty(to, func(c storetest.Call) storetest.Fault {
					if c.Op == storetest.Put && strings.HasPrefix(c.Key, "index/") {
						return storetest.Fault{Err: killed}
					}
					return storetest.Fault{}
				}))
				if !errors.Is(err, killed) {
					y.t.Fatalf("night %d: %v", n, err)
				}
			}
			if n%40 >= 3 && n%40 < 20 {
				later(day)
				continue
			}
			ok(y.t, clone(to))
			y.lock = lock
			y.locked(to, fmt.Sprint("night ", n))
			y.lock = 0
			later(day)
		}
	})
}
