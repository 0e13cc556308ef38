package media_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/media"
)

// What can't be restored is in the plan, before anything is made.
func TestThePlanSaysWhatTheArchiveHasLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("local_content/aa/bb/large", noise(2<<20, 1)) // a pack of its own
	w.write("local_content/aa/bb/small", "x")
	w.must()
	large, _ := w.placeOf(w.entries()["local_content/aa/bb/large"].Blobs[0])
	small, _ := w.placeOf(w.entries()["local_content/aa/bb/small"].Blobs[0])
	to := t.TempDir()
	ok(t, w.store.Delete(t.Context(), large))
	p, err := w.filler(to).Plan(t.Context())
	if ok(t, err); len(p.Problems) != 0 || len(p.Warnings) != 1 || p.Warnings[0] != "1 file of media can't be restored, whose data are missing in the archive: local_content/aa/bb/large" {
		t.Errorf("%+v", p)
	}
	ok(t, w.store.Delete(t.Context(), small))
	p, err = w.filler(to).Plan(t.Context())
	if ok(t, err); len(p.Problems) != 1 || !strings.HasPrefix(p.Problems[0], "none of the 2 files to be written can be: their data are missing in the archive") {
		t.Errorf("%+v", p)
	}
}

// A class on another volume, by a link: the restore does not go there, and must
// not cut it off.
func TestRestoreReplacesNoLinkedClass(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("local_content/aa/bb/one", "one")
	w.write("local_thumbnails/aa/bb/cc/32-32-image-png-crop", "x")
	w.must()
	to, other := t.TempDir(), t.TempDir()
	link := filepath.Join(to, "local_content")
	ok(t, os.Symlink(other, link))
	p, err := w.filler(to).Plan(t.Context())
	ok(t, err)
	if len(p.Problems) != 1 || !strings.HasPrefix(p.Problems[0], "local_content in "+to+" is a link, in whose place a folder would come: mount") {
		t.Errorf("%q", p.Problems)
	}
	p, err = w.filler(to, func(o *media.FillOptions) { o.Paths = []string{"local_content/aa/bb/one"} }).Plan(t.Context())
	if ok(t, err); len(p.Problems) != 1 {
		t.Errorf("one file: %q", p.Problems)
	}
	p, err = w.filler(to, func(o *media.FillOptions) { o.Paths = []string{"local_thumbnails"} }).Plan(t.Context())
	if ok(t, err); len(p.Problems) != 0 {
		t.Errorf("another class: %q", p.Problems)
	}
}

// A volume is lost, and root restores to a folder that nobody has made: Synapse
// has to get in, whose user is not root.
func TestAFolderThatIsMadeIsSynapses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("local_content/aa/bb/one", "one")
	class := filepath.Join(w.dir, "local_content")
	ok(t, os.Chmod(class, 0o751))
	for _, path := range []string{"", "aa", "aa/bb", "aa/bb/one"} {
		if os.Geteuid() == 0 {
			ok(t, os.Chown(filepath.Join(class, path), 991, 992))
		}
	}
	w.must()
	above := filepath.Join(t.TempDir(), "data")
	made := filepath.Join(above, "media_store")
	var want unix.Stat_t
	ok(t, unix.Stat(class, &want))
	same := func(path string, mode uint32) {
		t.Helper()
		var got unix.Stat_t
		ok(t, unix.Stat(path, &got))
		if got.Mode&0o777 != mode || got.Uid != want.Uid || got.Gid != want.Gid {
			t.Errorf("%s: %o of %d:%d, want %o of %d:%d", path, got.Mode&0o777, got.Uid, got.Gid, mode, want.Uid, want.Gid)
		}
	}
	_, err := w.fill(made)
	ok(t, err)
	same(made, 0o751)
	if info, err := os.Stat(above); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("what it lies in: %v, %v", info.Mode(), err)
	}

	// A new volume is root's, empty but for what ext4 puts there.
	if os.Geteuid() == 0 {
		volume := t.TempDir()
		ok(t, os.Mkdir(filepath.Join(volume, "lost+found"), 0o700))
		ok(t, os.Chmod(volume, 0o755))
		_, err = w.fill(volume)
		ok(t, err)
		same(volume, 0o751)

		ok(t, os.Chown(volume, 0, 0)) // somebody gave it back
		note, err := w.fill(volume)
		if ok(t, err); len(note.Warnings) != 1 || !strings.Contains(note.Warnings[0], "chown 991:992 "+volume) {
			t.Errorf("warnings %q", note.Warnings)
		}
	}

	// One that was there stays as it is.
	ok(t, os.Chmod(made, 0o700))
	ok(t, os.RemoveAll(filepath.Join(made, "local_content")))
	_, err = w.fill(made)
	ok(t, err)
	same(made, 0o700)

	// One file alone, and a run that was killed when it had made the folder.
	ok(t, os.RemoveAll(made))
	ok(t, os.Mkdir(made, 0o750))
	_, err = w.fill(made, func(o *media.FillOptions) { o.Paths = []string{"local_content/aa/bb/one"} })
	ok(t, err)
	same(made, 0o750)
	same(filepath.Join(made, "local_content"), 0o750)
}

