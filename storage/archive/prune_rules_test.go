package archive_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// drop prunes certain points.
func (y *yard) drop(ids ...string) (archive.PruneReport, error) {
	y.t.Helper()
	a, err := archive.Open(y.t.Context(), y.store, y.job...)
	ok(y.t, err)
	return a.Prune(y.t.Context(), archive.PruneOptions{Drop: ids, Program: "test"})
}

// markSome drops one of two points, so that its packs are marked.
func (y *yard) markSome() {
	y.t.Helper()
	y.backupOf([]int{1, 2, 3, 4, 5, 6})
	later(time.Minute)
	y.backupOf([]int{30, 31, 32, 33, 34})
	later(30 * time.Hour)
	r, err := y.drop(y.points(y.store)[0].ID)
	if ok(y.t, err); r.Marked == 0 {
		y.t.Fatalf("nothing was marked: %+v", r)
	}
}

// What no point names may be what a backup has just stored: it is left alone
// for as long as a backup may take.
func TestPruneMarksNothingYoung(t *testing.T) {
	t.Parallel()
	inYard(t, 20, func(t *testing.T, y *yard) {
		y.backup()
		d, err := y.begin(y.store)
		ok(t, err)
		for _, b := range y.pool { // several packs, of which most are there at once
			_, _, err := d.w.Add(t.Context(), b)
			ok(t, err)
		}
		for range 3 {
			later(7 * time.Hour)
			r, err := y.drop()
			ok(t, err)
			if r.Marked > 0 {
				t.Fatalf("%d packs were marked", r.Marked)
			}
		}
		d.w.Abort()
		later(7 * time.Hour)
		if r, err := y.drop(); err != nil || r.Marked == 0 {
			t.Errorf("when they are old: %+v, %v", r, err)
		}
	})
}

// A store may list a tombstone an hour late, and the point of a backup that began
// then and took the whole grace an hour late, too.
func TestPruneWaitsForLateListings(t *testing.T) {
	t.Parallel()
	inYard(t, 21, func(t *testing.T, y *yard) {
		y.markSome()
		later(26*time.Hour - time.Minute)
		r, err := y.drop()
		if err != nil || r.Deleted > 0 || r.Waiting == 0 {
			t.Errorf("not yet two hours after the grace: %+v, %v", r, err)
		}
		later(time.Minute)
		if r, err = y.drop(); err != nil || r.Deleted == 0 {
			t.Errorf("two hours after it: %+v, %v", r, err)
		}
		y.whole("at the end")
	})
}

// A copy puts packs under their own names: one that is put after the mark is
// counted on.
func TestPruneKeepsWhatWasPutAgainSinceTheMark(t *testing.T) {
	t.Parallel()
	inYard(t, 23, func(t *testing.T, y *yard) {
		y.markSome()
		later(time.Hour)
		for _, key := range slices.Collect(keysOf(t, y.store)) {
			if strings.HasPrefix(key, "packs/") {
				body, err := storage.ReadAll(t.Context(), y.store, key)
				ok(t, err)
				_, err = y.store.Put(t.Context(), key, body, storage.PutOptions{})
				ok(t, err)
			}
		}
		later(25 * time.Hour)
		if r, err := y.drop(); err != nil || r.Deleted > 0 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// What is needed of a pack is stored anew under a name that says that it is
// right: it has to be.
func TestPruneGivesNoDamagedPackANewName(t *testing.T) {
	t.Parallel()
	inYard(t, 22, func(t *testing.T, y *yard) {
		d, err := y.beginWith(y.store, []int{1, 2, 3, 4, 5, 6, 7, 8})
		ok(t, err)
		ok(t, y.commit(d))
		later(time.Minute)
		y.backupOf([]int{1})
		before := slices.Collect(keysOf(t, y.store))
		key := packOf(t, y.a, d.blobs[0].ID)
		body, err := storage.ReadAll(t.Context(), y.store, key)
		ok(t, err)
		body[len(body)-1] ^= 1
		_, err = y.store.Put(t.Context(), key, body, storage.PutOptions{})
		ok(t, err)
		later(30 * time.Hour)
		_, err = y.drop(y.points(y.store)[0].ID)
		if err == nil || !strings.Contains(err.Error(), "nothing more was marked: packs/") || !strings.Contains(err.Error(), "another SHA-256") {
			t.Error(err)
		}
		for key := range keysOf(t, y.store) {
			if strings.HasPrefix(key, "packs/") && !slices.Contains(before, key) {
				t.Errorf("%s is new", key)
			}
		}
	})
}
