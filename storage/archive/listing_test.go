package archive_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// entriesNamed makes an entry of each name, in the order that a walk has.
func entriesNamed(names ...string) []archive.Entry {
	slices.SortFunc(names, archive.ComparePaths)
	list := make([]archive.Entry, len(names))
	for i, name := range names {
		list[i] = archive.Entry{
			Path: name, Mode: 0o640, UID: 991, GID: -1, Size: 3, Blobs: []archive.ID{{1, 2, byte(i)}}, SHA256: archive.ID{9, byte(i)},
			Modified: time.Unix(1_764_000_000+int64(i), 123_456_789).UTC(),
		}
	}
	return list
}

func mediaNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("local_content/%c%c/x%c/abcdefgh%06d", 'a'+i%26, 'A'+i/26%26, 'a'+i%7, i)
	}
	return names
}

// list writes a listing in a writer of its own and returns the media part.
func list(t *testing.T, a *archive.Archive, entries []archive.Entry) (*archive.Media, archive.Stats) {
	t.Helper()
	w, err := a.Writer(t.Context(), archive.WriterOptions{})
	ok(t, err)
	l := w.Listing()
	for _, e := range entries {
		ok(t, l.Add(t.Context(), e))
	}
	contents, err := l.Close(t.Context())
	ok(t, err)
	stats, err := w.Close(t.Context())
	ok(t, err)
	return &archive.Media{Listing: contents}, stats
}

func entriesOf(t *testing.T, src archive.BlobSource, m *archive.Media, under string) (all []archive.Entry) {
	t.Helper()
	for e, err := range archive.EntriesUnder(t.Context(), src, m, under) {
		ok(t, err)
		all = append(all, e)
	}
	return all
}

func sameEntries(a, b []archive.Entry) bool {
	return slices.EqualFunc(a, b, func(a, b archive.Entry) bool { return fmt.Sprint(a) == fmt.Sprint(b) })
}

// The job that takes backups reads the last listing back with its own identity,
// which opens no file's bytes.
func TestListingComesBackAsItWas(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	encrypted := mem.New()
	_, err := archive.Init(t.Context(), encrypted, k.opt)
	ok(t, err)
	job, err := archive.Open(t.Context(), encrypted, k.job)
	ok(t, err)
	for name, a := range map[string]*archive.Archive{"plain": plainArchive(t, mem.New()), "encrypted": job} {
		want := entriesNamed(append(mediaNames(5000), "a\nb", "a/b", "a-b", "odd \xff\xfe", "ü")...)
		for i, kind := range []string{archive.KindFolder, archive.KindLink, archive.KindFIFO, archive.KindSocket} {
			want[i].Kind, want[i].Blobs, want[i].Size, want[i].SHA256 = kind, nil, 0, archive.ID{}
		}
		want[1].Target = "../\xff"
		want[9].Sparse, want[10].SHA256 = true, want[10].Blobs[0]
		m, _ := list(t, a, want)
		w, err := a.Writer(t.Context(), archive.WriterOptions{})
		ok(t, err)
		defer w.Abort()
		if got := entriesOf(t, w, m, ""); !sameEntries(got, want) {
			t.Errorf("%s: %d entries came back, other than the %d that were listed", name, len(got), len(want))
		}
	}
}

func TestListingOfANightWithFewChangesStoresLittle(t *testing.T) {
	t.Parallel()
	a := plainArchive(t, mem.New())
	entries := entriesNamed(mediaNames(50_000)...)
	_, first := list(t, a, entries)
	_, same := list(t, a, entries)
	added := slices.Insert(slices.Clone(entries), 20_000, archive.Entry{Path: entries[20_000].Path[:len(entries[20_000].Path)-1]})
	_, second := list(t, a, added)
	if first.Blobs < 150 || first.Blobs > 400 {
		t.Errorf("50,000 entries are in %d blobs", first.Blobs)
	}
	if same.Blobs != 0 {
		t.Errorf("the same listing again stored %d blobs", same.Blobs)
	}
	if second.Blobs > 3 || second.NewBytes > first.NewBytes/20 {
		t.Errorf("one file more stored %d blobs, %d bytes of %d", second.Blobs, second.NewBytes, first.NewBytes)
	}
}

func TestListingOfOneFolderReadsItsPagesOnly(t *testing.T) {
	t.Parallel()
	a := plainArchive(t, mem.New())
	entries := entriesNamed(append(mediaNames(20_000), "local_content", "local_content-old", "remote_content/x/y")...)
	m, _ := list(t, a, entries)
	r, err := a.Reader(t.Context(), archive.ReaderOptions{})
	ok(t, err)
	for _, under := range []string{"", "local_content", "local_content/aA", "remote_content", entries[777].Path, "nowhere", "local_content/zz"} {
		var want []archive.Entry
		for _, e := range entries {
			if under == "" || e.Path == under || strings.HasPrefix(e.Path, under+"/") {
				want = append(want, e)
			}
		}
		if got := entriesOf(t, r, m, under); !sameEntries(got, want) {
			t.Errorf("under %q: %d entries, want %d", under, len(got), len(want))
		}
	}
}

