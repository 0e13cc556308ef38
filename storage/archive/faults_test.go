package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

// troubled is a store whose puts and gets can go wrong.
type troubled struct {
	storage.Store
	puts atomic.Int64
	put  func(n int64, key string, body []byte) (put []byte, stored bool, err error)
	get  func(key string, whole bool, body []byte) []byte
}

func (s *troubled) Put(ctx context.Context, key string, body []byte, opt storage.PutOptions) (storage.Object, error) {
	n := s.puts.Add(1)
	if s.put == nil {
		return s.Store.Put(ctx, key, body, opt)
	}
	got, stored, err := s.put(n, key, body)
	o := storage.Object{Key: key, Size: int64(len(body))}
	if stored {
		if o2, err2 := s.Store.Put(ctx, key, got, opt); err2 != nil {
			return o2, err2
		}
	}
	return o, err
}

func (s *troubled) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	r, err := s.Store.Get(ctx, key, off, n)
	if err != nil || s.get == nil {
		return r, err
	}
	defer r.Close()
	body, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(bytes.NewReader(s.get(key, n < 0, body))), nil
}

// Stat hides the checksum, as stores without one do.
func (s *troubled) Stat(ctx context.Context, key string) (storage.Object, error) {
	o, err := s.Store.Stat(ctx, key)
	o.SHA256 = ""
	return o, err
}

var errStore = errors.New("the store is on fire")

// TestNothingHalfCommitted stops or spoils each put of a backup in turn: the
// backup must fail or succeed, a listed point must read, and the next backup
// must succeed (a truncated dump stays as the newest object; a failed one is
// reported as success).
func TestNothingHalfCommitted(t *testing.T) {
	t.Parallel()
	type fault func(body []byte) (put []byte, stored bool, err error)
	faults := map[string]fault{
		"refused":          func(b []byte) ([]byte, bool, error) { return b, false, errStore },
		"answer lost":      func(b []byte) ([]byte, bool, error) { return b, true, errStore },
		"lie: dropped":     func(b []byte) ([]byte, bool, error) { return b, false, nil },
		"lie: truncated":   func(b []byte) ([]byte, bool, error) { return b[:len(b)/2], true, nil },
		"lie: empty":       func(b []byte) ([]byte, bool, error) { return nil, true, nil },
		"lie: wrong byte":  func(b []byte) ([]byte, bool, error) { return flipped(b, 7), true, nil },
		"cut and an error": func(b []byte) ([]byte, bool, error) { return b[:1], true, errStore },
	}
	for name, fault := range faults {
		for _, for2 := range []bool{false, true} { // once, or from then on
			t.Run(fmt.Sprintf("%s for ever=%v", name, for2), func(t *testing.T) {
				t.Parallel()
				for nth := int64(1); ; nth++ {
					if !spoilNth(t, nth, for2, fault) {
						break
					}
				}
			})
		}
	}
}

// spoilNth says whether there was an nth put.
func spoilNth(t *testing.T, nth int64, forever bool, fault func([]byte) ([]byte, bool, error)) bool {
	t.Helper()
	k := newKeys(t)
	s := &troubled{Store: mem.New()}
	first := newFixture(10)
	a, err := archive.Init(t.Context(), s, k.opt)
	ok(t, err)
	_, err = take(t, a, first, night)
	ok(t, err)
	s.puts.Store(0)
	s.put = func(n int64, _ string, body []byte) ([]byte, bool, error) {
		if n == nth || forever && n > nth {
			return fault(body)
		}
		return body, true, nil
	}
	second := newFixture(20)
	id, err := take(t, a, second, night.Add(24*time.Hour))
	reached := s.puts.Load() >= nth
	s.put = nil
	if err == nil && reached && forever {
		t.Errorf("put %d: the backup says ok, the store kept nothing", nth)
	}
	owner, err2 := archive.Open(t.Context(), s, k.owner)
	ok(t, err2)
	checkListed(t, owner, fmt.Sprintf("put %d", nth), err == nil, id, first, second)

	third := newFixture(30)
	id, err = take(t, a, third, night.Add(48*time.Hour))
	if err != nil {
		t.Fatalf("put %d: the next backup: %v", nth, err)
	}
	checkListed(t, owner, fmt.Sprintf("after put %d", nth), true, id, first, second, third)
	return reached
}

