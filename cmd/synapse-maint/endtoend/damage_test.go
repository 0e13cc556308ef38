package endtoend

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// files are those of an archive below a folder.
func (w *world) files(folder string) (paths []string) {
	w.t.Helper()
	w.ok(filepath.WalkDir(filepath.Join(w.folder, homeserver, folder), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, path)
		}
		return err
	}))
	return paths
}

// cut leaves half of a file.
func (w *world) cut(path string) {
	w.t.Helper()
	text, err := os.ReadFile(path)
	w.ok(err)
	w.ok(os.WriteFile(path, text[:len(text)/2], 0o600))
}

// flip changes a bit in the middle of a file, or changes it back.
func (w *world) flip(path string) {
	w.t.Helper()
	text, err := os.ReadFile(path)
	w.ok(err)
	text[len(text)/2] ^= 1
	w.ok(os.WriteFile(path, text, 0o600))
}

// TestAFlippedBitIsFoundAndNeverRestored, wherever in the store it is.
func TestAFlippedBitIsFoundAndNeverRestored(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		name := map[bool]string{false: "plain", true: "encrypted"}[encrypted]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := tinyArchive(t, encrypted)
			id := w.points()[0]
			for _, kind := range []string{"packs", "index", "points"} {
				for _, path := range w.files(kind) {
					w.flipOne(kind, path, id)
				}
			}
			w.done(w.restore()...)
		})
	}
}

// flipOne damages one object, looks what verify and restore say, and mends it.
func (w *world) flipOne(kind, path, point string) {
	w.t.Helper()
	w.goOn()
	live := w.fingerprint(w.name)
	w.flipTwins(kind, path)
	p := w.start("--log-level", "off", "verify", "--read-data")
	if code := w.end(p); code != exitFailed {
		w.t.Errorf("%s: verify: exit code %d", kind, code)
	}
	said := p.out.String() + p.err.String()
	texts := []string{point, "DAMAGED"}
	if kind != "points" { // whose tables nobody knows any more
		texts = append(texts, "public.events")
	}
	for _, text := range texts {
		if !strings.Contains(said, text) {
			w.t.Errorf("%s: verify does not say %q: %s", kind, text, said)
		}
	}
	for _, mode := range modes {
		args := w.restore("--mode", mode)
		if mode == "beside" {
			args = append(args, "--target-database", w.name+"_beside")
		}
		r := w.start(append([]string{"--log-level", "off"}, args...)...)
		if code := w.end(r); code != exitFailed {
			w.t.Errorf("%s: restore %s: exit code %d: %s", kind, mode, code, r.out.String())
		}
		w.t.Logf("%s: restore %s: %s", kind, mode, r.err.String())
	}
	if got := w.fingerprint(w.name); got != live {
		w.t.Errorf("%s: the live database is %s, not %s", kind, got, live)
	}
	for name := range strings.FieldsSeq(w.databases()) { // loaded in part
		w.sql("postgres", "DROP DATABASE "+name)
	}
	w.flipTwins(kind, path)
	w.done("verify", "--read-data")
}

// flipTwins is flip of an object, and of an index object's copy with it.
func (w *world) flipTwins(kind, path string) {
	w.t.Helper()
	w.flip(path)
	if kind == "index" {
		w.flip(filepath.Join(filepath.Dir(path)+".copy", filepath.Base(path)))
	}
}
