package archive_test

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// addPacks stores n packs of one blob each through a store that keeps checksums.
func addPacks(t *testing.T, s storage.Store, n int) ([]archive.ID, error) {
	t.Helper()
	a, err := archive.Open(t.Context(), s)
	ok(t, err)
	w, err := a.Writer(t.Context(), archive.WriterOptions{PackSize: 1 << 10, Uploads: 1})
	ok(t, err)
	var ids []archive.ID
	for range n {
		blob := make([]byte, 900)
		_, _ = rand.Read(blob)
		id, _, err := w.Add(t.Context(), blob)
		ok(t, err)
		ids = append(ids, id)
	}
	_, err = w.Close(t.Context())
	return ids, err
}

// A store acknowledges a pack that it loses or cuts: no index object may name
// it, or the next run would count on it.
func TestNoIndexNamesAPackThatTheStoreLost(t *testing.T) {
	t.Parallel()
	const packs = 6
	for name, fault := range map[string]storetest.Fault{"dropped": {Drop: true}, "truncated": {Truncate: true, Bytes: 900}} {
		for nth := 1; nth <= packs; nth++ {
			s := mem.New()
			plainArchive(t, s)
			seen := 0
			_, err := addPacks(t, storetest.Faulty(s, func(c storetest.Call) storetest.Fault {
				if c.Op != storetest.Put || !strings.HasPrefix(c.Key, "packs/") {
					return storetest.Fault{}
				}
				if seen++; seen == nth {
					return fault
				}
				return storetest.Fault{}
			}), packs)
			if nth == 1 { // it is read back at once, and sent again
				ok(t, err)
				continue
			}
			if !errors.Is(err, archive.ErrCorrupt) || !strings.Contains(err.Error(), "run it again") {
				t.Errorf("%s, pack %d: %v", name, nth, err)
			}
			for o, err := range s.List(t.Context(), "index/") {
				ok(t, err)
				t.Errorf("%s, pack %d: %s", name, nth, o.Key)
			}
			ids, err := addPacks(t, s, packs)
			ok(t, err)
			readAll(t, s, ids)
		}
	}
}

func readAll(t *testing.T, s storage.Store, ids []archive.ID) {
	t.Helper()
	a, err := archive.Open(t.Context(), s)
	ok(t, err)
	r, err := a.Reader(t.Context(), archive.ReaderOptions{})
	ok(t, err)
	for _, id := range ids {
		_, err := r.Blob(t.Context(), id)
		ok(t, err)
	}
}

// What is new is looked at with a listing where that takes fewer requests, and
// singly where a store does not list it yet.
func TestNewPacksAreSeenWithFewRequests(t *testing.T) {
	t.Parallel()
	count := func(late time.Duration, packs int) (stats, lists int) {
		s := mem.New()
		plainArchive(t, s)
		counted := storetest.Faulty(lateStore{s, late}, func(storetest.Call) storetest.Fault { return storetest.Fault{} })
		ids, err := addPacks(t, counted, packs)
		ok(t, err)
		readAll(t, s, ids)
		return counted.Count(storetest.Stat), counted.Count(storetest.List)
	}
	noneStats, noneLists := count(0, 0)
	for _, c := range []struct {
		name                string
		late                time.Duration
		packs, stats, lists int
	}{
		{name: "one is read back at once", packs: 1, stats: 1},
		{name: "another is looked at", packs: 2, stats: 2},
		{name: "many are listed", packs: 30, stats: 1, lists: 1},
		{name: "of many each 32nd is read back", packs: 40, stats: 2, lists: 1},
		{name: "what is not listed is looked at", late: time.Hour, packs: 5, stats: 5, lists: 1},
	} {
		stats, lists := count(c.late, c.packs)
		if stats-noneStats != c.stats || lists-noneLists != c.lists {
			t.Errorf("%s: looked at %d singly and listed %d times", c.name, stats-noneStats, lists-noneLists)
		}
	}
}
