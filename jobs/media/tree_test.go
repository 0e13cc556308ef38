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
