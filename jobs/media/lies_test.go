package media_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// forge takes a point whose list has one file beside a good one: of these
// blobs, and with what else the entry says of it.
func (w *world) forge(e archive.Entry, blobs ...string) {
	t := w.t
	t.Helper()
	aw, err := w.job.Writer(t.Context(), archive.WriterOptions{})
	ok(t, err)
	defer aw.Abort()
	add := func(text string) archive.ID {
		id, _, err := aw.Add(t.Context(), []byte(text))
		ok(t, err)
		return id
	}
	for _, text := range blobs {
		e.Blobs = append(e.Blobs, add(text))
	}
	e.Path, e.Mode, e.Modified = "local_content/aa/bb/forged", 0o640, old()
	good := archive.Entry{Path: "local_content/aa/bb/good", Size: 4, SHA256: sumOf("good"), Blobs: []archive.ID{add("good")}, Mode: 0o640, Modified: old()}
	l := aw.Listing()
	ok(t, l.Add(t.Context(), e))
	ok(t, l.Add(t.Context(), good))
	m := &archive.Manifest{Homeserver: server, Started: w.taken, Taken: w.taken, Finished: w.taken, Media: &archive.Media{Files: 2, Classes: []archive.Class{{Name: "local_content", Files: 2}}}}
	m.Media.Listing, err = l.Close(t.Context())
	ok(t, err)
	_, err = aw.Close(t.Context())
	ok(t, err)
	_, err = w.job.Commit(t.Context(), m)
	ok(t, err)
	w.last = m
}

// Each blob is right by its own name: that they are the file, says its SHA-256
// alone.
func TestAFileIsWhatThePointHasRecorded(t *testing.T) {
	t.Parallel()
	hole := strings.Repeat("\x00", 8192)
	for name, c := range map[string]struct {
		entry archive.Entry
		blobs []string
	}{
		"several blobs, another sum":         {archive.Entry{Size: 6, SHA256: sumOf("abcdeF")}, []string{"abc", "def"}},
		"several blobs, in another order":    {archive.Entry{Size: 6, SHA256: sumOf("defabc")}, []string{"abc", "def"}},
		"several blobs, another size":        {archive.Entry{Size: 7, SHA256: sumOf("abcdef")}, []string{"abc", "def"}},
		"several blobs, holes, another sum":  {archive.Entry{Size: 8195, SHA256: sumOf(hole + "abC"), Sparse: true}, []string{hole, "abc"}},
		"several blobs, holes, another size": {archive.Entry{Size: 9000, SHA256: sumOf(hole + "abc"), Sparse: true}, []string{hole, "abc"}},
		"one blob, another sum":              {archive.Entry{Size: 3, SHA256: sumOf("abC")}, []string{"abc"}},
		"one blob, another size":             {archive.Entry{Size: 4, SHA256: sumOf("abc")}, []string{"abc"}},
		"no blob, another sum":               {archive.Entry{SHA256: sumOf("abc")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.forge(c.entry, c.blobs...)
			to := t.TempDir()
			note, err := w.fill(to)
			incomplete(t, err, "1 file could not be restored", "local_content/aa/bb/forged", "its bytes are not those that the point has recorded")
			if note.Skipped != 1 || note.Files != 1 || note.Wrong != 0 {
				t.Errorf("%+v", note)
			}
			if got := names(tree(t, to)); got != "local_content local_content/aa local_content/aa/bb local_content/aa/bb/good" {
				t.Errorf("there are %s", got)
			}
		})
	}
}

// Whoever may write to the media store must not hold a backup up: a FIFO comes
// in the place of a file that is about to be read, and nobody writes to it.
func TestAFIFOInAFilesPlaceHoldsNobody(t *testing.T) {
	t.Parallel()
	const name = "local_content/zz/swapped"
	for range 10 { // until it comes after the walk, and before the read
		w := newWorld(t)
		for i := range 6 {
			w.write(fmt.Sprintf("local_content/aa/bb/f%d", i), noise(6<<20, i))
		}
		w.write(name, "x")
		w.options.Jobs = 1
		path := filepath.Join(w.dir, name)
		w.during(puts, func() {
			ok(t, os.Remove(path))
			ok(t, unix.Mkfifo(path, 0o600))
		})
		waits := time.AfterFunc(30*time.Second, func() {
			t.Error("it waits for the other end of the FIFO")
			if f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil {
				_ = f.Close()
			}
		})
		m := w.must()
		if !waits.Stop() {
			return
		}
		if m.Media.Vanished.Number() == 1 {
			if first(m.Media.Vanished) != name || m.Media.Files != 6 {
				t.Errorf("%+v", m.Media)
			}
			return
		}
	}
	t.Error("it was never replaced in time")
}

// The disk takes everything into memory and can't write it: a file system in an
// image on another one that is full. What a power cut would take is not restored.
func TestADiskThatDoesNotKeepWhatItTook(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("local_content/aa/bb/f", noise(20<<20, 1))
	w.must()
	under, to := t.TempDir(), t.TempDir()
	if err := unix.Mount("none", under, "tmpfs", 0, "size=8m"); err != nil {
		t.Logf("no file system of one's own (%v): no disk fails", err)
		return
	}
	defer func() { ok(t, unix.Unmount(under, 0)) }()
	image := filepath.Join(under, "image")
	ok(t, os.WriteFile(image, nil, 0o600))
	ok(t, os.Truncate(image, 64<<20))
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop", image, to}} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Logf("%s (%v): no disk fails: %s", args[0], err, out)
			return
		}
	}
	defer func() { ok(t, unix.Unmount(to, 0)) }()
	_, err := w.fill(to)
	for _, known := range []error{unix.EIO, unix.ENOSPC, unix.EROFS} { // as the kernel comes to know of it
		if errors.Is(err, known) {
			return
		}
	}
	t.Errorf("error %v", err)
}

// Root restores: a new owner costs a file its set-ID bits, whether it is written
// or was there, with the owner alone wrong.
func TestSetIDBitsComeAfterTheOwner(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Log("only root gives files to others")
		return
	}
	w := newWorld(t)
	w.write("local_content/aa/bb/tool", "x")
	path := filepath.Join(w.dir, "local_content/aa/bb/tool")
	ok(t, os.Chown(path, 991, 992))
	ok(t, unix.Chmod(path, 0o6755))
	w.must()
	want := tree(t, w.dir)
	to := t.TempDir()
	for _, files := range []int64{1, 0} { // written, and there already
		note, err := w.fill(to)
		ok(t, err)
		if note.Files != files {
			t.Errorf("%+v", note)
		}
		same(t, tree(t, to), want)
		there := filepath.Join(to, "local_content/aa/bb/tool")
		ok(t, os.Chown(there, 0, 0))
		ok(t, unix.Chmod(there, 0o6755))
	}
}