func TestListingRefusesWhatCouldNotBeRestored(t *testing.T) {
	t.Parallel()
	a := plainArchive(t, mem.New())
	w, err := a.Writer(t.Context(), archive.WriterOptions{})
	ok(t, err)
	defer w.Abort()
	for name, e := range map[string]archive.Entry{
		"absolute":      {Path: "/etc/passwd"},
		"upwards":       {Path: "a/../../b"},
		"empty":         {Path: ""},
		"no bytes":      {Path: "a", Size: 5},
		"unknown":       {Path: "a", Kind: "device"},
		"folder's data": {Path: "a", Kind: archive.KindFolder, Blobs: []archive.ID{{1}}},
	} {
		if err := w.Listing().Add(t.Context(), e); err == nil {
			t.Errorf("%s: listed", name)
		}
	}
	l := w.Listing()
	ok(t, l.Add(t.Context(), archive.Entry{Path: "b"}))
	if err := l.Add(t.Context(), archive.Entry{Path: "a"}); err == nil {
		t.Error("a after b: listed")
	}
}

// FuzzPageEntries: a page that somebody made never leads out of the folder.
func FuzzPageEntries(f *testing.F) {
	f.Add([]byte(`{"path":"a/b","mode":"0644","modified":"1.000000000","size":3,"blobs":["` + strings.Repeat("ab", 32) + "\"]}\n"))
	f.Add([]byte(`{"path64":"Li4=","kind":"link","mode":"0777","modified":"-1.999999999","target":"x"}` + "\n"))
	f.Fuzz(func(t *testing.T, page []byte) {
		entries, err := archive.PageEntries(page)
		if err != nil {
			return
		}
		for _, e := range entries {
			if e.Path == "" || strings.HasPrefix(e.Path, "/") || slices.Contains(strings.Split(e.Path, "/"), "..") {
				t.Errorf("path %q", e.Path)
			}
		}
	})
}

// The fast way to write and read lines is the slow one, byte for byte; what it
// does not know it leaves to that.
func TestFastLinesAreJSON(t *testing.T) {
	t.Parallel()
	id, sum := archive.ID{1, 0xab}, archive.ID{2}
	when := time.Unix(1_764_000_000, 5).UTC()
	for name, c := range map[string]struct {
		entry archive.Entry
		fast  bool
	}{
		"a file":         {archive.Entry{Path: "a/b c", Mode: 0o640, UID: 0, GID: 991, Modified: when, Size: 7, Blobs: []archive.ID{id}, SHA256: id}, true},
		"encrypted":      {archive.Entry{Path: "<&>", Mode: 0o4755, UID: -1, GID: -1, Modified: when, Size: 7, Blobs: []archive.ID{id}, SHA256: sum}, true},
		"several blobs":  {archive.Entry{Path: "a", UID: 3, GID: -1, Modified: when, Size: 7, Blobs: []archive.ID{id, sum, id}, SHA256: sum, Sparse: true}, true},
		"empty":          {archive.Entry{Path: "a", Modified: when, SHA256: sum}, true},
		"a folder":       {archive.Entry{Path: "a", Kind: archive.KindFolder, Mode: 0o700, Modified: when}, true},
		"a link":         {archive.Entry{Path: "a", Kind: archive.KindLink, Mode: 0o777, Modified: when, Target: "../b"}, true},
		"before 1970":    {archive.Entry{Path: "a", Modified: time.Unix(-5, 7).UTC(), SHA256: sum}, false},
		"not ASCII":      {archive.Entry{Path: "ü", Modified: when, SHA256: sum}, false},
		"a quote":        {archive.Entry{Path: `a"b`, Modified: when, SHA256: sum}, false},
		"a line's end":   {archive.Entry{Path: "a\nb", Modified: when, SHA256: sum}, false},
		"no text at all": {archive.Entry{Path: "a\xff", Modified: when, SHA256: sum}, false},
		"an odd target":  {archive.Entry{Path: "a", Kind: archive.KindLink, Modified: when, Target: "\\"}, false},
	} {
		fast, slow, scanned, decoded, fits, err := archive.EntryForms(c.entry)
		ok(t, err)
		if fast != slow {
			t.Errorf("%s: %s is not %s", name, fast, slow)
		}
		if fits != c.fast || fmt.Sprint(decoded) != fmt.Sprint(c.entry) || fits && fmt.Sprint(scanned) != fmt.Sprint(c.entry) {
			t.Errorf("%s: %v and %v of %v", name, scanned, decoded, c.entry)
		}
	}
}

// The listing lies together, whatever comes between its pages: reading it back
// takes a few requests.
func TestListingIsReadWithFewRequests(t *testing.T) {
	t.Parallel()
	s := mem.New()
	a := plainArchive(t, s)
	w, err := a.Writer(t.Context(), archive.WriterOptions{PackSize: 8 << 20})
	ok(t, err)
	l := w.Listing()
	entries := entriesNamed(mediaNames(20_000)...)
	for i, e := range entries {
		ok(t, l.Add(t.Context(), e))
		if i%20 == 0 {
			_, _, err := w.Add(t.Context(), rows(uint64(i), 100<<10))
			ok(t, err)
		}
	}
	contents, err := l.Close(t.Context())
	ok(t, err)
	_, err = w.Close(t.Context())
	ok(t, err)
	gets := 0
	counted, err := archive.Open(t.Context(), storetest.Faulty(s, func(c storetest.Call) storetest.Fault {
		if c.Op == storetest.Get && strings.HasPrefix(c.Key, "packs/") {
			gets++
		}
		return storetest.Fault{}
	}))
	ok(t, err)
	r, err := counted.Reader(t.Context(), archive.ReaderOptions{})
	ok(t, err)
	if got := entriesOf(t, r, &archive.Media{Listing: contents}, ""); len(got) != len(entries) || gets > 3 {
		t.Errorf("%d entries with %d requests", len(got), gets)
	}
}
