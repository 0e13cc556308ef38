package media_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/synapse-maint/synapse-maint/jobs/media"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/mem"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// inBucket puts files where synapse-s3-storage-provider keeps them.
func (w *world) inBucket(prefix string, files map[string]string) *mem.Store {
	w.t.Helper()
	s := mem.New()
	for path, text := range files {
		put(w.t, s, prefix+path, text)
	}
	w.options.Dir, w.options.Store, w.options.Name, w.options.Prefix = "", s, "s3://media", prefix
	w.options.Classes = synapse.MediaClasses()
	return s
}

func TestMediaInABucket(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	files := map[string]string{
		"local_content/aa/bb/cc":                          "picture",
		"local_content/aa/bb/big":                         strings.Repeat("0123456789", 2<<20),
		"local_content/aa/bb/empty":                       "",
		"local_thumbnails/aa/bb/cc/32-32-image-png-crop":  "t",
		"local_thumbnails/aa/bb/cc/32-320-image-png-crop": "t",
		// In the order of bytes the dots and dashes come before the slash.
		"remote_content/matrix.org/aa/bb/cc":    "1",
		"remote_content/matrix.org.uk/aa/bb/cc": "2",
		"remote_content/matrix.org-x/aa/bb/cc":  "3",
		"remote_content/matrix/aa/bb/cc":        "4",
		"remote_content/matrix0/aa/bb/cc":       "5",
		"remote_content/matrix.net/aa/bb/cc":    "8",
		"remote_content/m-a/aa/bb/cc":           "6",
		"remote_content/m/aa/bb/cc":             "7",
	}
	for i := range 300 {
		files[fmt.Sprintf("remote_content/hs%d.example.org/a%d/b-%d/f,%d", i%7, i%3, i%11, i)] = fmt.Sprint(i)
	}
	s := w.inBucket("media/store/", files)
	put(t, s, "elsewhere/file", "not below the prefix")
	m := w.must()
	if int(m.Media.Files) != len(files) || m.Media.Source != "s3://media" {
		t.Errorf("%+v", m.Media)
	}
	to := t.TempDir()
	_, err := w.fill(to)
	ok(t, err)
	for path, text := range files {
		b, err := os.ReadFile(filepath.Join(to, path))
		st, err2 := os.Stat(filepath.Join(to, path))
		if err != nil || err2 != nil || string(b) != text || st.Mode() != 0o640 {
			t.Errorf("%s: %v, %d bytes", path, err, len(b))
		}
	}
	w.must()
	if w.stats.NewBytes != 0 {
		t.Errorf("nothing changed: %+v", w.stats)
	}
	v, err := media.NewPart(w.options).Preview(t.Context())
	if err != nil || v.Files != m.Media.Files || v.Bytes != m.Media.Bytes {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestEmptyBucketIsNoBackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.inBucket("", map[string]string{"local_content/aa/bb/cc": "x", "url_cache/2026-11-25/abc": "y"})
	w.must()
	ok(t, s.Delete(t.Context(), "url_cache/2026-11-25/abc"))
	w.must()
	ok(t, s.Delete(t.Context(), "local_content/aa/bb/cc"))
	_, err := w.take()
	refused(t, err, "s3://media is empty", "1 file")
}

// A file that another machine deletes on an NFS server while it is read is
// stale, and then not there: it vanished. One that stays stale is a server's
// trouble.
func TestAStaleFileIsLookedForAgain(t *testing.T) {
	t.Parallel()
	for _, deleted := range []bool{true, false} {
		w := newWorld(t)
		s := w.inBucket("", map[string]string{"local_content/aa/bb/cc": "x", "local_content/aa/bb/dd": "y"})
		asked := 0
		w.options.Store = storetest.Faulty(s, func(c storetest.Call) storetest.Fault {
			if c.Op != storetest.Get || c.Key != "local_content/aa/bb/cc" {
				return storetest.Fault{}
			}
			if asked++; asked > 1 && deleted {
				return storetest.Fault{Err: fs.ErrNotExist}
			}
			return storetest.Fault{Err: unix.ESTALE}
		})
		m, err := w.take()
		if !deleted {
			refused(t, err, "stale")
			continue
		}
		if ok(t, err); m.Media.Files != 1 || m.Media.Vanished.Number() != 1 {
			t.Errorf("%+v", m.Media)
		}
	}
}

// What comes back from a bucket belongs to whoever has the media folder.
func TestFilesWithoutOwnerGetThatOfTheFolder(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.inBucket("", map[string]string{"local_content/aa/bb/cc": "x"})
	w.must()
	to := t.TempDir()
	ok(t, os.Chown(to, 991, 992))
	_, err := w.fill(to)
	ok(t, err)
	for path, text := range tree(t, to) {
		if !strings.Contains(text, " 991:992 ") {
			t.Errorf("%s: %s", path, text)
		}
	}
}
