package media_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/media"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// Velero completed backups whose volume was absent: an unmounted volume is an
// empty folder, or none.
func TestAbsentVolumeIsNoBackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 12 {
		w.write(fmt.Sprintf("local_content/aa/bb/f%d", i), "x")
	}
	w.write("local_thumbnails/aa/bb/cc/32-32-image-png-crop", "x")
	w.must()
	ok(t, os.Rename(filepath.Join(w.dir, "local_content"), filepath.Join(t.TempDir(), "aside")))
	_, err := w.take()
	refused(t, err, w.dir, "no local_content", "12 files", "mounted?")
	ok(t, os.RemoveAll(filepath.Join(w.dir, "local_thumbnails")))
	_, err = w.take()
	refused(t, err, "mounted?")
	w.options.AllowEmpty = true
	if m := w.must(); m.Media.Files != 0 {
		t.Errorf("%d files", m.Media.Files)
	}
	ok(t, os.RemoveAll(w.dir))
	_, err = w.take()
	refused(t, err, w.dir, "does not exist", "mounted?")
}

// The first backup has no point before it to compare with, but the database.
func TestAWrongFolderIsNoFirstBackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ok(t, os.MkdirAll(filepath.Join(w.dir, "local_content"), 0o750))
	var rows []synapse.MediaRow
	for i := range 10 {
		rows = append(rows, row(fmt.Sprintf("local_content/aa/bb/f%d", i), "x"))
	}
	_, err := w.take(rows...)
	refused(t, err, w.dir, "none of the 10 files of local content that the database knows", "right folder", "--allow-empty-media")
	w.options.AllowEmpty = true
	if m := w.must(rows...); m.Media.Proof.Lost.Number() != 10 {
		t.Errorf("%+v", m.Media.Proof)
	}
}

// Also of a small homeserver: what it has is all that there is.
func TestOneLocalFileThatIsGoneIsNoBackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("local_content/aa/bb/f", "x")
	w.write("local_thumbnails/aa/bb/cc/32-32-image-png-crop", "x")
	w.must()
	ok(t, os.RemoveAll(filepath.Join(w.dir, "local_content")))
	_, err := w.take()
	refused(t, err, w.dir, "no local_content", "1 file", "mounted?")
}

// Files that did not change are not read, unless their bytes are in the archive
// no more.
func TestUnchangedFilesAreStoredAgainWhereTheirPackIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("local_content/aa/bb/f", "some bytes")
	w.must()
	key, _ := w.placeOf(w.entries()["local_content/aa/bb/f"].Blobs[0])
	ok(t, w.store.Delete(t.Context(), key))
	w.must()
	to := t.TempDir()
	_, err := w.fill(to)
	ok(t, err)
	if got, err := os.ReadFile(filepath.Join(to, "local_content/aa/bb/f")); err != nil || string(got) != "some bytes" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestNoStoreIsConfigured(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.options.Dir = ""
	_, err := w.take()
	refused(t, err, "--media")
}

// A link in the place of a class would be a point without the class.
func TestLinkedClassIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ok(t, os.Symlink(t.TempDir(), filepath.Join(w.dir, "local_content")))
	_, err := w.take()
	refused(t, err, "local_content is a link", "mount")
}

func TestLinkToTheMediaFolderIsFollowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("local_content/aa/bb/cc", "x")
	link := filepath.Join(t.TempDir(), "link")
	ok(t, os.Symlink(w.dir, link))
	w.options.Dir = link
	if m := w.must(); m.Media.Files != 1 {
		t.Error(m.Media.Files)
	}
}

// hooked calls back when the archive is asked for the first blob's pack, or
// whatever a test hangs into the run.
func (w *world) during(when func(call storetest.Call) bool, do func()) {
	done := false
	faulty := storetest.Faulty(w.store, func(c storetest.Call) storetest.Fault {
		if !done && when(c) {
			done = true
			do()
		}
		return storetest.Fault{}
	})
	var err error
	w.job, err = archive.Open(w.t.Context(), faulty)
	ok(w.t, err)
}

func puts(c storetest.Call) bool { return c.Op == storetest.Put && strings.HasPrefix(c.Key, "packs/") }

// noise is bytes that don't compress.
func noise(n, seed int) string {
	b := make([]byte, n)
	x := uint64(seed)*2654435761 + 88172645463325252
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x >> 32)
	}
	return string(b)
}

