package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// indexNames are the names of the index objects, or of their copies.
func indexNames(t testing.TB, s storage.Store, prefix string) (names []string) {
	t.Helper()
	for o, err := range s.List(t.Context(), prefix) {
		ok(t, err)
		names = append(names, strings.TrimPrefix(o.Key, prefix))
	}
	return names
}

// pairs proves that each index object has its copy, and no copy is alone.
func pairs(t testing.TB, s storage.Store) {
	t.Helper()
	if first, copies := indexNames(t, s, "index/"), indexNames(t, s, "index.copy/"); !slices.Equal(first, copies) {
		t.Errorf("index objects %v, and copies %v", first, copies)
	}
}

// beside is the yard with other objects.
func (y *yard) beside(all map[string][]byte) *yard {
	y.t.Helper()
	z := *y
	z.store, z.want, z.warned = mem.New(), maps.Clone(y.want), nil
	for key, body := range all {
		replace(y.t, z.store, key, body)
	}
	var err error
	z.a, err = archive.Open(y.t.Context(), z.store, y.owner...)
	ok(y.t, err)
	return &z
}

func (y *yard) check() archive.CheckReport {
	y.t.Helper()
	report, err := y.a.Check(y.t.Context(), archive.CheckOptions{})
	ok(y.t, err)
	return report
}

// One byte of an index object, or all of it, is lost, or as much of its copy:
// every point restores, a check names it, and the next backup or prune puts it
// there again.
func TestAnIndexObjectOrItsCopyIsEnough(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		inYardOf(t, 21, encrypted, func(t *testing.T, y *yard) {
			y.backup()
			y.backup()
			later(2 * time.Hour)
			all := objects(t, y.store)
			for key, body := range all {
				if !strings.HasPrefix(key, "index") {
					continue
				}
				for how, spoil := range map[string]func(s storage.Store){
					"flipped": func(s storage.Store) { replace(t, s, key, flipped(body, len(body)/2)) },
					"cut":     func(s storage.Store) { replace(t, s, key, body[:len(body)/2]) },
					"deleted": func(s storage.Store) { ok(t, s.Delete(t.Context(), key)) },
				} {
					for _, prune := range []bool{false, true} {
						z := y.beside(all)
						z.spoilt = true
						spoil(z.store)
						z.mends(key, how, prune)
					}
				}
			}
		})
	}
}

func (y *yard) mends(key, how string, prune bool) {
	y.t.Helper()
	want := objects(y.t, y.beside(objects(y.t, y.store)).store) // what is left
	y.whole(key + " is " + how)
	if first := strings.HasPrefix(key, "index/"); first != (len(y.warned) == 1 && strings.HasPrefix(y.warned[0], key+" is damaged") && strings.Contains(y.warned[0], "its copy index.copy/")) {
		y.t.Errorf("%s is %s: %q", key, how, y.warned)
	}
	report := y.check()
	if len(report.Damaged) != 1 || report.Damaged[0].Key != key || len(report.Damaged[0].Touches) > 0 {
		y.t.Errorf("%s is %s: a check finds %+v", key, how, report.Damaged)
	}
	for _, p := range report.Points {
		if !p.OK {
			y.t.Errorf("%s is %s: %+v", key, how, p)
		}
	}
	// A check of one point, which looks at no copy, does not take it back.
	_, err := y.a.Check(y.t.Context(), archive.CheckOptions{Points: []string{report.Points[0].ID}})
	ok(y.t, err)
	if prune {
		_, err := y.prune(y.store, 0)
		ok(y.t, err)
	} else {
		y.backup()
	}
	name := key[strings.Index(key, "/"):]
	now := objects(y.t, y.store)
	if !bytes.Equal(now["index"+name], now["index.copy"+name]) || bytes.Equal(now[key], want[key]) {
		y.t.Errorf("%s is %s: it is not there again", key, how)
	}
	if report := y.check(); !report.OK() {
		y.t.Errorf("%s was %s: a check finds %+v", key, how, report.Damaged)
	}
}

// A store that does not give an index object out is no reason to stop, either.
func TestAnIndexObjectThatCanNotBeReadIsReadFromItsCopy(t *testing.T) {
	t.Parallel()
	inYard(t, 22, func(t *testing.T, y *yard) {
		y.backup()
		refusing := storetest.Faulty(y.store, func(c storetest.Call) storetest.Fault {
			if c.Op == storetest.Get && strings.HasPrefix(c.Key, "index/") {
				return storetest.Fault{Err: errors.New("bad sector")}
			}
			return storetest.Fault{}
		})
		var err error
		y.a, err = archive.Open(t.Context(), refusing)
		ok(t, err)
		y.spoilt = true
		y.whole("unreadable")
		if len(y.warned) != 1 || !strings.Contains(y.warned[0], "bad sector") {
			t.Errorf("%q", y.warned)
		}
	})
}

