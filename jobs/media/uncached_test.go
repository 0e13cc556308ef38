package media

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// tmpfs knows no writes that pass the page cache by, and no file system does for
// an old kernel: files are written all the same, and it is asked only once.
func TestAFileSystemThatCannotPassTheCacheBy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Logf("no file system of one's own (%v)", err)
		return
	}
	p, _, err := openPlace(dir, "test")
	defer func() {
		p.close()
		must(t, unix.Unmount(dir, 0))
	}()
	must(t, err)
	write(t, p, dir, "small", uncachedMin-1)
	if p.cached.Load() {
		t.Error("a small file was to pass the cache by")
	}
	write(t, p, dir, "large", 5*uncachedMin+7)
	if !p.cached.Load() {
		t.Error("the next file asks again")
	}
	write(t, p, dir, "next", 5*uncachedMin+7)
}

// Where it is known, and where it was found not to be, it is the same file.
func TestWhatPassesTheCacheByIsAllThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, _, err := openPlace(dir, "test")
	must(t, err)
	defer p.close()
	write(t, p, dir, "one", 5*uncachedMin+7)
	p.cached.Store(true)
	write(t, p, dir, "other", 5*uncachedMin+7)
}

// Other errors are not taken for that.
func TestAFullDiskIsNoFileSystemThatCannotPassTheCacheBy(t *testing.T) {
	t.Parallel()
	var p place
	for _, err := range []error{nil, unix.ENOSPC, unix.EIO, unix.EINTR, unix.EBADF} {
		if p.unsupported(err) || p.cached.Load() {
			t.Errorf("%v is taken for it", err)
		}
	}
}

// write writes a file in two pieces, as one of two blobs, and reads it.
func write(t *testing.T, p *place, dir, name string, size int) {
	t.Helper()
	path := filepath.Join(dir, name)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	must(t, err)
	want := bytes.Repeat([]byte("synapse"), size/7+1)[:size]
	w := &writer{filling: &filling{place: p}}
	half := size / 2
	must(t, w.put(int(f.Fd()), want[:half], 0))
	must(t, w.put(int(f.Fd()), want[half:], int64(half)))
	must(t, f.Close())
	got, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%s has other bytes", name)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Folders are made by several goroutines at once, also where a file is in their
// place.
func TestAFolderIsMadeByManyAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	defer unix.Close(fd) //nolint:errcheck // nothing is written through it
	for range 200 {
		must(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o600))
		const makers = 8
		start, failed := make(chan struct{}), make(chan error, makers)
		for range makers {
			go func() {
				<-start
				failed <- makeFolder(fd, "f")
			}()
		}
		close(start)
		for range makers {
			must(t, <-failed)
		}
		must(t, os.Remove(filepath.Join(dir, "f")))
	}
}
