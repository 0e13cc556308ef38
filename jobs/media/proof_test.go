package media_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs/media"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

func first(f *archive.Findings) string {
	if f == nil {
		return ""
	}
	return strings.Join(f.First, " ")
}

func TestProofAgainstTheDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("local_content/aa/bb/right", "right")
	w.write("local_content/aa/bb/changed", "changed")
	w.write("local_content/aa/bb/short", "shor")
	w.write("local_content/aa/bb/unhashed", "unhashed")
	w.write("local_content/aa/bb/orphan", "orphan")
	w.write("local_content/aa/bb/upload", "so new that its row is not in the snapshot")
	ok(t, os.Chtimes(filepath.Join(w.dir, "local_content/aa/bb/upload"), w.taken, w.taken.Add(-5*time.Minute)))
	w.write("local_content/README", "of no interest to Synapse")
	w.write("local_thumbnails/aa/bb/right/32-32-image-png-crop", "thumbnail")
	w.write("local_thumbnails/aa/bb/right/96-96-image-png-crop", "orphan")
	w.write("index.html", "other")
	w.write("remote_content/hs/aa/bb/skipped", "not of the point")
	rows := []synapse.MediaRow{
		row("local_content/aa/bb/right", "right"),
		row("local_content/aa/bb/right", "right"), // twice is once
		row("local_content/aa/bb/changed", "CHANGED"),
		{Class: synapse.LocalContent, Path: "local_content/aa/bb/short", Length: 5},
		{Class: synapse.LocalContent, Path: "local_content/aa/bb/unhashed", Length: 8},
		row("local_content/aa/bb/lost", "lost"),
		{Class: synapse.LocalContent, Path: "local_content/aa/bb/announced", Length: -1},
		{Class: synapse.LocalThumbnails, Path: "local_thumbnails/aa/bb/right/32-32-image-png-crop", Length: 9},
		{Class: synapse.LocalThumbnails, Path: "local_thumbnails/aa/bb/right/800-600-image-png-scale", Length: 9},
		row("remote_content/hs/aa/bb/skipped", "other"),
	}
	m := w.must(rows...)
	for range 2 { // the second night knows it from the listing
		p := m.Media.Proof
		if p.Rows != 8 || p.Proved != 1 || p.Unproved != 2 {
			t.Errorf("%+v", p)
		}
		for what, c := range map[string][2]string{
			"missing":    {first(p.Missing), "local_content/aa/bb/lost local_thumbnails/aa/bb/right/800-600-image-png-scale"},
			"lost":       {first(p.Lost), "local_content/aa/bb/lost"},
			"orphans":    {first(p.Orphans), "local_content/aa/bb/orphan local_thumbnails/aa/bb/right/96-96-image-png-crop"},
			"mismatches": {first(p.Mismatches), "local_content/aa/bb/changed local_content/aa/bb/short"},
		} {
			if c[0] != c[1] {
				t.Errorf("%s: %s, not %s", what, c[0], c[1])
			}
		}
		if got := strings.Join(m.Degraded, "; "); got != "1 file of local content in the database and not in the media store: local_content/aa/bb/lost; "+
			"2 files of local content with other bytes than the database has recorded: local_content/aa/bb/changed, local_content/aa/bb/short" {
			t.Error(got)
		}
		m = w.must(rows...)
	}
}

// A database that is not Synapse's proves nothing, and accuses nobody.
func TestNoRowsNoProof(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("local_content/aa/bb/cc", "x")
	if m := w.must(); m.Media.Proof != nil || len(m.Degraded) > 0 {
		t.Errorf("%+v", m.Media.Proof)
	}
}

func TestOnlyTheFirstFindingsAreNamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("local_content/aa/bb/cc", "x")
	rows := []synapse.MediaRow{row("local_content/aa/bb/cc", "x")}
	for i := range 3000 {
		rows = append(rows, row(fmt.Sprintf("local_content/aa/bb/lost%04d", i), "x"))
	}
	p := w.must(rows...).Media.Proof
	if p.Lost.Number() != 3000 || p.Lost.First[19] != "local_content/aa/bb/lost0019" || len(p.Lost.First) != archive.FindingsNamed {
		t.Errorf("%+v", p.Lost)
	}
}

// The rows of two million files, four times these, are held while the files are
// read.
func TestRowsTakeLittleMemory(t *testing.T) {
	const rows = 500_000
	inUse := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := inUse()
	p := media.NewPart(media.Options{Dir: t.TempDir()})
	sum := strings.Repeat("ab", 32)
	ok(t, p.Consult(t.Context(), func(_ context.Context, yield func(synapse.MediaRow) error) error {
		for i := range rows {
			id := noise(9, i)
			path := fmt.Sprintf("local_content/%02x/%02x/%x", id[0], id[1], id)
			if err := yield(synapse.MediaRow{Class: synapse.LocalContent, Path: path, Length: int64(i), SHA256: sum}); err != nil {
				return err
			}
		}
		return nil
	}))
	held := (inUse() - before) >> 20
	t.Logf("%d MiB", held)
	if held > 50 {
		t.Errorf("%d MiB for %d rows", held, rows)
	}
	runtime.KeepAlive(p)
}
