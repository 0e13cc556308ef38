package archive_test

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// A backup that began before the mark commits after it: the deletion looks again.
func TestPruneKeepsWhatABackupUnderWayFound(t *testing.T) {
	t.Parallel()
	inYard(t, 1, func(t *testing.T, y *yard) {
		y.backup()
		later(30 * time.Hour)
		d, err := y.begin(y.store)
		ok(t, err)
		for i, b := range y.pool { // everything: what it finds, and what is new
			id, _, err := d.w.Add(t.Context(), b)
			ok(t, err)
			d.blobs, d.which = append(d.blobs, archive.Blob{ID: id, Size: int64(len(b))}), append(d.which, i)
		}
		r, err := y.prune(y.store, 1)
		ok(t, err)
		if r.Marked == 0 {
			t.Fatalf("nothing was marked: %+v", r)
		}
		later(22 * time.Hour)
		r, err = y.prune(y.store, 0)
		ok(t, err)
		if r.Deleted > 0 || r.Waiting == 0 {
			t.Errorf("within the grace: %+v", r)
		}
		later(time.Hour)
		ok(t, y.commit(d))
		later(3 * time.Hour)
		_, err = y.prune(y.store, 0)
		ok(t, err)
		y.whole("after the grace")
	})
}

func TestPruneRefusesABackupThatTakesLongerThanTheGrace(t *testing.T) {
	t.Parallel()
	inYard(t, 2, func(t *testing.T, y *yard) {
		d, err := y.begin(y.store)
		ok(t, err)
		later(25 * time.Hour)
		if err := y.commit(d); err == nil || !strings.Contains(err.Error(), "run it again") {
			t.Errorf("%v", err)
		}
	})
}

// A prune whose clock is wrong, or somebody's hand, deletes what a backup under
// way has found: it says so, and the next stores that again.
func TestACommitRefusesPacksThatWentDuringTheRun(t *testing.T) {
	t.Parallel()
	inYard(t, 10, func(t *testing.T, y *yard) {
		y.backup()
		d, err := y.begin(y.store)
		ok(t, err)
		for key := range keysOf(t, y.store) {
			if strings.HasPrefix(key, "packs/") {
				ok(t, y.store.Delete(t.Context(), key))
				break
			}
		}
		if err := y.commit(d); err == nil || !strings.Contains(err.Error(), "was there when this run needed it and is gone") {
			t.Errorf("%v", err)
		}
		if n := len(y.points(y.store)); n != 1 {
			t.Errorf("%d points", n)
		}
		y.backup()
	})
}

// What a run itself has put may not be listed yet when it ends.
func TestACommitTakesPacksThatAreListedLate(t *testing.T) {
	t.Parallel()
	inYard(t, 11, func(t *testing.T, y *yard) {
		d, err := y.begin(lateStore{y.store, 30 * time.Minute})
		ok(t, err)
		ok(t, y.commit(d))
		y.whole("listed late")
	})
}

// lateStore lists an object only a while after it was put.
type lateStore struct {
	storage.Store
	late time.Duration
}

