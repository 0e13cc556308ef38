package archive_test

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// latePacks lists packs only a while after they were put, and all else at once.
type latePacks struct{ storage.Store }

func (s latePacks) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	if prefix == "packs/" {
		return lateStore{s.Store, time.Hour}.List(ctx, prefix)
	}
	return s.Store.List(ctx, prefix)
}

// Where a pack is not listed yet, it is looked for: its point is no damaged one,
// can be read, and its blobs are not sent again.
func TestAPackThatIsListedLateIsThere(t *testing.T) {
	t.Parallel()
	inYard(t, 29, func(t *testing.T, y *yard) {
		y.backupOf([]int{1, 2, 3, 4, 5, 6})
		late := latePacks{y.store}
		a, err := archive.Open(t.Context(), late)
		ok(t, err)
		report, err := a.Check(t.Context(), archive.CheckOptions{ReadData: 1})
		if ok(t, err); !report.OK() || report.Points[0].Level != "data" {
			t.Errorf("%+v %+v", report.Points, report.Damaged)
		}
		r, err := a.Reader(t.Context(), archive.ReaderOptions{Warn: func(err error) { t.Error(err) }})
		ok(t, err)
		for _, b := range y.points(y.store)[0].Manifest.Database.Stream {
			_, err := r.Blob(t.Context(), b.ID)
			ok(t, err)
		}
		later(time.Minute)
		d, err := y.beginWith(late, []int{1, 2, 3, 4, 5, 6})
		ok(t, err)
		ok(t, y.commit(d))
		if n := d.w.Stats().Blobs; n > 2 { // of the listing
			t.Errorf("%d blobs were stored again", n)
		}

		key := packOf(t, y.a, y.points(y.store)[0].Manifest.Database.Stream[0].ID)
		body, err := storage.ReadAll(t.Context(), y.store, key)
		ok(t, err)
		replace(t, y.store, key, body[:len(body)-1])
		report, err = a.Check(t.Context(), archive.CheckOptions{})
		if ok(t, err); report.OK() {
			t.Error("a pack that is cut and not listed is there")
		}
	})
}

// Where object lock keeps an index object that names packs which a prune has
// deleted, nobody looks for them.
func TestPacksThatAPruneHasDeletedAreNotLookedFor(t *testing.T) {
	t.Parallel()
	inYard(t, 30, func(t *testing.T, y *yard) {
		y.markSome()
		later(26 * time.Hour)
		if r, err := y.prune(denying(y.store, "index/"), 0); err != nil || r.Deleted == 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		counted := storetest.Faulty(y.store, func(storetest.Call) storetest.Fault { return storetest.Fault{} })
		a, err := archive.Open(t.Context(), counted)
		ok(t, err)
		_, err = a.Reader(t.Context(), archive.ReaderOptions{Warn: func(err error) { t.Error(err) }})
		if ok(t, err); counted.Count(storetest.Stat) > 0 {
			t.Errorf("%d packs were looked for", counted.Count(storetest.Stat))
		}
	})
}
