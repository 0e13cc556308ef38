package media

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// With openat2 and, on old kernels, name by name: no link is followed.
func TestNothingIsOpenedThroughALink(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), t.TempDir()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "a/b"), 0o750),
		os.WriteFile(filepath.Join(dir, "a/b/c"), []byte("inside"), 0o600),
		os.WriteFile(filepath.Join(outside, "c"), []byte("outside"), 0o600),
		os.Symlink(outside, filepath.Join(dir, "a/way-out")),
		os.Symlink(filepath.Join(outside, "c"), filepath.Join(dir, "a/b/link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, old := range []bool{false, true} {
		t.Run(fmt.Sprintf("old=%v", old), func(t *testing.T) {
			tr, err := openTree(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer tr.close()
			tr.walked.Store(old)
			for path, want := range map[string]error{
				"a/b/c": nil, "": nil, "a/b/missing": unix.ENOENT, "a/way-out/c": unix.ENOTDIR, "a/b/link": unix.ELOOP,
			} {
				fd, err := tr.at(path, unix.O_RDONLY)
				if err == nil {
					_ = unix.Close(fd)
				}
				if !errors.Is(err, want) && !(errors.Is(want, unix.ENOTDIR) && errors.Is(err, unix.ELOOP)) {
					t.Errorf("%q: %v, not %v", path, err, want)
				}
			}
		})
	}
}

// Synapse removes folders of thumbnails and previews as it goes.
func TestAFolderRemovedBeforeItIsReadIsGone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tr, err := openTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	if err := os.Mkdir(filepath.Join(dir, "aa"), 0o750); err != nil {
		t.Fatal(err)
	}
	fd, err := tr.at("aa", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "aa")); err != nil {
		t.Fatal(err)
	}
	w, s := &walker{tree: tr}, &strand{out: make(chan []found, 1), ends: t.Context().Done()}
	const below = 3 // the levels whose folders are walked at once
	if err := w.folder(t.Context(), s, fd, "aa", below); err != nil {
		t.Fatal(err)
	}
	if len(s.now) != 1 || !s.now[0].gone || s.now[0].Path != "aa" {
		t.Errorf("%+v", s.now)
	}
}

// A file that is a link by the time its mode is set, as who may write to the
// media store can have it: root must not set that of what it leads to.
func TestModesAreNotSetThroughALink(t *testing.T) {
	t.Parallel()
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "private")
	for _, err := range []error{os.WriteFile(outside, nil, 0o600), os.Symlink(outside, filepath.Join(dir, "file"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	p, _, err := openPlace(dir, "run")
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	e := archive.Entry{Path: "file", Mode: 0o666, UID: -1, GID: -1}
	if err := p.adjust(&e, &found{Entry: archive.Entry{Path: "file", Mode: 0o600}}); !errors.Is(err, unix.ELOOP) {
		t.Errorf("%v", err)
	}
	if st, err := os.Stat(outside); err != nil || st.Mode() != 0o600 {
		t.Errorf("%v, %v", st, err)
	}
	fifo := filepath.Join(dir, "fifo") // as on old kernels, and nobody waits for its other end
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := chmodOpened(p.fd, "fifo", 0o640); err != nil {
		t.Error(err)
	}
	if st, err := os.Stat(fifo); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", st, err)
	}
}
