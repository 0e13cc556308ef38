package archive_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// Whoever has to know which picture is lost is told its path, not a number.
func TestDamagedMediaFilesAreNamed(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		inYardOf(t, 20, encrypted, func(t *testing.T, y *yard) {
			y.backup()
			named := 0
			for key := range keysOf(t, y.store) {
				if !strings.HasPrefix(key, "packs/") {
					continue
				}
				good, err := storage.ReadAll(t.Context(), y.store, key)
				ok(t, err)
				for part := range 9 {
					replace(t, y.store, key, flipped(good, part*(len(good)-1)/8))
					lost := y.lostFiles()
					report, err := y.a.Check(t.Context(), archive.CheckOptions{ReadData: 1})
					ok(t, err)
					if len(report.Points) != 1 || report.Points[0].OK {
						t.Errorf("%s: %+v", key, report.Points)
					}
					said := fmt.Sprint(report.Points)
					for _, path := range lost {
						if !strings.Contains(said, path) {
							t.Errorf("%s: %s can't be restored, which is not said: %s", key, path, said)
						}
						named++
					}
				}
				replace(t, y.store, key, good)
			}
			if named == 0 {
				t.Error("no file was lost: is anything tested?")
			}
		})
	}
}

// lostFiles are the media files of the newest point that can't be read.
func (y *yard) lostFiles() (paths []string) {
	y.t.Helper()
	ctx := y.t.Context()
	r, err := y.a.Reader(ctx, archive.ReaderOptions{})
	ok(y.t, err)
	list := y.points(y.store)
	for e, err := range archive.Entries(ctx, r, list[len(list)-1].Manifest.Media) {
		if err != nil {
			return paths // a page: what it listed nobody can name
		}
		for _, id := range e.Blobs {
			if _, err := r.Blob(ctx, id); err != nil {
				paths = append(paths, e.Path)
			}
		}
	}
	return paths
}