// An archive of the time before there were copies is whole, and gets them once:
// a put each. Where all is well nobody reads a copy.
func TestAnArchiveWithoutCopiesGetsThemOnce(t *testing.T) {
	t.Parallel()
	for _, prune := range []bool{false, true} {
		inYard(t, 23, func(t *testing.T, y *yard) {
			for range 3 {
				y.backup()
			}
			later(2 * time.Hour)
			names := indexNames(t, y.store, "index/")
			for _, name := range names {
				ok(t, y.store.Delete(t.Context(), "index.copy/"+name))
			}
			y.whole("before copies")
			if report := y.check(); !report.OK() {
				t.Errorf("%+v", report.Damaged)
			}
			for _, want := range []int{len(names), 0} {
				puts, gets := map[string]int{}, 0
				counted := storetest.Faulty(y.store, func(c storetest.Call) storetest.Fault {
					if c.Op == storetest.Put && slices.Contains(names, strings.TrimPrefix(c.Key, "index.copy/")) {
						puts[c.Key]++
					}
					if c.Op == storetest.Get && strings.HasPrefix(c.Key, "index.copy/") {
						gets++
					}
					return storetest.Fault{}
				})
				if prune {
					_, err := y.prune(counted, 0)
					ok(t, err)
				} else {
					d, err := y.begin(counted)
					ok(t, err)
					ok(t, y.commit(d))
				}
				if len(puts) != want || want == 0 && gets > 0 {
					t.Errorf("puts %v, not %d, and %d copies were read", puts, want, gets)
				}
				pairs(t, y.store)
			}
		})
	}
}

// noCopies is a store as a program sees it that knows no copies of the index.
type noCopies struct{ storage.Store }

func (s noCopies) Delete(ctx context.Context, key string) error {
	if strings.HasPrefix(key, "index.copy/") {
		return nil
	}
	return s.Store.Delete(ctx, key)
}

// A prune is killed before or after any of its calls, or knows of no copies: an
// index object that it has deleted does not come back, is no damage, and all of
// it goes with the next prunes.
func TestAnIndexObjectThatWasPrunedDoesNotComeBack(t *testing.T) {
	t.Parallel()
	killed := errors.New("killed")
	for _, aware := range []bool{true, false} {
		for _, late := range []bool{false, true} {
			for nth, done := 1, false; !done; nth++ {
				inYard(t, 12, func(t *testing.T, y *yard) {
					for range 6 {
						y.backup()
						later(5 * time.Hour)
					}
					_, err := y.prune(y.store, 0.6)
					ok(t, err)
					later(26 * time.Hour)
					var s storage.Store = y.store
					if !aware {
						s = noCopies{s}
					}
					before := indexNames(t, y.store, "index/")
					_, err = y.prune(storetest.Faulty(s, func(c storetest.Call) storetest.Fault {
						if c.N < nth {
							return storetest.Fault{}
						}
						return storetest.Fault{Err: killed, Late: late && c.N == nth}
					}), 0)
					if done = err == nil; done && len(indexNames(t, y.store, "index/")) > 1 {
						t.Error("the prune has deleted no index object")
					}
					y.unrisen(fmt.Sprintf("aware %v, late %v, call %d", aware, late, nth), before)
				})
			}
		}
	}
}

func (y *yard) unrisen(when string, before []string) {
	y.t.Helper()
	gone := slices.DeleteFunc(before, func(name string) bool { return slices.Contains(indexNames(y.t, y.store, "index/"), name) })
	sound := func() {
		y.t.Helper()
		y.warned = nil
		if y.whole(when); len(y.warned) > 0 {
			y.t.Errorf("%s: %q", when, y.warned)
		}
		if report := y.check(); !report.OK() {
			y.t.Errorf("%s: a check finds %+v", when, report.Damaged)
		}
		for _, name := range indexNames(y.t, y.store, "index/") {
			if slices.Contains(gone, name) {
				y.t.Errorf("%s: %s is there again", when, name)
			}
		}
	}
	sound()
	y.backup()
	sound()
	for range 3 {
		later(26 * time.Hour)
		_, err := y.prune(y.store, 0)
		ok(y.t, err)
		sound()
	}
	y.clean()
}
