package storage_test

import (
	"bytes"
	"errors"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/mem"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

func TestCheckKey(t *testing.T) {
	for _, good := range []string{
		"a", "archive.json", "matrix.example.com:8448/points/20261125T020000Z-00ff",
		"packs/ab/" + strings.Repeat("ab", 32), "-", "a=b,c@d~e_f", "a..b", strings.Repeat("a", 240),
	} {
		if err := storage.CheckKey(good); err != nil {
			t.Errorf("%q is refused: %v", good, err)
		}
	}
	for bad, want := range map[string]string{
		"":                              "empty segment",
		"/":                             "empty segment",
		"/a":                            "empty segment",
		"a/":                            "empty segment",
		"a//b":                          "empty segment",
		".":                             "begins with a dot",
		"..":                            "begins with a dot",
		"a/../b":                        "begins with a dot",
		"a/.hidden":                     "begins with a dot",
		"a b":                           `character ' ' is not allowed`,
		"a\\b":                          `character '\\' is not allowed`,
		"a\x00":                         `character '\x00' is not allowed`,
		"a\nb":                          `character '\n' is not allowed`,
		"lost+found":                    `character '+' is not allowed`,
		"é":                             "is not allowed",
		"a%2fb":                         `character '%' is not allowed`,
		strings.Repeat("a", 241):        "longer than 240 bytes",
		strings.Repeat("a/", 500) + "a": "longer than 1000 bytes",
	} {
		err := storage.CheckKey(bad)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.50q: error is %v, want %s", bad, err, want)
		}
	}
}

func TestCheckPrefix(t *testing.T) {
	for prefix, good := range map[string]bool{
		"": true, "a": true, "a/": true, "a/b": true,
		"/": false, "a//": false, "../": false, ".": false, "a/.": false, "a b": false,
	} {
		if err := storage.CheckPrefix(prefix); (err == nil) != good {
			t.Errorf("%q: %v", prefix, err)
		}
	}
}

// FuzzCheckKey: a key that passes stays what it is as a path, below the folder
// that it is put in.
func FuzzCheckKey(f *testing.F) {
	for _, seed := range []string{"a/b", "../a", "a/./b", "a//b", "/a", ".a", "a/..", "a\x00b", "ä"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if storage.CheckKey(key) != nil {
			return
		}
		if !fs.ValidPath(key) || path.Clean(key) != key || path.IsAbs(key) || key == "." {
			t.Errorf("%q is no safe path", key)
		}
		if path.Join("store", key) != "store/"+key {
			t.Errorf("%q leads elsewhere", key)
		}
	})
}

func TestSubSharesItsStore(t *testing.T) {
	outer := mem.New()
	sub := storage.Sub(storage.Sub(outer, "one/"), "two")
	o, err := sub.Put(t.Context(), "a", []byte("x"), storage.PutOptions{})
	if err != nil || o.Key != "a" {
		t.Fatalf("put says %+v, %v", o, err)
	}
	if got, err := storage.ReadAll(t.Context(), outer, "one/two/a"); err != nil || string(got) != "x" {
		t.Errorf("the outer store holds %q, %v", got, err)
	}
	if _, err := outer.Put(t.Context(), "one/twofold", nil, storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for o, err := range sub.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	if !slices.Equal(keys, []string{"a"}) {
		t.Errorf("sub lists %q", keys)
	}
	if storage.Sub(outer, "") != storage.Store(outer) {
		t.Error("an empty prefix makes another store")
	}
}

func TestSubCannotBeLeft(t *testing.T) {
	outer := mem.New()
	if _, err := outer.Put(t.Context(), "secret", []byte("x"), storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, s := range []storage.Store{storage.Sub(outer, "one"), storage.Sub(outer, ".."), storage.Sub(outer, "/")} {
		for _, key := range []string{"../secret", "/secret", "secret"} {
			if _, err := storage.ReadAll(t.Context(), s, key); err == nil {
				t.Errorf("%q could be read", key)
			}
		}
	}
}

func TestReadAll(t *testing.T) {
	inner := mem.New()
	body := bytes.Repeat([]byte("0123456789"), 100_000)
	if _, err := inner.Put(t.Context(), "a", body, storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := storage.ReadAll(t.Context(), inner, "a")
	if err != nil || !bytes.Equal(got, body) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if spare := cap(got) - len(got); spare > len(body) {
		t.Errorf("%d bytes are held for nothing", spare)
	}
	cut := storetest.Faulty(inner, func(storetest.Call) storetest.Fault {
		return storetest.Fault{Cut: true, Bytes: 1000}
	})
	if got, err := storage.ReadAll(t.Context(), cut, "a"); err == nil {
		t.Errorf("%d bytes of a cut object were returned as all of it", len(got))
	}
	if _, err := storage.ReadAll(t.Context(), inner, "b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing object: %v", err)
	}
}
