package media_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/synapse-maint/synapse-maint/jobs/media"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

func sumOf(text string) archive.ID { return sha256.Sum256([]byte(text)) }

// oddTree fills a media store with everything that may lie in one.
func (w *world) oddTree() {
	w.t.Helper()
	w.write("local_content/aa/bb/ccdd", "a picture")
	w.write("local_content/aa/bb/same", "a picture")
	w.write("local_content/aa/empty", "")
	w.write("local_content/aa/new\nline", "n")
	w.write("local_content/aa/\xff\xfe latin", "l")
	w.write("local_content/aa/ü \"quoted\\", "q")
	w.write("local_content/a-b", "before a slash or behind?")
	w.write("local_content/a/b", "behind")
	w.write("local_content/big", strings.Repeat("0123456789abcdef", 17<<20/16)+"end")
	w.write("local_content/exact", strings.Repeat("x", 8<<20))
	w.write("local_thumbnails/aa/bb/ccdd/32-32-image-png-crop", "small")
	w.write("notes.txt", "an administrator's")
	at := func(name string) string { return filepath.Join(w.dir, name) }
	ok(w.t, os.MkdirAll(at("local_content/zz/hollow"), 0o700))
	ok(w.t, os.Symlink("../../elsewhere/\xff", at("local_content/link")))
	ok(w.t, unix.Mkfifo(at("local_content/fifo"), 0o622))
	ok(w.t, unix.Mknod(at("local_content/socket"), unix.S_IFSOCK|0o600, 0))
	ok(w.t, os.Chmod(at("local_content/aa/empty"), 0o4755))
	ok(w.t, os.Lchown(at("local_content/a-b"), 991, 992))
	late := unix.Timespec{Sec: 12_307_334_400, Nsec: 5} // 2360, of a clock gone wrong
	ok(w.t, unix.UtimesNanoAt(unix.AT_FDCWD, at("local_content/a-b"), []unix.Timespec{late, late}, 0))
	f, err := os.Create(at("local_content/sparse"))
	ok(w.t, err)
	_, err = f.WriteAt([]byte("in the middle"), 9<<20)
	ok(w.t, err)
	ok(w.t, f.Truncate(20<<20))
	ok(w.t, f.Close())
	ok(w.t, os.Chtimes(at("local_content/sparse"), old(), old()))
	for _, name := range []string{"local_content/zz/hollow", "local_content/zz", "local_content/aa/bb", "local_content/aa", "local_content", "local_thumbnails"} {
		ok(w.t, os.Chtimes(at(name), old(), old()))
	}
}

func TestEverythingComesBackAsItWas(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		t.Run(fmt.Sprintf("encrypted=%v", encrypted), func(t *testing.T) {
			t.Parallel()
			w := newWorldIn(t, mem.New(), encrypted)
			w.oddTree()
			m := w.must()
			if m.Media.Files != 13 || len(w.warned) > 0 {
				t.Errorf("%d files, warnings %q", m.Media.Files, w.warned)
			}
			to := filepath.Join(t.TempDir(), "deep", "media_store")
			note, err := w.fill(to)
			ok(t, err)
			if note.Files != 13 || note.Bytes != m.Media.Bytes || note.Wrong+note.Skipped != 0 || len(note.Warnings) > 0 {
				t.Errorf("%+v", note)
			}
			same(t, tree(t, to), tree(t, w.dir))
			var st unix.Stat_t
			ok(t, unix.Stat(filepath.Join(to, "local_content/sparse"), &st))
			if st.Blocks*512 > 1<<20 {
				t.Errorf("the sparse file takes %d bytes", st.Blocks*512)
			}
			again, err := w.fill(to, func(o *media.FillOptions) { o.CheckAll = true })
			ok(t, err)
			if again.Files != 0 || again.Same != 13 {
				t.Errorf("again: %+v", again)
			}
		})
	}
}

// The next night reads what changed and stores that.
func TestUnchangedFilesAreNotReadAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.oddTree()
	first := w.must()
	if n := w.stats.KnownBytes; n < 8<<20 { // the empty part of the sparse file, the picture twice
		t.Errorf("bytes that are there twice were stored twice: %d known", n)
	}
	second := w.must()
	if w.stats.NewBytes != 0 || w.stats.KnownBytes > 1<<20 || fmt.Sprint(second.Media) != fmt.Sprint(first.Media) {
		t.Errorf("nothing changed, %+v", w.stats)
	}
	w.write("local_content/aa/bb/more", "and more")
	ok(t, os.Remove(filepath.Join(w.dir, "local_content/exact")))
	w.must()
	if w.stats.NewBytes > 10<<10 || w.stats.KnownBytes > 1<<20 {
		t.Errorf("one file more: %+v", w.stats)
	}
	to := t.TempDir()
	_, err := w.fill(to)
	ok(t, err)
	same(t, tree(t, to), tree(t, w.dir))
	w.options.ReadAll = true
	w.must()
	if w.stats.NewBytes > 0 || w.stats.KnownBytes < 20<<20 {
		t.Errorf("all was to be read: %+v", w.stats)
	}
}

