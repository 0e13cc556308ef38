package archive_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// One check with the clock a year ahead: its record is not the newest for a year,
// so that what later ones find is shown, and no backup counts on it. The next
// prune deletes it, lest it be the newest when its time comes.
func TestARecordOfTheFutureHidesNoLaterOne(t *testing.T) {
	t.Parallel()
	inYard(t, 25, func(t *testing.T, y *yard) {
		y.backup()
		_, err := y.a.Check(t.Context(), archive.CheckOptions{ReadData: 1})
		ok(t, err)
		key := checkRecords(t, y.store)[0]
		body, err := storage.ReadAll(t.Context(), y.store, key)
		ok(t, err)
		ahead := "checks/" + time.Now().AddDate(1, 0, 0).UTC().Format("20060102T150405Z") + key[strings.Index(key, "-"):]
		replace(t, y.store, ahead, body)
		later(time.Hour)

		key = packOf(t, y.a, y.points(y.store)[0].Manifest.Database.Stream[0].ID)
		body, err = storage.ReadAll(t.Context(), y.store, key)
		ok(t, err)
		replace(t, y.store, key, flipped(body, len(body)/2))
		report, err := y.a.Check(t.Context(), archive.CheckOptions{ReadData: 1})
		if ok(t, err); report.OK() {
			t.Fatal("the check found nothing")
		}
		if v := y.points(y.store)[0].Verified; v.OK || v.Time.IsZero() {
			t.Errorf("a damaged point is shown as %+v", v)
		}
		later(time.Hour)
		_, err = y.prune(y.store, 0)
		ok(t, err)
		if all := checkRecords(t, y.store); slices.Contains(all, ahead) || len(all) != 2 {
			t.Errorf("after a prune there are %q", all)
		}
	})
}

func checkRecords(t *testing.T, s storage.Store) (keys []string) {
	t.Helper()
	for key := range keysOf(t, s) {
		if strings.HasPrefix(key, "checks/") {
			keys = append(keys, key)
		}
	}
	return keys
}

// A verify of all data takes hours, and another begins and ends meanwhile: what
// either found is known afterwards, whichever ends last.
func TestChecksAtTheSameTimeKeepWhatEachFound(t *testing.T) {
	t.Parallel()
	for _, share := range []float64{0, 1} {
		for _, before := range []storetest.Op{storetest.Get, storetest.List} { // of a point, or of the last records
			inYard(t, 26, func(t *testing.T, y *yard) {
				y.backup()
				later(time.Hour)
				key := packOf(t, y.a, y.points(y.store)[0].Manifest.Database.Stream[0].ID)
				body, err := storage.ReadAll(t.Context(), y.store, key)
				ok(t, err)
				judging, met := false, false // the first has read all that it reads
				a, err := archive.Open(t.Context(), storetest.Faulty(y.store, func(c storetest.Call) storetest.Fault {
					judging = judging || strings.HasPrefix(c.Key, "points/2")
					if !judging || met || c.Op != before {
						return storetest.Fault{}
					}
					met = true
					return storetest.Fault{Hook: func(context.Context) {
						later(time.Minute)
						replace(t, y.store, key, flipped(body, len(body)/2))
						report, err := y.a.Check(t.Context(), archive.CheckOptions{ReadData: 1})
						if ok(t, err); report.OK() {
							t.Error("nothing was found")
						}
						later(time.Minute)
					}}
				}))
				ok(t, err)
				report, err := a.Check(t.Context(), archive.CheckOptions{ReadData: share})
				if ok(t, err); !report.OK() || !met {
					t.Fatalf("%v, %s: %+v", share, before, report)
				}
				if v := y.points(y.store)[0].Verified; v.OK || v.Time.IsZero() {
					t.Errorf("%v, %s: the point is shown as %+v", share, before, v)
				}
				replace(t, y.store, key, body)
				again, err := y.a.Check(t.Context(), archive.CheckOptions{})
				if ok(t, err); again.Read != 1 || !again.OK() {
					t.Errorf("%v, %s: the next check read %d packs: %+v", share, before, again.Read, again.Damaged)
				}
				if v := y.points(y.store)[0].Verified; !v.OK {
					t.Errorf("%v, %s: after the next the point is shown as %+v", share, before, v)
				}
			})
		}
	}
}

// A blob that is not what its name says, in a pack that is: only who has the key
// sees that. A check without it takes nothing back.
func TestACheckWithoutTheKeyTakesNothingBackThatOneWithItFound(t *testing.T) {
	t.Parallel()
	inYardOf(t, 31, true, func(t *testing.T, y *yard) {
		a, err := archive.Open(t.Context(), y.store, y.job...)
		ok(t, err)
		y.backupOf([]int{2, 3})
		key := packOf(t, y.a, y.points(y.store)[0].Manifest.Database.Stream[0].ID)
		body, err := storage.ReadAll(t.Context(), y.store, key)
		ok(t, err)
		replace(t, y.store, key, flipped(body, len(body)/2))
		report, err := y.a.Check(t.Context(), archive.CheckOptions{ReadData: 1})
		if ok(t, err); report.OK() {
			t.Fatal("nothing was found")
		}
		replace(t, y.store, key, body)
		later(time.Hour)
		report, err = a.Check(t.Context(), archive.CheckOptions{})
		if ok(t, err); !report.OK() { // the pack's own checksum says so
			t.Errorf("brought back: %+v", report)
		}
		_, err = y.drop(y.points(y.store)[0].ID)
		ok(t, err)

		w, err := a.Writer(t.Context(), archive.WriterOptions{})
		ok(t, err)
		id, _, err := w.AddSum(t.Context(), y.pool[1], archive.ID{1}) // memory that forgets
		ok(t, err)
		_, err = w.Close(t.Context())
		ok(t, err)
		_, err = a.Commit(t.Context(), &archive.Manifest{Homeserver: server, Taken: time.Now(), Database: &archive.Database{
			Info: []byte("{}"), Stream: []archive.Blob{{ID: id, Size: int64(len(y.pool[1]))}},
		}})
		ok(t, err)
		shown := func(when string) {
			t.Helper()
			if v := y.points(y.store)[0].Verified; v.OK || v.Time.IsZero() {
				t.Errorf("%s, the point is shown as %+v", when, v)
			}
		}
		report, err = y.a.Check(t.Context(), archive.CheckOptions{ReadData: 1})
		if ok(t, err); report.OK() {
			t.Fatal("nothing was found")
		}
		shown("found")
		for _, share := range []float64{0, 1, 0} {
			later(24 * time.Hour)
			report, err = a.Check(t.Context(), archive.CheckOptions{ReadData: share})
			if ok(t, err); report.OK() || report.Points[0].OK {
				t.Errorf("read %v: %+v", share, report)
			}
			shown("looked at without the key")
		}
	})
}
