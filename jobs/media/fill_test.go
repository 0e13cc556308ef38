package media_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/media"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// store makes a media store of some classes and takes a point of it.
func stored(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.write("local_content/aa/bb/one", "one")
	w.write("local_content/aa/bb/two", "two")
	w.write("local_content/aa/cc/three", "three")
	w.write("local_thumbnails/aa/bb/one/32-32-image-png-crop", "thumbnail")
	w.write("top.txt", "top")
	w.must()
	return w
}

func TestOnlyWhatIsMissingOrDiffersIsWritten(t *testing.T) {
	t.Parallel()
	w := stored(t)
	want := tree(t, w.dir)
	at := func(name string) string { return filepath.Join(w.dir, name) }
	inode := func(name string) uint64 {
		var st unix.Stat_t
		ok(t, unix.Stat(at(name), &st))
		return st.Ino
	}
	untouched := inode("local_content/aa/bb/two")
	ok(t, os.Remove(at("local_content/aa/bb/one")))
	ok(t, os.WriteFile(at("local_content/aa/cc/three"), []byte("THREE"), 0o600))
	w.write("local_content/aa/bb/since", "newer than the point")
	ok(t, os.Chmod(at("local_content/aa/bb/two"), 0o600)) // its bytes are right, its rights are not
	f := w.filler(w.dir)
	p, err := f.Plan(t.Context())
	ok(t, err)
	if p.Files != 2 || p.Bytes != 8 || p.Same != 3 || p.Deletes != 0 || len(p.Problems) > 0 ||
		p.Lines[0] != "write 2 files of media, 8 B, to "+w.dir+": 1 missing, 1 differs; 3 files there already by size and time (--check-all compares the bytes)" {
		t.Errorf("%+v", p)
	}
	note, err := f.Fill(t.Context(), func(jobs.Progress) {})
	ok(t, err)
	if n := note.(media.Filled); n.Files != 2 || n.Same != 3 || n.Wrong+n.Skipped+n.Deleted != 0 {
		t.Errorf("%+v", n)
	}
	got := tree(t, w.dir)
	if got["local_content/aa/bb/since"] == "" || inode("local_content/aa/bb/two") != untouched {
		t.Error("what was to stay did not")
	}
	delete(got, "local_content/aa/bb/since")
	same(t, got, want)
}

func TestExtraFilesGoOnlyWhenAskedFor(t *testing.T) {
	t.Parallel()
	w := stored(t)
	want := tree(t, w.dir)
	w.write("local_content/aa/bb/since", "12345")
	w.write("local_content/new/folder/since", "12345")
	w.write("local_thumbnails/zz/since", "not of the class that is restored")
	w.write("remote_content/hs/aa/bb/cc", "not of the point")
	w.write("index.html", "of class other: who knows whose")
	outside := filepath.Join(t.TempDir(), "outside")
	ok(t, os.WriteFile(outside, []byte("x"), 0o600))
	ok(t, os.Symlink(filepath.Dir(outside), filepath.Join(w.dir, "local_content/aa/way-out")))
	only := func(o *media.FillOptions) { o.DeleteExtra, o.Paths = true, []string{"local_content"} }
	p, err := w.filler(w.dir, only).Plan(t.Context())
	ok(t, err)
	if p.Deletes != 3 || len(p.Lines) != 2 || p.Lines[1] != "delete 3 files, 10 B, that the point does not have" {
		t.Errorf("%+v", p)
	}
	note, err := w.fill(w.dir, only)
	if err != nil || note.Deleted != 3 {
		t.Errorf("%+v, %v", note, err)
	}
	got := tree(t, w.dir)
	for _, stays := range []string{"local_thumbnails/zz/since", "remote_content/hs/aa/bb/cc", "index.html"} {
		if got[stays] == "" {
			t.Errorf("%s is gone", stays)
		}
	}
	for path := range got {
		if !strings.HasPrefix(path, "local_content") {
			delete(got, path)
		}
	}
	for path := range want {
		if !strings.HasPrefix(path, "local_content") {
			delete(want, path)
		}
	}
	same(t, got, want)
	if _, err := os.Stat(outside); err != nil {
		t.Error("a file outside is gone")
	}
}

