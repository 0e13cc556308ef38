package dir_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/synapse-maint/synapse-maint/storage"
)

// When a put has returned, no power failure takes its bytes back: the kernel has
// none left to write.
func TestAPutIsOnTheDisk(t *testing.T) {
	t.Parallel()
	s, body := open(t), bytes.Repeat([]byte("x"), 1<<20)
	written, synced := filepath.Join(t.TempDir(), "written"), filepath.Join(t.TempDir(), "synced")
	for _, name := range []string{written, synced} {
		f, err := os.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = f.Write(body); err == nil && name == synced {
			err = f.Sync()
		}
		if err = errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
	// A file system in memory has always all to write, an overlay's says nothing.
	if waiting(t, written) == 0 || waiting(t, synced) > 0 {
		t.Log("the kernel does not tell here what it has to write yet")
		return
	}
	if _, err := s.Put(t.Context(), "a/key", body, storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := waiting(t, filepath.Join(s.String(), "a", "key")); n > 0 {
		t.Errorf("%d pages are in memory only", n)
	}
}

// waiting is how many pages of a file are not on the disk yet, by cachestat(2) of
// Linux 6.5 and newer; 0 where nobody knows.
func waiting(t *testing.T, name string) uint64 {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var st unix.Cachestat_t
	if err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &st, 0); err != nil {
		t.Log(err)
	}
	return st.Dirty + st.Writeback
}
