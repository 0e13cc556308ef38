package media

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
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