// Where everything is restored, too, classes that the point does not have stay, and whatever
// lies beside Synapse's folders: the folder named may be the wrong one.
func TestExtraFilesOfOtherClassesStay(t *testing.T) {
	t.Parallel()
	w := stored(t)
	want := names(tree(t, w.dir))
	w.write("local_thumbnails/zz/since", "goes")
	w.write("remote_content/hs/aa/bb/cc", "not of the point")
	w.write("home/alice/diary", "of class other: who knows whose")
	note, err := w.fill(w.dir, func(o *media.FillOptions) { o.DeleteExtra = true })
	if err != nil || note.Deleted != 1 {
		t.Errorf("%+v, %v", note, err)
	}
	for _, stays := range []string{"home", "remote_content"} {
		if got := tree(t, w.dir); got[stays] == "" {
			t.Errorf("%s is gone", stays)
		}
		ok(t, os.RemoveAll(filepath.Join(w.dir, stays)))
	}
	if got := names(tree(t, w.dir)); got != want {
		t.Errorf("%s, not %s", got, want)
	}
}

func TestSomePathsAlone(t *testing.T) {
	t.Parallel()
	w := stored(t)
	for want, paths := range map[string][]string{
		"local_content local_content/aa local_content/aa/bb local_content/aa/bb/one":                                                             {"local_content/aa/bb/one"},
		"local_content local_content/aa local_content/aa/bb local_content/aa/bb/one local_content/aa/bb/two":                                     {"local_content/aa/bb/one", "/local_content/aa/bb/"},
		"local_thumbnails local_thumbnails/aa local_thumbnails/aa/bb local_thumbnails/aa/bb/one local_thumbnails/aa/bb/one/32-32-image-png-crop": {"local_thumbnails"},
		"top.txt": {"other"}, // a class without a folder
		"local_content local_content/aa local_content/aa/cc local_content/aa/cc/three top.txt": {"local_content/aa/cc", "other"},
	} {
		to := t.TempDir()
		_, err := w.fill(to, func(o *media.FillOptions) { o.Paths = paths })
		ok(t, err)
		if got := names(tree(t, to)); got != want {
			t.Errorf("%v: %s, not %s", paths, got, want)
		}
	}
	p, err := w.filler(t.TempDir(), func(o *media.FillOptions) { o.Paths = []string{"remote_content", "top.txt"} }).Plan(t.Context())
	ok(t, err)
	if p.Files != 1 || len(p.Problems) != 1 || !strings.Contains(p.Problems[0], "no such file or folder: remote_content") {
		t.Errorf("%+v", p)
	}
	p, err = w.filler(t.TempDir(), func(o *media.FillOptions) { o.Paths = []string{"other", "remote_content"} }).Plan(t.Context())
	ok(t, err)
	if p.Files != 1 || len(p.Problems) != 1 || !strings.Contains(p.Problems[0], "no such file or folder: remote_content") {
		t.Errorf("%+v", p)
	}
}

// Whoever could write to the media folder must not make a restore write
// elsewhere.
func TestLinksLeadNobodyOut(t *testing.T) {
	t.Parallel()
	w := stored(t)
	want := tree(t, w.dir)
	to, outside := t.TempDir(), t.TempDir()
	ok(t, os.WriteFile(filepath.Join(outside, "one"), []byte("of somebody else"), 0o600))
	ok(t, os.MkdirAll(filepath.Join(to, "local_content/aa"), 0o750))
	ok(t, os.Symlink(outside, filepath.Join(to, "local_content/aa/bb")))
	ok(t, os.MkdirAll(filepath.Join(to, "local_content/aa/cc"), 0o750))
	ok(t, os.Symlink(filepath.Join(outside, "one"), filepath.Join(to, "local_content/aa/cc/three")))
	ok(t, os.WriteFile(filepath.Join(to, "local_thumbnails"), nil, 0o600))
	_, err := w.fill(to)
	ok(t, err)
	same(t, tree(t, to), want)
	if b, err := os.ReadFile(filepath.Join(outside, "one")); err != nil || string(b) != "of somebody else" {
		t.Errorf("%s, %v", b, err)
	}
}