func TestFolderThatDisappearsMidWalk(t *testing.T) {
	t.Parallel()
	for name, do := range map[string]func(w *world){
		"removed":  func(w *world) { ok(t, os.Rename(w.dir, w.dir+"-gone")) },
		"replaced": func(w *world) { ok(t, os.Rename(w.dir, w.dir+"-gone")); ok(t, os.Mkdir(w.dir, 0o750)) },
		"remounted": func(w *world) {
			ok(t, os.Rename(w.dir, w.dir+"-gone"))
			ok(t, os.Symlink("/proc", w.dir)) // another device
		},
		"class removed": func(w *world) { ok(t, os.Rename(w.dir+"/local_content", w.dir+"-gone")) },
		"class replaced": func(w *world) {
			ok(t, os.Rename(w.dir+"/local_content", w.dir+"-gone"))
			ok(t, os.Mkdir(w.dir+"/local_content", 0o750))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			for i := range 5 {
				w.write(fmt.Sprintf("local_content/aa/bb/f%d", i), noise(6<<20, i))
			}
			w.during(puts, func() { do(w) })
			m, err := w.take()
			refused(t, err, w.dir)
			if m.Media != nil {
				t.Error("the point has media")
			}
		})
	}
}

// A part that fails does not take the whole point along: the archive's writer
// serves the others still, though blobs were on their way to it.
func TestALinkedClassSparesTheWriter(t *testing.T) {
	t.Parallel()
	for range 20 {
		w := newWorld(t)
		for i := range 24 {
			w.write(fmt.Sprintf("local_content/aa/bb/f%02d", i), noise(1<<20, i))
		}
		ok(t, os.Symlink(t.TempDir(), filepath.Join(w.dir, "local_thumbnails")))
		_, err := w.take()
		refused(t, err, "is a link")
		ok(t, w.spoiled)
	}
}

// source tests: a file that grows each time it is read.
func TestFileThatChangesWhileItIsRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 5 {
		w.write(fmt.Sprintf("local_content/aa/bb/f%d", i), noise(6<<20, i))
	}
	w.write("local_content/zz/log", "")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { // Synapse, writing an upload
		defer close(done)
		f, err := os.OpenFile(filepath.Join(w.dir, "local_content/zz/log"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return
		}
		defer f.Close()
		piece := []byte(noise(1<<10, 3))
		for n := 0; n < 64<<20; n += len(piece) {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := f.Write(piece); err != nil {
				return
			}
		}
	}()
	m, err := w.take()
	close(stop)
	<-done
	ok(t, err)
	if m.Media.Files != 6 {
		t.Errorf("%d files", m.Media.Files)
	}
	e := w.entries()["local_content/zz/log"]
	if m.Media.Unstable.Number() == 1 && (len(w.warned) != 1 || !strings.Contains(w.warned[0], "local_content/zz/log")) {
		t.Errorf("%q", w.warned)
	}
	to := t.TempDir()
	_, err = w.fill(to)
	ok(t, err)
	if st, err := os.Stat(filepath.Join(to, "local_content/zz/log")); err != nil || st.Size() != e.Size {
		t.Errorf("%v, not %d bytes", err, e.Size)
	}
}

func put(t testing.TB, s storage.Store, key, text string) {
	t.Helper()
	_, err := s.Put(t.Context(), key, []byte(text), storage.PutOptions{})
	ok(t, err)
}

// Files that vanish between the list and the read, or change twice, are noted,
// and no failure; once is nothing at all.
func TestVanishedAndUnstableFilesAreNoted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := mem.New()
	for _, name := range []string{"calm", "gone", "once", "twice"} {
		put(t, s, "local_content/aa/bb/"+name, name)
	}
	reads := map[string]int{}
	w.options.Jobs = 1
	w.options.Store, w.options.Name, w.options.Dir = storetest.Faulty(s, func(c storetest.Call) storetest.Fault {
		if c.Op != storetest.Get {
			return storetest.Fault{}
		}
		name := filepath.Base(c.Key)
		reads[name]++
		switch {
		case name == "gone":
			_ = s.Delete(context.Background(), c.Key)
		case name == "once" && reads[name] == 1, name == "twice":
			return storetest.Fault{Err: fmt.Errorf("get %s: %w", c.Key, storage.ErrChanged)}
		}
		return storetest.Fault{}
	}), "s3://media", ""
	m := w.must()
	if m.Media.Files != 2 || m.Media.Vanished.Number() != 1 || m.Media.Odd.Number() != 1 || len(w.warned) != 2 {
		t.Errorf("%+v, warnings %q", m.Media, w.warned)
	}
	if reads["gone"] != 2 || reads["twice"] != 2 {
		t.Errorf("read %v times", reads)
	}
}