// Bytes that changed behind an unchanged size and time are found by reading all.
func TestReadAllFindsWhatTimeHides(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("local_content/aa/bb/cc", "right")
	w.must()
	before := old()
	full := filepath.Join(w.dir, "local_content/aa/bb/cc")
	ok(t, os.Chtimes(full, before, before))
	w.must()
	ok(t, os.WriteFile(full, []byte("wrong"), 0o640))
	ok(t, os.Chtimes(full, before, before))
	w.must()
	if got := w.entries()["local_content/aa/bb/cc"].SHA256; got != sumOf("right") {
		t.Errorf("%v: it was read although it looks the same", got)
	}
	w.options.ReadAll = true
	w.must()
	if got := w.entries()["local_content/aa/bb/cc"].SHA256; got != sumOf("wrong") {
		t.Errorf("%v: it was not read", got)
	}
}

// A file written while the last point was taken may have been written twice
// within a tick of the clock.
func TestFilesWrittenDuringTheLastPointAreReadAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := filepath.Join(w.dir, "local_content/aa/bb/cc")
	w.write("local_content/aa/bb/cc", "first")
	ok(t, os.Chtimes(path, w.taken, w.taken))
	when := w.taken
	w.must()
	ok(t, os.WriteFile(path, []byte("later"), 0o640))
	ok(t, os.Chtimes(path, when, when))
	w.must()
	if got := w.entries()["local_content/aa/bb/cc"].SHA256; got != sumOf("later") {
		t.Error("the second write is not in the point")
	}
}

func TestClassesAreChosen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, class := range synapse.MediaClasses() {
		w.write(class+"/aa/bb/cc", class)
	}
	w.write("lost+found/inode", "of the file system")
	w.write("local_content/aa/.synapse-maint-restore-xyz-1", "of a restore that was killed")
	m := w.must()
	if got := names(tree(t, w.dir)); !strings.Contains(got, "url_cache/") {
		t.Fatal(got)
	}
	var counts []string
	for _, c := range m.Media.Classes {
		counts = append(counts, fmt.Sprintf("%s %d %d", c.Name, c.Files, c.Bytes))
	}
	if got := strings.Join(counts, ", "); got != "local_content 1 13, local_thumbnails 1 16, other 1 5" {
		t.Error(got)
	}
	if got := strings.Join(m.Media.Left, " "); got != "remote_content remote_thumbnail url_cache url_cache_thumbnails" {
		t.Error(got)
	}
	w.options.Classes = []string{"remote_content"}
	w.must()
	if e := w.entries(); len(e) != 4 || e["remote_content/aa/bb/cc"].Size != 14 {
		t.Error(e)
	}
	v, err := media.NewPart(w.options).Preview(t.Context())
	ok(t, err)
	if v.Files != 1 || v.Bytes != 14 || len(v.Lines) != 2 {
		t.Errorf("%+v", v)
	}
}

// Whatever the order in which a walk in parallel meets things.
func TestManyFoldersAreListedInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 600 {
		w.write(fmt.Sprintf("local_content/%02x/%02x/f%d", i%37, i%11, i), fmt.Sprint(i))
		w.write(fmt.Sprintf("local_thumbnails/%02x/%02x/id%d/%d-x", i%29, i%13, i, i), "t")
	}
	w.must()
	if e := w.entries(); len(e) != len(tree(t, w.dir)) {
		t.Errorf("%d entries of %d", len(e), len(tree(t, w.dir)))
	}
	to := t.TempDir()
	_, err := w.fill(to)
	ok(t, err)
	same(t, tree(t, to), tree(t, w.dir))
	if !bytes.Equal([]byte(names(tree(t, to))), []byte(names(tree(t, w.dir)))) {
		t.Error("other names")
	}
}

// Others deleted media because an object of that name was in the bucket,
// whatever it held (synapse-s3-storage-provider, s3_media_upload). A backup and
// a restore to elsewhere leave the media store as it is, to the last attribute.
func TestMediaStoreIsNeverTouched(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.oddTree()
	before := tree(t, w.dir)
	w.must()
	w.options.ReadAll = true
	w.must()
	_, err := w.fill(t.TempDir())
	ok(t, err)
	same(t, tree(t, w.dir), before)
}

// One file may take minutes: the bar moves meanwhile, and ends where it should.
func TestALargeFileShowsItsProgress(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const size = 20 << 20
	w.write("local_content/aa/bb/large", noise(size, 1))
	w.must()
	moved := func(what string) {
		t.Helper()
		var done []int64
		for _, p := range w.seen {
			done = append(done, p.Done)
		}
		slices.Sort(done)
		if n := len(done); n < 3 || done[0] == 0 || done[0] >= size/2 || done[n-1] != size {
			t.Errorf("%s: %v of %d", what, done, size)
		}
		w.seen = nil
	}
	moved("backup")
	_, err := w.fill(t.TempDir())
	ok(t, err)
	moved("restore")
}
