// Package storetest is how stores and their users are tested: [Test] is the
// suite that every [storage.Store] passes, and [Faulty] makes a store fail
// where a test wants it to.
//
// It imports storage, x/sync and the standard library, and is imported by tests
// only.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"testing"

	"github.com/synapse-maint/synapse-maint/storage"
)

// Test runs the suite. open returns an empty store at each call.
func Test(t *testing.T, open func(t *testing.T) storage.Store) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, s storage.Store)
	}{
		{"put, stat, get, delete", testRoundTrip},
		{"put replaces", testReplace},
		{"empty body", testEmpty},
		{"33 MiB body", testLarge},
		{"body is not kept", testBodyNotKept},
		{"ranges", testRanges},
		{"missing keys", testMissing},
		{"bad keys are refused", testBadKeys},
		{"odd keys", testOddKeys},
		{"list is in byte order", testListOrder},
		{"list by prefix", testListPrefix},
		{"list of 1,500 objects", testListMany},
		{"list stops when told", testListStops},
		{"if absent", testIfAbsent},
		{"if absent: one of eight wins", testIfAbsentRace},
		{"if match", testIfMatch},
		{"if match: one of eight wins", testIfMatchRace},
		{"if match: no update is lost", testIfMatchCounter},
		{"readers see whole objects", testAtomic},
		{"concurrent use", testConcurrent},
		{"cancelled context", testCancelled},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, open(t))
		})
	}
}

func put(t *testing.T, s storage.Store, key, body string) storage.Object {
	t.Helper()
	o, err := s.Put(t.Context(), key, []byte(body), storage.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// wantBody checks an object's bytes.
func wantBody(t *testing.T, s storage.Store, key, want string) {
	t.Helper()
	got, err := storage.ReadAll(t.Context(), s, key)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Fatalf("%s holds %.40q (%d bytes), want %.40q (%d bytes)", key, got, len(got), want, len(want))
	}
}

func wantError(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error is %v, want %v", what, err, want)
	}
}

func testRoundTrip(t *testing.T, s storage.Store) {
	body := "one object"
	o := put(t, s, "points/one", body)
	if o.Key != "points/one" || o.Size != int64(len(body)) || o.Tag == "" || o.Modified.IsZero() {
		t.Errorf("put returned %+v", o)
	}
	wantBody(t, s, "points/one", body)
	got, err := s.Stat(t.Context(), "points/one")
	if err != nil {
		t.Fatal(err)
	}
	if got.Key != o.Key || got.Size != o.Size || got.Tag != o.Tag || got.SHA256 != o.SHA256 {
		t.Errorf("stat says %+v, put said %+v", got, o)
	}
	if got.SHA256 != "" && got.SHA256 != hexSHA256(body) {
		t.Errorf("SHA-256 is %s, want %s", got.SHA256, hexSHA256(body))
	}
	for range 2 { // deleting what is absent is no error
		if err := s.Delete(t.Context(), "points/one"); err != nil {
			t.Fatal(err)
		}
	}
	_, err = s.Stat(t.Context(), "points/one")
	wantError(t, "stat after delete", err, fs.ErrNotExist)
}

func testReplace(t *testing.T, s storage.Store) {
	first := put(t, s, "a", "a long first body")
	second := put(t, s, "a", "second")
	if first.Tag == second.Tag {
		t.Errorf("both puts have the tag %s", first.Tag)
	}
	wantBody(t, s, "a", "second")
}

func testEmpty(t *testing.T, s storage.Store) {
	if o := put(t, s, "empty", ""); o.Size != 0 {
		t.Errorf("size is %d", o.Size)
	}
	wantBody(t, s, "empty", "")
	if got := readRange(t, s, "empty", 3, 4); got != "" {
		t.Errorf("a range of it holds %q", got)
	}
}

func testLarge(t *testing.T, s storage.Store) {
	body := noise(33 << 20)
	if _, err := s.Put(t.Context(), "large", body, storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := storage.ReadAll(t.Context(), s, "large")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, body) {
		t.Error("other bytes came back")
	}
	const off, n = 20<<20 + 1, 9 << 20
	if got := readRange(t, s, "large", off, n); got != string(body[off:off+n]) {
		t.Error("other bytes came back from a range")
	}
	if _, err := s.Put(t.Context(), "larger", make([]byte, storage.MaxObject+1), storage.PutOptions{}); err == nil {
		t.Error("an object above the limit was accepted")
	}
}

