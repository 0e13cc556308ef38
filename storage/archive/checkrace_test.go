package archive_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// A check needs no lock. What a backup puts meanwhile, or a prune deletes, is no
// damage: a false alarm wakes people, and its record keeps a good point from
// counting.
func TestACheckMeetsABackupOrAPrune(t *testing.T) {
	t.Parallel()
	for name, other := range map[string]func(y *yard){
		"a backup": (*yard).backup,
		"a prune that is killed": func(y *yard) {
			killed := errors.New("killed")
			a, err := archive.Open(y.t.Context(), storetest.Faulty(y.store, func(c storetest.Call) storetest.Fault {
				if c.Op == storetest.Delete && strings.HasPrefix(c.Key, "index/") {
					return storetest.Fault{Err: killed}
				}
				return storetest.Fault{}
			}), y.job...)
			ok(y.t, err)
			if _, err := a.Prune(y.t.Context(), archive.PruneOptions{}); !errors.Is(err, killed) {
				y.t.Error(err)
			}
		},
		"a prune": func(y *yard) {
			r, err := y.drop(y.points(y.store)[1].ID)
			if ok(y.t, err); r.Deleted == 0 || len(r.Dropped) != 1 {
				y.t.Errorf("%+v", r)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nth := 1
			for checkMeets(t, nth, other) {
				nth++
			}
			if nth < 30 {
				t.Errorf("a check made %d calls", nth)
			}
		})
	}
}

// checkMeets says whether a check made so many calls.
func checkMeets(t *testing.T, nth int, other func(y *yard)) (met bool) {
	t.Helper()
	inYard(t, 27, func(t *testing.T, y *yard) {
		for range 5 {
			y.backup()
			later(7 * time.Hour)
		}
		_, err := y.drop(y.points(y.store)[0].ID)
		ok(t, err)
		later(26 * time.Hour)
		for range 12 { // the prune leaves eight of their records
			_, err = y.a.Check(t.Context(), archive.CheckOptions{Points: []string{y.points(y.store)[3].ID}})
			ok(t, err)
			later(time.Minute)
		}
		a, err := archive.Open(t.Context(), storetest.Faulty(y.store, func(c storetest.Call) storetest.Fault {
			if c.N != nth {
				return storetest.Fault{}
			}
			met = true
			return storetest.Fault{Hook: func(context.Context) { other(y) }}
		}), y.owner...)
		ok(t, err)
		report, err := a.Check(t.Context(), archive.CheckOptions{ReadData: 1})
		if err != nil {
			t.Errorf("met before call %d: %v", nth, err)
			return
		}
		if !report.OK() {
			t.Errorf("met before call %d: %+v %+v", nth, report.Damaged, report.Points)
		}
		for _, p := range y.points(y.store) {
			if !p.Verified.Time.IsZero() && !p.Verified.OK {
				t.Errorf("met before call %d: %s is shown as %+v", nth, p.ID, p.Verified)
			}
		}
	})
	return met
}

// A store that lists for a while what is deleted: nothing is lost, and prune waits.
func TestAStaleListOfTheIndexIsNoDamage(t *testing.T) {
	t.Parallel()
	inYard(t, 28, func(t *testing.T, y *yard) {
		for range 45 {
			y.backup()
			later(time.Hour)
		}
		before := slices.Collect(keysOf(t, y.store))
		r, err := y.drop()
		if ok(t, err); r.Merged == 0 {
			t.Fatalf("%+v", r)
		}
		a, err := archive.Open(t.Context(), ghostStore{y.store, before})
		ok(t, err)
		report, err := a.Check(t.Context(), archive.CheckOptions{})
		if ok(t, err); !report.OK() || len(report.Points) != 45 {
			t.Errorf("%d points, %+v", len(report.Points), report.Damaged)
		}
		if _, err := a.Prune(t.Context(), archive.PruneOptions{}); err == nil || !strings.Contains(err.Error(), "nothing was deleted") {
			t.Error(err)
		}
	})
}

// ghostStore lists what was there as well.
type ghostStore struct {
	storage.Store
	ghosts []string
}

func (s ghostStore) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		there := map[string]bool{}
		for o, err := range s.Store.List(ctx, prefix) {
			if there[o.Key] = true; !yield(o, err) {
				return
			}
		}
		for _, key := range s.ghosts {
			if strings.HasPrefix(key, prefix) && !there[key] && !yield(storage.Object{Key: key, Size: 1000}, nil) {
				return
			}
		}
	}
}