func (s lateStore) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		for o, err := range s.Store.List(ctx, prefix) {
			if err == nil && time.Since(o.Modified) < s.late {
				continue
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

func TestPruneOnAStoreThatListsLate(t *testing.T) {
	t.Parallel()
	inYard(t, 3, func(t *testing.T, y *yard) {
		late := lateStore{y.store, 30 * time.Minute}
		for range 12 {
			d, err := y.begin(late)
			ok(t, err)
			later(10 * time.Minute)
			// What it does not see it stores again, or fails for; it loses nothing.
			_ = y.commit(d)
			later(time.Duration(y.rnd.IntN(14)) * time.Hour)
			if _, err := y.prune(late, 0.3); err != nil && !strings.Contains(err.Error(), "nothing was deleted") {
				t.Fatal(err)
			}
			y.whole("late lists")
		}
	})
}

// denying lets nothing under a prefix be deleted.
func denying(s storage.Store, prefix string) storage.Store {
	return storetest.Faulty(s, func(c storetest.Call) storetest.Fault {
		if c.Op == storetest.Delete && strings.HasPrefix(c.Key, prefix) {
			return storetest.Fault{Err: fmt.Errorf("object lock: %w", fs.ErrPermission)}
		}
		return storetest.Fault{}
	})
}

// Object lock, or no right to delete: what can't go stays and is named, and
// goes when it may.
func TestPruneLeavesWhatIsLocked(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"points/", "packs/", "index/", "prune/", ""} {
		inYard(t, 4, func(t *testing.T, y *yard) {
			for range 6 {
				y.backup()
				later(5 * time.Hour)
			}
			locked := 0
			for range 4 {
				r, err := y.prune(denying(y.store, prefix), 0.5)
				ok(t, err)
				locked += len(r.Locked)
				later(26 * time.Hour)
				y.whole("locked " + prefix)
				report, err := y.a.Check(t.Context(), archive.CheckOptions{})
				ok(t, err)
				if !report.OK() {
					t.Errorf("%q locked: a check finds %+v", prefix, report.Damaged)
				}
			}
			if locked == 0 {
				t.Errorf("%q: nothing was refused", prefix)
			}
			for range 3 {
				_, err := y.prune(y.store, 0)
				ok(t, err)
				later(26 * time.Hour)
			}
			y.whole("unlocked")
			y.clean()
		})
	}
}

func TestPruneRefusesAWrongClock(t *testing.T) {
	t.Parallel()
	for name, off := range map[string]time.Duration{"a year ahead": 365 * 24 * time.Hour, "a year back": -365 * 24 * time.Hour, "an hour ahead": time.Hour} {
		inYard(t, 5, func(t *testing.T, y *yard) {
			y.backup()
			later(48 * time.Hour)
			list := y.points(y.store)
			_, err := y.a.Prune(t.Context(), archive.PruneOptions{
				Drop: []string{list[0].ID}, Now: func() time.Time { return time.Now().Add(off) },
			})
			if err == nil || !strings.Contains(err.Error(), "nothing was deleted") || !strings.Contains(err.Error(), "clock") {
				t.Errorf("%s: %v", name, err)
			}
			if len(y.points(y.store)) != 1 {
				t.Errorf("%s: the point is gone", name)
			}
		})
	}
}

// What can't be read may be needed.
func TestPruneRefusesWhatItCanNotRead(t *testing.T) {
	t.Parallel()
	for what, prefix := range map[string]string{"a point": "points/", "an index object": "index/", "an index object that no point needs": "index/"} {
		inYard(t, 6, func(t *testing.T, y *yard) {
			y.backup()
			y.backup()
			later(48 * time.Hour)
			var o archive.PruneOptions
			if strings.Contains(what, "no point") {
				points, err := y.a.Points(t.Context())
				ok(t, err)
				for _, p := range points {
					o.Drop = append(o.Drop, p.ID)
				}
			}
			var keys []string
			for o, err := range y.store.List(t.Context(), prefix) {
				ok(t, err)
				keys = append(keys, o.Key)
			}
			spoil(t, y.store, keys[0], []byte("rubbish"))
			before := count(t, y.store, "packs/")
			if _, err := y.a.Prune(t.Context(), o); err == nil || !strings.Contains(err.Error(), "nothing was deleted") {
				t.Errorf("%s: %v", what, err)
			}
			if after := count(t, y.store, "packs/"); after != before {
				t.Errorf("%s: %d packs, then %d", what, before, after)
			}
		})
	}
}

func count(t *testing.T, s storage.Store, prefix string) (n int) {
	t.Helper()
	for _, err := range s.List(t.Context(), prefix) {
		ok(t, err)
		n++
	}
	return n
}

// A year of nights leaves a request or two to open the archive, not hundreds.
func TestPruneMergesTheIndex(t *testing.T) {
	t.Parallel()
	inYard(t, 8, func(t *testing.T, y *yard) {
		for range 40 {
			y.backup()
			later(time.Hour)
		}
		before := count(t, y.store, "index/")
		_, err := y.prune(y.store, 0)
		ok(t, err)
		if after := count(t, y.store, "index/"); before <= 32 || after != 1 {
			t.Errorf("%d index objects, then %d", before, after)
		}
		y.whole("merged")
		y.clean()
	})
}

func TestPruneForeseesWithoutTouching(t *testing.T) {
	t.Parallel()
	inYard(t, 9, func(t *testing.T, y *yard) {
		for range 5 {
			y.backup()
			later(30 * time.Hour)
		}
		var drop []string
		for _, p := range y.points(y.store)[:3] {
			drop = append(drop, p.ID)
		}
		before := slices.Sorted(keysOf(t, y.store))
		r, err := y.a.Prune(t.Context(), archive.PruneOptions{Drop: drop, DryRun: true})
		ok(t, err)
		if !slices.Equal(before, slices.Sorted(keysOf(t, y.store))) || r.Freed == 0 || len(r.Dropped) != 3 {
			t.Errorf("%+v", r)
		}
	})
}

// Nightly checks would be a record each for ever.
func TestPruneLeavesTheNewestChecks(t *testing.T) {
	t.Parallel()
	inYard(t, 13, func(t *testing.T, y *yard) {
		y.backup()
		_, err := y.a.Check(t.Context(), archive.CheckOptions{ReadData: 1})
		ok(t, err)
		for range 12 {
			later(time.Hour)
			_, err := y.a.Check(t.Context(), archive.CheckOptions{})
			ok(t, err)
		}
		before := y.points(y.store)[0].Verified
		_, err = y.prune(y.store, 0)
		ok(t, err)
		if n := count(t, y.store, "checks/"); n != 8 {
			t.Errorf("%d records", n)
		}
		if after := y.points(y.store)[0].Verified; after != before || !after.OK {
			t.Errorf("verified %+v, then %+v", before, after)
		}
	})
}

func keysOf(t *testing.T, s storage.Store) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for o, err := range s.List(t.Context(), "") {
			ok(t, err)
			if !yield(o.Key) {
				return
			}
		}
	}
}
