package endtoend

import (
	"path/filepath"
	"strings"
	"testing"
)

// A flipped bit outside of the data is found, too, by its object's name, and
// keeps nobody from a restore that needs none of it.
func TestAFlippedBitBesideTheDataIsNamedAndHindersNoRestore(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		name := map[bool]string{false: "plain", true: "encrypted"}[encrypted]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := tinyArchive(t, encrypted)
			want := w.fingerprint(w.name)
			w.done("verify")
			for _, file := range []string{"archive.json", "archive.copy.json", "rescue.sh", w.files("checks")[0], w.files("index")[0], w.files("index.copy")[0]} {
				path := file
				if !filepath.IsAbs(path) {
					path = filepath.Join(w.folder, homeserver, file)
				}
				w.goOn()
				w.flip(path)
				said := w.fails(exitFailed, []string{filepath.Base(path), "damaged"}, "verify")
				t.Log(said)
				w.done(w.restore()...)
				if got := w.fingerprint(w.name); got != want {
					t.Errorf("%s: restored %s, want %s", file, got, want)
				}
				w.flip(path)
			}
			w.done("verify", "--read-data")
			w.done("backup")
		})
	}
}

// tinyArchive is a tiny world with one recovery point.
func tinyArchive(t *testing.T, encrypted bool) *world {
	t.Helper()
	w := tinyWorldOf(t, encrypted)
	w.done("backup")
	return w
}

// A record of the journal that is damaged is named, and stops no run.
func TestADamagedJournalIsNamedAndStopsNothing(t *testing.T) {
	t.Parallel()
	w := tinyArchive(t, false)
	w.done(w.restore()...)
	for _, path := range append(w.files("journal/backup"), w.files("journal/restore")...) {
		w.cut(path)
		record := strings.TrimSuffix(filepath.Base(path), ".json")
		if said := w.done("runs", "-o", "json"); !strings.Contains(said, record) || !strings.Contains(said, "is damaged") {
			t.Errorf("runs does not name the damaged record: %s", said)
		}
	}
	want := w.fingerprint(w.name)
	w.done("backup")
	w.goOn()
	w.done(w.restore()...)
	if got := w.fingerprint(w.name); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
}
