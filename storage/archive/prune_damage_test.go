package archive_test

import (
	"slices"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
)

// A pack that is gone, or cut, is needed by its points all the same: prunes leave
// what is there of it, and the index names it until the points go. So who brings
// it back has them again, and nothing keeps the next prune from its work.
func TestPruneKeepsWhatDamagedPointsNeed(t *testing.T) {
	t.Parallel()
	for name, left := range map[string]int{"gone": 0, "cut": 100} {
		inYard(t, 24, func(t *testing.T, y *yard) {
			y.backupOf([]int{1, 2, 3, 4, 5, 6})
			later(time.Minute)
			y.backupOf([]int{30, 31, 32, 33, 34})
			later(30 * time.Hour)
			ids := y.points(y.store)
			key := packOf(t, y.a, y.points(y.store)[1].Manifest.Database.Stream[0].ID)
			body, err := storage.ReadAll(t.Context(), y.store, key)
			ok(t, err)
			if ok(t, y.store.Delete(t.Context(), key)); left > 0 {
				replace(t, y.store, key, body[:left])
			}
			_, err = y.drop(ids[0].ID)
			ok(t, err)
			for range 3 {
				later(26 * time.Hour)
				if _, err := y.drop(); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if there := slices.Contains(slices.Collect(keysOf(t, y.store)), key); there != (left > 0) {
				t.Errorf("%s: the pack is there: %t", name, there)
			}
			ok(t, y.store.Delete(t.Context(), key))
			replace(t, y.store, key, body)
			for range 2 {
				later(26 * time.Hour)
				_, err = y.drop()
				ok(t, err)
			}
			y.whole(name + ", and brought back")
			y.clean()
		})
	}
}
