package archive_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// copied is the yard's archive in another store, with all of its points. Some were
// dropped there, and what only they needed is marked: a prune would delete it now.
func (y *yard) copied() *yard {
	y.t.Helper()
	for range 6 {
		y.backup()
		later(5 * time.Hour)
	}
	there := *y
	there.store = mem.New()
	var err error
	there.a, _, err = archive.Clone(y.t.Context(), y.a, there.store, 0)
	ok(y.t, err)
	_, err = archive.Copy(y.t.Context(), y.a, there.a, archive.CopyOptions{})
	ok(y.t, err)
	later(26 * time.Hour)
	list := there.points(there.store)
	r, err := there.drop(list[0].ID, list[2].ID, list[4].ID)
	if ok(y.t, err); r.Marked == 0 {
		y.t.Fatalf("nothing was marked: %+v", r)
	}
	later(26 * time.Hour)
	return &there
}

// A prune of the store that is copied to, between any two calls of the copy: what it
// is about to delete the copy has put again, and what it deletes the index of the
// copy does not count on.
func TestAPruneBetweenAnyTwoCallsOfACopyLosesNothing(t *testing.T) {
	t.Parallel()
	nth, met := 1, true
	for ; met; nth++ {
		met = false
		inYard(t, 32, func(t *testing.T, y *yard) {
			there := y.copied()
			to, err := archive.Open(t.Context(), storetest.Faulty(there.store, func(c storetest.Call) storetest.Fault {
				if c.N != nth {
					return storetest.Fault{}
				}
				met = true
				return storetest.Fault{Hook: func(context.Context) {
					_, err := there.drop()
					ok(t, err)
				}}
			}))
			ok(t, err)
			_, err = archive.Copy(t.Context(), y.a, to, archive.CopyOptions{})
			if err != nil && !strings.Contains(err.Error(), "run it again") {
				t.Errorf("before call %d: %v", nth, err)
			}
			there.whole("after the copy")
			for range 3 {
				later(26 * time.Hour)
				_, err = there.drop()
				ok(t, err)
				there.whole("after another prune")
			}
			if n := len(there.points(there.store)); err == nil && n != 6 && n != 3 {
				t.Errorf("before call %d: %d points", nth, n)
			}
			there.clean()
		})
	}
	if nth < 30 {
		t.Errorf("a copy made %d calls", nth)
	}
}

// What it found when it began may be gone.
func TestACopyThatTakesLongerThanTheGraceIsRefused(t *testing.T) {
	t.Parallel()
	inYard(t, 33, func(t *testing.T, y *yard) {
		there := y.copied()
		to, err := archive.Open(t.Context(), storetest.Faulty(there.store, func(c storetest.Call) storetest.Fault {
			if c.Op == storetest.Put && c.OfOp == 1 {
				return storetest.Fault{Hook: func(context.Context) { later(25 * time.Hour) }}
			}
			return storetest.Fault{}
		}))
		ok(t, err)
		if _, err = archive.Copy(t.Context(), y.a, to, archive.CopyOptions{}); err == nil || !strings.Contains(err.Error(), "run it again") {
			t.Error(err)
		}
		if n := len(there.points(there.store)); n != 3 {
			t.Errorf("%d points", n)
		}
	})
}