// A store of the media that does not answer is no file that can't be read.
func TestBucketThatFailsIsAFailedPart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := mem.New()
	put(t, s, "local_content/aa/bb/cc", "x")
	for _, op := range []storetest.Op{storetest.Get, storetest.List} {
		w.options.Store, w.options.Name = storetest.Faulty(s, func(c storetest.Call) storetest.Fault {
			if c.Op == op {
				return storetest.Fault{Err: errors.New("503 slow down")}
			}
			return storetest.Fault{}
		}), "s3://media"
		m, err := w.take()
		refused(t, err, "503")
		if m.Media != nil {
			t.Error("the point has media")
		}
	}
}

// What can't be read is not in the point, which must not pass for whole: nobody
// would look, and retention drop the last that had it. It is not lost, though.
// Permissions that keep nearly everything from being read are no matter of
// single files.
func TestWhatCanNotBeReadIsNoSuccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := mem.New()
	var rows []synapse.MediaRow
	for i := range 5 {
		path := fmt.Sprintf("local_content/aa/bb/f%d", i)
		put(t, s, path, "x")
		rows = append(rows, row(path, "x"))
	}
	denied := 1
	w.options.Store, w.options.Name = storetest.Faulty(s, func(c storetest.Call) storetest.Fault {
		if c.Op == storetest.Get && strings.HasSuffix(c.Key, "f4") || c.Op == storetest.Get && denied > 1 {
			return storetest.Fault{Err: os.ErrPermission}
		}
		return storetest.Fault{}
	}), "s3://media"
	m, err := w.take(rows...)
	if !errors.Is(err, jobs.ErrIncomplete) || !strings.Contains(err.Error(), "1 path can't be read (permission denied): local_content/aa/bb/f4: run this as") {
		t.Error(err)
	}
	if m.Media.Odd.Number() != 1 || m.Media.Files != 4 || m.Media.Proof.Missing.Number() != 0 || len(w.warned) != 1 || !strings.Contains(w.warned[0], "local_content/aa/bb/f4") {
		t.Errorf("%+v, %q", m.Media, w.warned)
	}
	denied = 5
	_, err = w.take()
	refused(t, err, "most of s3://media can't be read", "root")
}

// What can't be read looks as if it were gone, and its volume not mounted: the
// reason that is known is said.
func TestAClassThatCanNotBeReadIsNotCalledUnmounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := mem.New()
	put(t, s, "local_content/aa/bb/f", "x")
	put(t, s, "local_thumbnails/aa/bb/cc/32-32-image-png-crop", "x")
	w.options.Store, w.options.Name, w.options.ReadAll = s, "s3://media", true
	w.must()
	w.options.Store = storetest.Faulty(s, func(c storetest.Call) storetest.Fault {
		if c.Op == storetest.Get && strings.HasPrefix(c.Key, "local_content/") {
			return storetest.Fault{Err: os.ErrPermission}
		}
		return storetest.Fault{}
	})
	_, err := w.take()
	refused(t, err, "1 path can't be read (permission denied): local_content/aa/bb/f: run this as Synapse's user or as root")
}

// A run that is interrupted anywhere lists nothing, and the next one is whole.
func TestInterruptedAnywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 40 {
		w.write(fmt.Sprintf("local_content/a%d/bb/f%d", i%7, i), noise(1<<20, i))
	}
	for stop := range 6 {
		ctx, cancel := context.WithCancelCause(t.Context())
		n := 0
		faulty := storetest.Faulty(w.store, func(storetest.Call) storetest.Fault {
			if n++; n > 4+stop*2 {
				cancel(errors.New("killed"))
			}
			return storetest.Fault{}
		})
		var err error
		w.job, err = archive.Open(t.Context(), faulty)
		ok(t, err)
		p := media.NewPart(w.options)
		aw, err := w.job.Writer(t.Context(), archive.WriterOptions{PackSize: 2 << 20})
		ok(t, err)
		m := &archive.Manifest{Taken: time.Now()}
		if _, err := p.Take(ctx, aw, nil, m, func(jobs.Progress) {}); err == nil && ctx.Err() != nil && m.Media == nil {
			t.Error("neither an error nor media")
		}
		aw.Abort()
		cancel(nil)
	}
	var err error
	w.job, err = archive.Open(t.Context(), w.store)
	ok(t, err)
	w.must()
	to := t.TempDir()
	_, err = w.fill(to)
	ok(t, err)
	same(t, tree(t, to), tree(t, w.dir))
}
