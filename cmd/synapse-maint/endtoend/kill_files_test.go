package endtoend

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

// filesWorld is a world of media alone, with a recovery point of them.
func filesWorld(t *testing.T) (*world, *testbed.Media) {
	t.Helper()
	w := emptyWorld(t, testbed.Postgres(t))
	dir := filepath.Join(w.dir, "media_store")
	w.ok(os.Mkdir(dir, 0o755))
	m, err := testbed.FillMedia(t.Context(), dir, testbed.SmallMedia())
	w.ok(err)
	w.set("SYNAPSE_MAINT_MEDIA=" + dir)
	w.done("init")
	w.done("backup", "--only", "media")
	return w, m
}

// kept is a checksum of the media that recovery points have by default.
func (w *world) kept(dir string) string {
	w.t.Helper()
	var lines []string
	for _, class := range []string{"local_content", "local_thumbnails"} {
		w.ok(filepath.WalkDir(filepath.Join(dir, class), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			lines = append(lines, fmt.Sprintf("%s %x", strings.TrimPrefix(path, dir), sha256.Sum256(data)))
			return err
		}))
	}
	slices.Sort(lines)
	return fmt.Sprintf("%d files, %x", len(lines), sha256.Sum256([]byte(strings.Join(lines, "\n"))))
}

// restoresFiles restores the newest point and compares it with the media store.
func (w *world) restoresFiles(m *testbed.Media) {
	w.t.Helper()
	dir := filepath.Join(w.dir, "restored")
	w.ok(os.RemoveAll(dir))
	w.done("restore", "--only", "media", "--media-path", dir, "--yes")
	if got, want := w.kept(dir), w.kept(m.Dir); got != want {
		w.t.Errorf("restored %s, want %s", got, want)
	}
}

// long is how long a command takes that is not killed.
func (w *world) long(args ...string) time.Duration {
	w.t.Helper()
	began := time.Now()
	w.done(args...)
	return time.Since(began)
}

func TestABackupOfMediaKilledAtRandomLeavesNoBrokenPoint(t *testing.T) {
	t.Parallel()
	w, m := filesWorld(t)
	backup := []string{"backup", "--only", "media", "--read-all"}
	d := w.long(backup...)
	for _, part := range instants() {
		w.ok(m.Change(t.Context(), 3))
		w.killAfter(time.Duration(part*float64(d)), backup...)
	}
	w.done("verify", "--read-data")
	w.done(backup...)
	w.restoresFiles(m)
}

func TestARestoreOfMediaKilledAtRandomGoesOn(t *testing.T) {
	t.Parallel()
	w, m := filesWorld(t)
	dir := filepath.Join(w.dir, "killed")
	restore := []string{"restore", "--only", "media", "--media-path", dir, "--yes"}
	d := w.long(restore...)
	for _, part := range instants() {
		w.ok(os.RemoveAll(dir))
		w.killAfter(time.Duration(part*float64(d)), restore...)
		w.done(restore...)
		if got, want := w.kept(dir), w.kept(m.Dir); got != want {
			t.Errorf("killed at %.2f: restored %s, want %s", part, got, want)
		}
		// What a killed one was writing is gone.
		_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, _ error) error {
			if e != nil && strings.HasPrefix(e.Name(), ".") {
				t.Errorf("killed at %.2f: %s is left", part, path)
			}
			return nil
		})
	}
}

func TestACopyKilledAtRandomGoesOn(t *testing.T) {
	t.Parallel()
	w, m := filesWorld(t)
	for range 3 {
		w.ok(m.Change(t.Context(), 5))
		w.done("backup", "--only", "media")
	}
	whole := filepath.Join(w.dir, "whole")
	w.ok(os.Mkdir(whole, 0o700))
	d := w.long("copy", "--all", "--to", "file://"+whole)
	other := filepath.Join(w.dir, "other")
	for _, part := range instants() {
		w.ok(os.RemoveAll(other))
		w.ok(os.Mkdir(other, 0o700))
		w.killAfter(time.Duration(part*float64(d)), "copy", "--all", "--to", "file://"+other)
		w.done("copy", "--all", "--to", "file://"+other)
		there := w.with("SYNAPSE_MAINT_STORE=file://" + other)
		if got, want := there.points(), w.points(); !slices.Equal(got, want) {
			t.Errorf("killed at %.2f: the copy has the points %v, want %v", part, got, want)
		}
	}
	there := w.with("SYNAPSE_MAINT_STORE=file://" + other)
	there.done("verify", "--read-data")
	there.restoresFiles(m)
}

func TestAPruneKilledAtRandomKeepsWhatIsNeeded(t *testing.T) {
	t.Parallel()
	w, m := filesWorld(t)
	prune := []string{"prune", "--keep-last", "2", "--yes"}
	d := w.long(prune...)
	for _, part := range instants() {
		w.ok(m.Change(t.Context(), 3))
		w.done("backup", "--only", "media")
		w.killAfter(time.Duration(part*float64(d)), prune...)
		w.done(prune...)
		if n := len(w.points()); n != 2 {
			t.Errorf("killed at %.2f: %d points are left, not 2", part, n)
		}
	}
	w.done("verify", "--read-data")
	w.restoresFiles(m)
}