// checkListed reads every point that is listed; the one with the ID must be, if
// it was committed.
func checkListed(t *testing.T, a *archive.Archive, when string, committed bool, id string, fixtures ...fixture) {
	t.Helper()
	points, err := a.Points(t.Context())
	ok(t, err)
	found := false
	for _, p := range points {
		if p.Err != nil {
			t.Errorf("%s: listed, but can't be read: %v", when, p.Err)
			continue
		}
		found = found || p.ID == id
		got, err := readPoint(t, a, p.Manifest)
		if err != nil {
			t.Errorf("%s: point %s: %v", when, p.ID, err)
			continue
		}
		day := int(p.Taken.Sub(night) / (24 * time.Hour))
		fixtures[day].check(t, got)
	}
	if committed && !found {
		t.Errorf("%s: point %s was committed and is not listed", when, id)
	}
}

func flipped(b []byte, at int) []byte {
	b = bytes.Clone(b)
	b[at%len(b)] ^= 0x10
	return b
}

func TestStoreErrorsAreNamed(t *testing.T) {
	t.Parallel()
	s := &troubled{Store: mem.New()}
	a := plainArchive(t, s)
	s.put = func(_ int64, _ string, b []byte) ([]byte, bool, error) { return b, false, errStore }
	_, err := take(t, a, newFixture(1), night)
	if !errors.Is(err, errStore) || !strings.Contains(err.Error(), "packs/") {
		t.Error(err)
	}
}

func TestWrongBytesOnTheWireAreNoDamage(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	s := &troubled{Store: mem.New()}
	_, err := archive.Init(t.Context(), s, k.opt)
	ok(t, err)
	a, err := archive.Open(t.Context(), s, k.owner)
	ok(t, err)
	f := newFixture(10)
	_, err = take(t, a, f, night)
	ok(t, err)
	var mu sync.Mutex
	seen := map[string]bool{}
	s.get = func(key string, _ bool, body []byte) []byte { // the first get of each pack is wrong
		mu.Lock()
		defer mu.Unlock()
		if strings.HasPrefix(key, "packs/") && !seen[key] {
			seen[key] = true
			return flipped(body, len(body)/2)
		}
		return body
	}
	p, err := a.Find(t.Context(), "latest")
	ok(t, err)
	got, err := readPoint(t, a, p.Manifest)
	ok(t, err)
	f.check(t, got)
	clear(seen)
	report, err := a.Check(t.Context(), archive.CheckOptions{ReadData: 1})
	ok(t, err)
	if !report.OK() {
		t.Errorf("found damage: %+v", report.Damaged)
	}
}

// TestBackPressure holds every put until nothing in the process can go on: with
// two uploads and one open pack, no more than three packs may be in memory.
func TestBackPressure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &troubled{Store: mem.New()}
		a := plainArchive(t, s)
		release := make(chan struct{})
		s.puts.Store(0)
		s.put = func(_ int64, _ string, b []byte) ([]byte, bool, error) { <-release; return b, true, nil }
		w, err := a.Writer(t.Context(), archive.WriterOptions{PackSize: 10_000, Workers: 1})
		ok(t, err)
		added := 0
		go func() {
			for i := range 50 {
				if _, _, err := w.Add(t.Context(), rows(uint64(i), 40_000)); err != nil {
					t.Error(err)
				}
				added++
			}
		}()
		synctest.Wait()
		if added > 4 || s.puts.Load() != 2 {
			t.Errorf("%d blobs of a pack each were taken while %d packs were on their way", added, s.puts.Load())
		}
		close(release)
		synctest.Wait()
		st, err := w.Close(t.Context())
		ok(t, err)
		if added != 50 || st.Blobs != 50 {
			t.Errorf("%d of 50 added, %+v", added, st)
		}
	})
}

func TestAddEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &troubled{Store: mem.New()}
		a := plainArchive(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		s.put = func(_ int64, _ string, b []byte) ([]byte, bool, error) { <-ctx.Done(); return b, false, ctx.Err() }
		w, err := a.Writer(ctx, archive.WriterOptions{PackSize: 10_000})
		ok(t, err)
		failed := make(chan error, 1)
		go func() {
			for i := uint64(0); ; i++ {
				if _, _, err := w.Add(ctx, rows(i, 40_000)); err != nil {
					failed <- err
					return
				}
			}
		}()
		synctest.Wait()
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if _, err := w.Close(t.Context()); !errors.Is(err, context.Canceled) {
			t.Error("Close after a cut:", err)
		}
	})
}