// A restore that is killed anywhere and repeated ends as one that was not; no
// file ever has other bytes than the old or the new ones.
func TestKilledRestoreIsRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 30 {
		w.write(fmt.Sprintf("local_content/a%d/bb/f%d", i%5, i), noise(300<<10, i))
	}
	w.write("local_content/large", noise(20<<20, 99))
	w.must()
	want := tree(t, w.dir)
	to := t.TempDir()
	ok(t, os.MkdirAll(filepath.Join(to, "local_content/a1"), 0o750))
	ok(t, os.WriteFile(filepath.Join(to, "local_content/a1/.synapse-maint-restore-dead-1"), []byte("left behind"), 0o600))
	whole := w.owner
	for stop := range 5 {
		ctx, cancel := context.WithCancelCause(t.Context())
		files := 0
		_, err := w.filler(to).Fill(ctx, func(jobs.Progress) {
			if files++; files > stop {
				cancel(errors.New("killed"))
			}
		})
		refused(t, err, "killed")
		for path, text := range tree(t, to) {
			if _, bytes, _ := strings.Cut(text, "."); len(bytes) > 10 && bytes[10:] != "" && !strings.HasSuffix(want[path], bytes) {
				t.Errorf("after %d: %s has other bytes", stop, path)
			}
		}
		cancel(nil)
	}
	w.owner = whole
	_, err := w.fill(to)
	ok(t, err)
	same(t, tree(t, to), want)
}

// A damaged blob costs the files that have it, which are named.
func TestDamagedFilesArePassedOver(t *testing.T) {
	t.Parallel()
	w := stored(t)
	w.write("local_content/aa/bb/broken", noise(1<<20, 1))
	w.must()
	w.damage(w.entries()["local_content/aa/bb/broken"].Blobs[0])
	to := t.TempDir()
	note, err := w.fill(to)
	incomplete(t, err, "1 file could not be restored", "local_content/aa/bb/broken", "damaged")
	if note.Skipped != 1 || note.Wrong != 0 || note.Files != 5 {
		t.Errorf("%+v", note)
	}
	got, want := tree(t, to), tree(t, w.dir)
	delete(want, "local_content/aa/bb/broken")
	same(t, got, want)
}

func TestStoreThatFailsEndsTheRestore(t *testing.T) {
	t.Parallel()
	w := stored(t)
	var err error
	gets := 0
	w.owner, err = archive.Open(t.Context(), storetest.Faulty(w.store, func(c storetest.Call) storetest.Fault {
		if c.Op == storetest.Get && strings.HasPrefix(c.Key, "packs/") {
			if gets++; gets > 2 { // the listing is read
				return storetest.Fault{Err: errors.New("503 slow down")}
			}
		}
		return storetest.Fault{}
	}))
	ok(t, err)
	_, err = w.fill(t.TempDir())
	refused(t, err, "503")
	if errors.Is(err, jobs.ErrIncomplete) {
		t.Error("passed for damage")
	}
}

