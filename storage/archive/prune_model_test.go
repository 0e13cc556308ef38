package archive_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// Whatever comes and goes, is killed, and meets: every point that is listed
// restores, and nothing stays for good that no point needs.
func TestPruneModel(t *testing.T) {
	t.Parallel()
	for seed := range uint64(25) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			inYardOf(t, seed, seed%5 == 4, func(t *testing.T, y *yard) {
				var open []*draft
				for step := range 40 {
					y.step(&open, step)
				}
				for _, d := range open {
					d.w.Abort()
				}
				for range 3 { // a mark, a deletion, and a mark of what lay in repacked packs
					later(26 * time.Hour)
					_, err := y.prune(y.store, 0)
					ok(t, err)
				}
				y.whole("at last")
				y.clean()
			})
		})
	}
}

func (y *yard) step(open *[]*draft, step int) {
	y.t.Helper()
	killed := errors.New("killed")
	switch y.rnd.IntN(8) {
	case 0, 1:
		y.backup()
	case 2: // a backup is killed
		if d, err := y.begin(storetest.Faulty(y.store, storetest.FailNth(1+y.rnd.IntN(40), killed))); err == nil {
			_ = y.commit(d)
		}
	case 3: // one begins, and takes its time
		d, err := y.begin(y.store)
		ok(y.t, err)
		*open = append(*open, d)
	case 4: // and ends: too late, or with everything there
		if len(*open) > 0 {
			err := y.commit((*open)[0])
			if err != nil && !strings.Contains(err.Error(), "run it again") {
				y.t.Errorf("step %d: %v", step, err)
			}
			*open = (*open)[1:]
		}
	case 5: // a prune is killed
		_, err := y.prune(storetest.Faulty(y.store, storetest.FailNth(1+y.rnd.IntN(120), killed)), 0.4)
		if err != nil && !errors.Is(err, killed) {
			y.t.Errorf("step %d: %v", step, err)
		}
	case 6:
		_, err := y.prune(y.store, 0.3)
		ok(y.t, err)
	case 7: // a whole backup between two calls of a prune
		nth := 1 + y.rnd.IntN(60)
		_, err := y.prune(storetest.Faulty(y.store, func(c storetest.Call) storetest.Fault {
			if c.N == nth {
				return storetest.Fault{Hook: func(context.Context) { y.backup() }}
			}
			return storetest.Fault{}
		}), 0.3)
		ok(y.t, err)
	}
	later(time.Duration(y.rnd.IntN(20)) * time.Hour)
	y.whole(fmt.Sprintf("after step %d", step))
}

// A backup begins and ends between two calls of a prune, whichever they are:
// what it has put may be listed by the second, and not have been by the first;
// or by none of them, where the store lists late.
func TestABackupBetweenAnyTwoCallsOfAPruneIsWhole(t *testing.T) {
	t.Parallel()
	for name, lists := range map[string]func(storage.Store) storage.Store{
		"as it is":    func(s storage.Store) storage.Store { return s },
		"late":        func(s storage.Store) storage.Store { return lateStore{s, 30 * time.Minute} },
		"stale packs": func(s storage.Store) storage.Store { return &staleStore{Store: s} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nth := 1
			for backupBeforeCall(t, nth, lists) {
				nth++
			}
			if nth < 40 {
				t.Errorf("a prune made %d calls: it had nothing to do", nth)
			}
		})
	}
}

// staleStore lists the packs for ever as it did the first time.
type staleStore struct {
	storage.Store
	packs []storage.Object
}

func (s *staleStore) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	if prefix != "packs/" {
		return s.Store.List(ctx, prefix)
	}
	return func(yield func(storage.Object, error) bool) {
		if s.packs == nil {
			for o, err := range s.Store.List(ctx, prefix) {
				if err != nil {
					yield(o, err)
					return
				}
				s.packs = append(s.packs, o)
			}
		}
		for _, o := range s.packs {
			if !yield(o, nil) {
				return
			}
		}
	}
}

// backupBeforeCall says whether a prune made so many calls.
func backupBeforeCall(t *testing.T, nth int, lists func(storage.Store) storage.Store) (met bool) {
	t.Helper()
	inYard(t, 12, func(t *testing.T, y *yard) {
		for range 6 {
			y.backup()
			later(5 * time.Hour)
		}
		r, err := y.prune(y.store, 0.6)
		ok(t, err)
		dropped := y.want[r.Dropped[0]] // taken again, its packs have the same names
		later(26 * time.Hour)
		_, err = y.prune(storetest.Faulty(lists(y.store), func(c storetest.Call) storetest.Fault {
			if c.N != nth {
				return storetest.Fault{}
			}
			met = true
			return storetest.Fault{Hook: func(context.Context) { y.backup(); y.backupOf(dropped) }}
		}), 0.4)
		ok(t, err)
		y.whole(fmt.Sprintf("a backup before call %d", nth))
		for range 3 {
			later(26 * time.Hour)
			_, err = y.prune(y.store, 0)
			ok(t, err)
		}
		y.whole(fmt.Sprintf("long after a backup before call %d", nth))
		y.clean()
	})
	return met
}