// A volume that is mounted over the folder, or unmounted, while it is restored
// to: what was written went where nobody looks.
func TestAFolderThatGoesAwayIsNotRestored(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("local_content/aa/bb/one", "one")
	w.must()
	for says, replace := range map[string]bool{"disappeared": false, "was replaced": true} {
		to := filepath.Join(t.TempDir(), "media_store")
		_, err := w.filler(to).Fill(t.Context(), func(jobs.Progress) {
			if os.Rename(to, to+"-gone") == nil && replace {
				ok(t, os.Mkdir(to, 0o750))
			}
		})
		refused(t, err, "not there: "+to+" "+says)
	}
}

// A file with holes goes where it came from: it takes less than its size.
func TestSparseFilesTakeLittleRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("local_content/aa/bb/sparse", "begin")
	ok(t, os.Truncate(filepath.Join(w.dir, "local_content/aa/bb/sparse"), 12<<20))
	w.must()
	to := t.TempDir()
	if err := unix.Mount("none", to, "tmpfs", 0, "size=8m"); err != nil {
		t.Logf("no file system of one's own (%v): it is restored to one with room", err)
	} else {
		defer func() { ok(t, unix.Unmount(to, 0)) }()
	}
	p, err := w.filler(to).Plan(t.Context())
	if ok(t, err); len(p.Problems) > 0 {
		t.Errorf("%q", p.Problems)
	}
	note, err := w.fill(to)
	if ok(t, err); note.Files != 1 || note.Bytes != 12<<20 {
		t.Errorf("%+v", note)
	}
}

// A class that is a volume of its own has room of its own.
func TestTheRoomIsThatOfEachVolume(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("local_content/aa/bb/one", noise(5<<20, 1))
	w.write("local_thumbnails/aa/bb/one/32-32-image-png-crop", "x")
	w.must()
	to := t.TempDir()
	class := filepath.Join(to, "local_content")
	for _, v := range []struct{ dir, size string }{{to, "size=1m"}, {class, "size=8m"}} {
		ok(t, os.MkdirAll(v.dir, 0o750))
		if err := unix.Mount("none", v.dir, "tmpfs", 0, v.size); err != nil {
			t.Logf("no file system of one's own (%v): no room is short", err)
			return
		}
		defer func() { ok(t, unix.Unmount(v.dir, 0)) }()
	}
	p, err := w.filler(to).Plan(t.Context())
	if ok(t, err); len(p.Problems) > 0 {
		t.Errorf("%q", p.Problems)
	}
	_, err = w.fill(to)
	ok(t, err)
	same(t, tree(t, to), tree(t, w.dir))

	w.write("local_content/aa/bb/two", noise(5<<20, 2))
	w.must()
	p, err = w.filler(to).Plan(t.Context())
	if ok(t, err); len(p.Problems) != 1 || !strings.HasPrefix(p.Problems[0], class+" has room for ") {
		t.Errorf("%q", p.Problems)
	}
}
