package archive_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// randomBlobs are n blobs that make a pack each.
func randomBlobs(n int) [][]byte {
	blobs := make([][]byte, n)
	for i := range blobs {
		blobs[i] = make([]byte, 900)
		_, _ = rand.Read(blobs[i])
	}
	return blobs
}

// addPacks stores a pack for each blob.
func addPacks(t *testing.T, s storage.Store, blobs [][]byte) ([]archive.ID, error) {
	t.Helper()
	a, err := archive.Open(t.Context(), s)
	ok(t, err)
	w, err := a.Writer(t.Context(), archive.WriterOptions{PackSize: 1 << 10, Uploads: 1})
	ok(t, err)
	var ids []archive.ID
	for _, blob := range blobs {
		id, _, err := w.Add(t.Context(), blob)
		ok(t, err)
		ids = append(ids, id)
	}
	_, err = w.Close(t.Context())
	return ids, err
}

// nthPack is a rule for the nth pack that is put, from 1.
func nthPack(nth int, fault storetest.Fault) func(storetest.Call) storetest.Fault {
	seen := 0
	return func(c storetest.Call) storetest.Fault {
		if c.Op == storetest.Put && strings.HasPrefix(c.Key, "packs/") {
			if seen++; seen == nth {
				return fault
			}
		}
		return storetest.Fault{}
	}
}

// A store acknowledges a pack that it loses or cuts: no index object may name
// it, or the next run would count on it.
func TestNoIndexNamesAPackThatTheStoreLost(t *testing.T) {
	t.Parallel()
	const packs = 6
	for name, fault := range map[string]storetest.Fault{"dropped": {Drop: true}, "truncated": {Truncate: true, Bytes: 900}} {
		for nth := 1; nth <= packs; nth++ {
			s, blobs := mem.New(), randomBlobs(packs)
			plainArchive(t, s)
			_, err := addPacks(t, storetest.Faulty(s, nthPack(nth, fault)), blobs)
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
			ids, err := addPacks(t, s, blobs)
			ok(t, err)
			readAll(t, s, ids)
		}
	}
}

// alteringStore takes other bytes of the same length for one pack.
type alteringStore struct {
	storage.Store
	nth  int    // of the packs
	key  string // or the pack that has this name, the first time
	lies bool   // its answer has the checksum of what was sent
	mute bool   // its answers to puts have none

	puts, again *int
}

func (s alteringStore) Put(ctx context.Context, key string, body []byte, opt storage.PutOptions) (storage.Object, error) {
	sum := sha256.Sum256(body)
	if strings.HasPrefix(key, "packs/") {
		*s.puts++
		if key == s.key {
			*s.again++
		}
		if *s.puts == s.nth || key == s.key && *s.again == 1 {
			body, opt.SHA256 = bytes.Clone(body), ""
			body[len(body)/2] ^= 1
		}
	}
	o, err := s.Store.Put(ctx, key, body, opt)
	switch {
	case s.lies:
		o.SHA256 = hex.EncodeToString(sum[:])
	case s.mute:
		o.SHA256 = ""
	}
	return o, err
}

// The checksum in a store's answer tells that it took other bytes; where there is
// none, each pack is looked at.
func TestWrongBytesOfTheRightLengthAreSentAgain(t *testing.T) {
	t.Parallel()
	const packs = 4
	for _, mute := range []bool{false, true} {
		for nth := 1; nth <= packs; nth++ {
			s := mem.New()
			plainArchive(t, s)
			puts := 0
			ids, err := addPacks(t, alteringStore{Store: s, nth: nth, mute: mute, puts: &puts, again: new(int)}, randomBlobs(packs))
			ok(t, err)
			readAll(t, s, ids)
			if puts != packs+1 {
				t.Errorf("mute %t, pack %d: %d puts", mute, nth, puts)
			}
		}
	}
}

// A pack that was found damaged is sent again under its name, which a listing
// showed before: it is read, whatever the store says of it.
func TestAPackThatReplacesADamagedOneIsRead(t *testing.T) {
	t.Parallel()
	s, blobs := mem.New(), randomBlobs(10)
	plainArchive(t, s)
	_, err := addPacks(t, s, blobs[9:])
	ok(t, err)
	var name string
	for o, err := range s.List(t.Context(), "packs/") {
		ok(t, err)
		body, err := storage.ReadAll(t.Context(), s, o.Key)
		ok(t, err)
		body[len(body)/2] ^= 1
		_, err = s.Put(t.Context(), o.Key, body, storage.PutOptions{})
		ok(t, err)
		name = o.Key
	}
	a, err := archive.Open(t.Context(), s)
	ok(t, err)
	report, err := a.Check(t.Context(), archive.CheckOptions{ReadData: 1})
	ok(t, err)
	if report.OK() {
		t.Fatal("the check found nothing")
	}
	again := 0
	ids, err := addPacks(t, alteringStore{Store: s, key: name, lies: true, puts: new(int), again: &again}, blobs)
	ok(t, err)
	readAll(t, s, ids)
	if again != 2 {
		t.Errorf("it was put %d times", again)
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
		ids, err := addPacks(t, counted, randomBlobs(packs))
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
