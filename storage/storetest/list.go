package storetest

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/synapse-maint/synapse-maint/storage"
)

// list returns the keys that a store lists.
func list(t *testing.T, s storage.Store, prefix string) []string {
	t.Helper()
	var keys []string
	for o, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}

func testListOrder(t *testing.T, s storage.Store) {
	// Around the slash, where a walk through folders and the order of whole
	// keys differ.
	keys := []string{
		"a-b", "a.b", "a/0", "a/b-c", "a/b/c", "a/b/d", "a/b.c/x", "a/b=c", "a0", "a:b", "aa/x", "A/x", "a~", "z", "Z",
	}
	for i, key := range keys {
		put(t, s, key, strings.Repeat("x", i))
	}
	want := slices.Sorted(slices.Values(keys))
	if got := list(t, s, ""); !slices.Equal(got, want) {
		t.Errorf("listed\n%q, want\n%q", got, want)
	}
	for o, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		st, err := s.Stat(t.Context(), o.Key)
		if err != nil {
			t.Fatal(err)
		}
		if o.Size != st.Size || o.Tag != st.Tag || o.Modified.IsZero() {
			t.Errorf("list says %+v, stat %+v", o, st)
		}
		if o.SHA256 != "" {
			t.Errorf("list gives a checksum for %s", o.Key)
		}
	}
}

func testListPrefix(t *testing.T, s storage.Store) {
	for _, key := range []string{"p/a1", "p/a2/x", "p/b", "pa", "q/a"} {
		put(t, s, key, "x")
	}
	for prefix, want := range map[string][]string{
		"":         {"p/a1", "p/a2/x", "p/b", "pa", "q/a"},
		"p":        {"p/a1", "p/a2/x", "p/b", "pa"},
		"p/":       {"p/a1", "p/a2/x", "p/b"},
		"p/a":      {"p/a1", "p/a2/x"},
		"p/a2":     {"p/a2/x"},
		"p/a2/":    {"p/a2/x"},
		"p/a2/x":   {"p/a2/x"},
		"p/a2/x/":  nil,
		"p/a1/":    nil,
		"p/c":      nil,
		"nothing/": nil,
	} {
		if got := list(t, s, prefix); !slices.Equal(got, want) {
			t.Errorf("prefix %q yields %q, want %q", prefix, got, want)
		}
	}
	if err := s.Delete(t.Context(), "p/a2/x"); err != nil {
		t.Fatal(err)
	}
	if got := list(t, s, "p/a"); !slices.Equal(got, []string{"p/a1"}) {
		t.Errorf("after a delete prefix p/a yields %q", got)
	}
}

func testListMany(t *testing.T, s storage.Store) {
	const n = 1500 // more than a page of S3's
	var group errgroup.Group
	group.SetLimit(16)
	var want []string
	for i := range n {
		want = append(want, numbered(i))
		group.Go(func() error {
			_, err := s.Put(t.Context(), numbered(i), []byte("x"), storage.PutOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := list(t, s, ""); !slices.Equal(got, want) {
		t.Errorf("listed %d keys, want %d in order", len(got), n)
	}
	if got := list(t, s, "many/012"); !slices.Equal(got, want[1200:1300]) {
		t.Errorf("prefix many/012 yields %d keys, want 100", len(got))
	}
}

func testListStops(t *testing.T, s storage.Store) {
	for i := range 5 {
		put(t, s, numbered(i), "x")
	}
	var got []string
	for o, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, o.Key); len(got) == 2 {
			break
		}
	}
	if want := []string{numbered(0), numbered(1)}; !slices.Equal(got, want) {
		t.Errorf("the first two are %q, want %q", got, want)
	}
}
