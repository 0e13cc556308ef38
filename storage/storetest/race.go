package storetest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/synapse-maint/synapse-maint/storage"
)

const racers = 8

func hexSHA256(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

func testIfAbsent(t *testing.T, s storage.Store) {
	only := storage.PutOptions{IfAbsent: true}
	if _, err := s.Put(t.Context(), "a/once", []byte("first"), only); err != nil {
		t.Fatal(err)
	}
	_, err := s.Put(t.Context(), "a/once", []byte("second"), only)
	wantError(t, "second put", err, fs.ErrExist)
	// The same bytes are no excuse: the caller can't know that they are its own.
	_, err = s.Put(t.Context(), "a/once", []byte("first"), only)
	wantError(t, "second put of the same bytes", err, fs.ErrExist)
	wantBody(t, s, "a/once", "first")
	if err := s.Delete(t.Context(), "a/once"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "a/once", []byte("third"), only); err != nil {
		t.Errorf("put after a delete: %v", err)
	}
}

func testIfMatch(t *testing.T, s storage.Store) {
	first := put(t, s, "a", "first")
	second, err := s.Put(t.Context(), "a", []byte("second"), storage.PutOptions{IfMatch: first.Tag})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Put(t.Context(), "a", []byte("third"), storage.PutOptions{IfMatch: first.Tag})
	wantError(t, "put with an old tag", err, storage.ErrChanged)
	wantBody(t, s, "a", "second")
	stat, err := s.Stat(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "a", []byte("third"), storage.PutOptions{IfMatch: stat.Tag}); err != nil {
		t.Errorf("put with stat's tag: %v", err)
	}
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	_, err = s.Put(t.Context(), "a", []byte("fourth"), storage.PutOptions{IfMatch: second.Tag})
	wantError(t, "put after a delete", err, storage.ErrChanged)
	_, err = s.Stat(t.Context(), "a")
	wantError(t, "stat after it", err, fs.ErrNotExist)
}

func testIfAbsentRace(t *testing.T, s storage.Store) {
	for round := range 10 {
		oneWins(t, s, "round/"+strconv.Itoa(round), storage.PutOptions{IfAbsent: true}, fs.ErrExist)
	}
}

func testIfMatchRace(t *testing.T, s storage.Store) {
	for round := range 10 {
		key := "round/" + strconv.Itoa(round)
		o := put(t, s, key, "start")
		oneWins(t, s, key, storage.PutOptions{IfMatch: o.Tag}, storage.ErrChanged)
	}
}

// oneWins puts under one condition from several goroutines at once.
func oneWins(t *testing.T, s storage.Store, key string, opt storage.PutOptions, lost error) {
	t.Helper()
	var winner atomic.Int64
	var wins atomic.Int64
	start := make(chan struct{})
	var group sync.WaitGroup
	for i := range racers {
		group.Go(func() {
			<-start
			_, err := s.Put(t.Context(), key, []byte("racer "+strconv.Itoa(i)), opt)
			switch {
			case err == nil:
				wins.Add(1)
				winner.Store(int64(i))
			case !errors.Is(err, lost):
				t.Errorf("a loser's error is %v, want %v", err, lost)
			}
		})
	}
	close(start)
	group.Wait()
	if wins.Load() != 1 {
		t.Fatalf("%s: %d of %d puts succeeded", key, wins.Load(), racers)
	}
	wantBody(t, s, key, fmt.Sprintf("racer %d", winner.Load()))
}

// testIfMatchCounter has several writers count together by read, add one and
// conditional put: what locks and journals rely on.
func testIfMatchCounter(t *testing.T, s storage.Store) {
	const each = 5
	put(t, s, "counter", "0")
	var group errgroup.Group
	for range 4 {
		group.Go(func() error {
			for done := 0; done < each; {
				o, err := s.Stat(t.Context(), "counter")
				if err != nil {
					return err
				}
				text, err := storage.ReadAll(t.Context(), s, "counter")
				if err != nil {
					return err
				}
				n, err := strconv.Atoi(string(text))
				if err != nil {
					return err
				}
				_, err = s.Put(t.Context(), "counter", []byte(strconv.Itoa(n+1)), storage.PutOptions{IfMatch: o.Tag})
				switch {
				case err == nil:
					done++
				case !errors.Is(err, storage.ErrChanged):
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	wantBody(t, s, "counter", strconv.Itoa(4*each))
}

// testAtomic reads while another replaces the object by one of another size.
func testAtomic(t *testing.T, s storage.Store) {
	bodies := [][]byte{bytes.Repeat([]byte("a"), 300<<10), bytes.Repeat([]byte("b"), 700<<10)}
	put(t, s, "a", string(bodies[0]))
	done := make(chan struct{})
	var group errgroup.Group
	group.Go(func() error {
		defer close(done)
		for i := range 30 {
			if _, err := s.Put(t.Context(), "a", bodies[i%2], storage.PutOptions{}); err != nil {
				return err
			}
		}
		return nil
	})
	group.Go(func() error {
		for {
			got, err := storage.ReadAll(t.Context(), s, "a")
			if err != nil {
				return err
			}
			if !bytes.Equal(got, bodies[0]) && !bytes.Equal(got, bodies[1]) {
				return fmt.Errorf("read %d bytes that nobody wrote", len(got))
			}
			select {
			case <-done:
				return nil
			default:
			}
		}
	})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func testConcurrent(t *testing.T, s storage.Store) {
	var group errgroup.Group
	for i := range 16 {
		key, body := fmt.Sprintf("worker/%d", i), bytes.Repeat([]byte{byte(i)}, i<<10)
		group.Go(func() error {
			for range 5 {
				if _, err := s.Put(t.Context(), key, body, storage.PutOptions{}); err != nil {
					return err
				}
				got, err := storage.ReadAll(t.Context(), s, key)
				if err != nil {
					return err
				}
				if !bytes.Equal(got, body) {
					return fmt.Errorf("%s: read another's bytes", key)
				}
				if err := s.Delete(t.Context(), key); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if left := list(t, s, ""); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
}