func testBodyNotKept(t *testing.T, s storage.Store) {
	body := []byte("before")
	if _, err := s.Put(t.Context(), "a", body, storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	copy(body, "after!")
	wantBody(t, s, "a", "before")
}

func testRanges(t *testing.T, s storage.Store) {
	put(t, s, "digits", "0123456789")
	for _, c := range []struct {
		off, n int64
		want   string
	}{
		{0, -1, "0123456789"},
		{0, 10, "0123456789"},
		{0, 1, "0"},
		{3, 4, "3456"},
		{7, -1, "789"},
		{7, 100, "789"},
		{0, 1 << 40, "0123456789"},
		{9, 1, "9"},
		{5, 0, ""},
		{10, -1, ""},
		{10, 5, ""},
		{1 << 40, 5, ""},
	} {
		if got := readRange(t, s, "digits", c.off, c.n); got != c.want {
			t.Errorf("%d bytes from %d are %q, want %q", c.n, c.off, got, c.want)
		}
	}
	if _, err := s.Get(t.Context(), "digits", -1, 1); err == nil {
		t.Error("a negative offset was accepted")
	}
}

func readRange(t *testing.T, s storage.Store, key string, off, n int64) string {
	t.Helper()
	r, err := s.Get(t.Context(), key, off, n)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}

func testMissing(t *testing.T, s storage.Store) {
	put(t, s, "there", "x")
	for _, key := range []string{"missing", "missing/too", "there/below"} {
		_, err := s.Get(t.Context(), key, 0, -1)
		wantError(t, "get "+key, err, fs.ErrNotExist)
		_, err = s.Get(t.Context(), key, 3, 0)
		wantError(t, "get nothing of "+key, err, fs.ErrNotExist)
		_, err = s.Stat(t.Context(), key)
		wantError(t, "stat "+key, err, fs.ErrNotExist)
		if err := s.Delete(t.Context(), key); err != nil {
			t.Errorf("delete %s: %v", key, err)
		}
	}
	wantBody(t, s, "there", "x")
}

func testBadKeys(t *testing.T, s storage.Store) {
	for _, key := range []string{"", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", ".lock", "a\x00b", "a b", "ä"} {
		if _, err := s.Put(t.Context(), key, []byte("x"), storage.PutOptions{}); err == nil {
			t.Errorf("put accepted the key %q", key)
		}
		if r, err := s.Get(t.Context(), key, 0, -1); err == nil {
			_ = r.Close()
			t.Errorf("get accepted the key %q", key)
		}
		if _, err := s.Stat(t.Context(), key); err == nil {
			t.Errorf("stat accepted the key %q", key)
		}
		if err := s.Delete(t.Context(), key); err == nil {
			t.Errorf("delete accepted the key %q", key)
		}
	}
	for _, err := range s.List(t.Context(), "../") {
		if err == nil {
			t.Error("list accepted the prefix ../")
		}
	}
}

func testOddKeys(t *testing.T, s storage.Store) {
	keys := []string{
		"a=b", "a@b:8448", "~a,b", "-", "_", "points/20261125T020000Z-00ff", "UPPER/lower", "a.b..c", "a-",
		"deep/" + string(bytes.Repeat([]byte("d/"), 50)) + "leaf", string(bytes.Repeat([]byte("n"), 200)),
	}
	for _, key := range keys {
		put(t, s, key, "body of "+key)
	}
	for _, key := range keys {
		wantBody(t, s, key, "body of "+key)
	}
	if got := list(t, s, ""); len(got) != len(keys) {
		t.Errorf("list yields %d keys of %d: %q", len(got), len(keys), got)
	}
}

func testCancelled(t *testing.T, s storage.Store) {
	put(t, s, "a", string(noise(1<<20)))
	ctx, cancel := context.WithCancel(t.Context())
	r, err := s.Get(ctx, "a", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cancel()
	_, err = io.Copy(io.Discard, r)
	wantError(t, "reading on", err, context.Canceled)
	_, err = s.Put(ctx, "b", []byte("x"), storage.PutOptions{})
	wantError(t, "put", err, context.Canceled)
	_, err = s.Get(ctx, "a", 0, -1)
	wantError(t, "get", err, context.Canceled)
	_, err = s.Stat(ctx, "a")
	wantError(t, "stat", err, context.Canceled)
	wantError(t, "delete", s.Delete(ctx, "a"), context.Canceled)
	err = errors.New("no error")
	for _, err = range s.List(ctx, "") {
	}
	wantError(t, "list", err, context.Canceled)
	if _, err := s.Stat(t.Context(), "b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the cancelled put left an object (%v)", err)
	}
}

// noise returns bytes that no compression shrinks, the same at every call.
func noise(n int) []byte {
	src := rand.NewChaCha8([32]byte{})
	body := make([]byte, n)
	_, _ = src.Read(body) // never fails
	return body
}

func numbered(i int) string { return fmt.Sprintf("many/%05d", i) }
