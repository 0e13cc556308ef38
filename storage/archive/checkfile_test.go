package archive_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
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