// A folder that is not empty in a file's place is somebody's: it stays.
func TestFolderInAFilesPlace(t *testing.T) {
	t.Parallel()
	w := stored(t)
	to := t.TempDir()
	ok(t, os.MkdirAll(filepath.Join(to, "local_content/aa/bb/one/full"), 0o750))
	ok(t, os.MkdirAll(filepath.Join(to, "local_content/aa/bb/two"), 0o750))
	note, err := w.fill(to)
	incomplete(t, err, "local_content/aa/bb/one", "not empty")
	if note.Skipped != 1 {
		t.Errorf("%+v", note)
	}
	left, _ := filepath.Glob(filepath.Join(to, "local_content/aa/bb/.synapse*"))
	if got := tree(t, to)["local_content/aa/bb/two"]; !strings.HasSuffix(got, " two") || len(left) > 0 {
		t.Errorf("%q, left %v", got, left)
	}
}

// What differs in no size and no time is found by comparing bytes.
func TestCheckAllComparesBytes(t *testing.T) {
	t.Parallel()
	w := stored(t)
	want := tree(t, w.dir)
	path := filepath.Join(w.dir, "local_content/aa/bb/one")
	st, err := os.Stat(path)
	ok(t, err)
	ok(t, os.WriteFile(path, []byte("eno"), 0o640))
	ok(t, os.Chtimes(path, st.ModTime(), st.ModTime()))
	_, err = w.fill(w.dir)
	ok(t, err)
	if !strings.HasSuffix(tree(t, w.dir)["local_content/aa/bb/one"], "eno") {
		t.Error("it was written although it looks the same")
	}
	all := func(o *media.FillOptions) { o.CheckAll = true }
	p, err := w.filler(w.dir, all).Plan(t.Context())
	if ok(t, err); !strings.HasSuffix(p.Lines[0], "1 differs; 4 files there already") {
		t.Errorf("%q", p.Lines)
	}
	note, err := w.fill(w.dir, all)
	ok(t, err)
	if note.Files != 1 {
		t.Errorf("%+v", note)
	}
	same(t, tree(t, w.dir), want)
}

// A disk that fills during a restore: a file system of its own, of 8 MiB.
func TestDiskThatFills(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 12 {
		w.write(fmt.Sprintf("local_content/aa/bb/f%d", i), noise(1<<20, i))
	}
	w.must()
	to := t.TempDir()
	if err := unix.Mount("none", to, "tmpfs", 0, "size=8m"); err != nil {
		t.Logf("no file system of one's own (%v): the disk is not filled", err)
		return
	}
	defer func() { ok(t, unix.Unmount(to, 0)) }()
	f := w.filler(to)
	p, err := f.Plan(t.Context())
	ok(t, err)
	if len(p.Problems) != 1 || !strings.Contains(p.Problems[0], "has room for 8.0 MiB, and the media to be written are 12.0 MiB") {
		t.Errorf("%q", p.Problems)
	}
	_, err = f.Fill(t.Context(), func(jobs.Progress) {})
	refused(t, err, to+" is full", "are still to be written", "again")
	left, _ := filepath.Glob(filepath.Join(to, "local_content/aa/bb/.synapse*"))
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A page of the list that is damaged costs the files on it, and nothing is
// deleted: nobody knows what is extra.
func TestDamagedListingDeletesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 2000 {
		w.write(fmt.Sprintf("local_content/aa/bb/f%d", i), "x")
	}
	w.must()
	pages, err := archive.ListingPages(t.Context(), w.reader(), w.last.Media)
	ok(t, err)
	w.damage(pages[len(pages)/2].ID)
	delete := func(o *media.FillOptions) { o.DeleteExtra = true }
	p, err := w.filler(w.dir, delete).Plan(t.Context())
	ok(t, err)
	if len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "1 page") || p.Deletes != 0 || !strings.HasPrefix(strings.Join(p.Lines[1:], "; "), "delete nothing: ") {
		t.Errorf("%+v", p)
	}
	before := len(tree(t, w.dir))
	note, err := w.fill(w.dir, delete)
	incomplete(t, err, "the list of media is damaged")
	if note.Deleted > 0 || len(tree(t, w.dir)) != before || !slices.ContainsFunc(note.Warnings, func(s string) bool { return strings.Contains(s, "nothing was deleted") }) {
		t.Errorf("%+v", note)
	}
}
