// Package export writes a recovery point as what stock PostgreSQL reads: a
// directory archive of pg_dump for pg_restore -j or, where the point is one
// stream, a custom-format archive. It is the way out: what it writes needs
// nothing of this program.
//
// It imports jobs, storage/archive and the codecs that pg_restore knows. It
// reads the archive only, and writes nowhere but to the folder it is given and
// one beside it.
package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// Blobs reads blobs. It is implemented by [archive.Reader].
type Blobs interface {
	// Blobs yields the plain bytes of each, valid until the next, or why it
	// can't be read.
	Blobs(ctx context.Context, ids []archive.ID) iter.Seq2[[]byte, error]
}

// Options are an export's; the zero value is good.
type Options struct {
	// Compression of the tables' files: none, gzip (every pg_restore reads it)
	// or zstd (pg_restore 16 and later). Empty: the best that each pg_restore
	// reads that reads the point at all.
	Compression string
	// SkipDamaged leaves tables empty whose blobs are damaged, instead of
	// failing; the result names them, and the error is [jobs.ErrIncomplete].
	SkipDamaged bool
	Jobs        int                 // tables written at once; 0: as many as CPUs
	Progress    func(jobs.Progress) // may be nil
}

// Result is what an export wrote.
type Result struct {
	Point       string   `json:"point"`
	Dir         string   `json:"dir"`
	Path        string   `json:"path"`        // what to give to pg_restore
	Format      string   `json:"format"`      // directory or custom, as pg_restore calls them
	Compression string   `json:"compression"` // none, gzip or zstd
	Server      int      `json:"server_version,omitempty"`
	Tables      int      `json:"tables"`
	Rows        int64    `json:"rows"`
	Bytes       int64    `json:"bytes"`   // plain
	Written     int64    `json:"written"` // bytes on the disk
	Seconds     float64  `json:"seconds"`
	Damaged     []string `json:"damaged,omitempty"` // tables that were left empty
}

// Export writes the point to dir, which must not exist or be empty. It appears
// there as a whole, when everything is on the disk. Until then it is in a
// folder beside it, which is removed after a failure, and after a kill by the
// next export to dir.
func Export(ctx context.Context, from Blobs, point archive.Point, dir string, o Options) (Result, error) {
	began := time.Now()
	r, err := export(ctx, from, point, dir, o)
	r.Seconds = time.Since(began).Seconds()
	if err != nil {
		return r, fmt.Errorf("export of %s to %s: %w", point.ID, dir, err)
	}
	return r, nil
}

// Check says why Export would fail, as far as that can be known without writing.
// It reads the table of contents.
func Check(ctx context.Context, from Blobs, point archive.Point, dir string, o Options) error {
	w, dir, err := prepare(ctx, from, point, dir, o)
	if err == nil {
		err = Reachable(dir, w.least())
	}
	if err == nil {
		err = empty(dir)
	}
	if err != nil {
		return fmt.Errorf("export of %s to %s: %w", point.ID, dir, err)
	}
	return nil
}

// prepare chooses how to write.
func prepare(ctx context.Context, from Blobs, point archive.Point, dir string, o Options) (w *writing, abs string, err error) {
	w = &writing{from: from, opt: o, result: &Result{Point: point.ID, Dir: dir, Format: "directory", Path: dir, Compression: none}}
	switch {
	case point.Err != nil:
		return w, dir, point.Err
	case point.Manifest == nil || point.Manifest.Database == nil:
		return w, dir, errors.New("the recovery point has no database")
	}
	if w.opt.Jobs <= 0 {
		w.opt.Jobs = runtime.NumCPU()
	}
	if w.opt.Progress == nil {
		w.opt.Progress = func(jobs.Progress) {}
	}
	if abs, err = filepath.Abs(dir); err != nil {
		return w, dir, err
	}
	w.db = point.Manifest.Database
	var info synapse.Database
	if json.Unmarshal(w.db.Info, &info) == nil { // for people only
		w.result.Server = info.Version
	}
	return w, abs, w.begin(ctx)
}

func export(ctx context.Context, from Blobs, point archive.Point, dir string, o Options) (r Result, err error) {
	w, dir, err := prepare(ctx, from, point, dir, o)
	defer func() { r = *w.result }()
	if err != nil {
		return r, err
	}
	place, err := claim(dir)
	if err != nil {
		return r, err
	}
	defer func() { err = place.discardAfter(err) }()
	if err := room(place.partial, w.least()); err != nil {
		return r, err
	}
	w.dir = place.partial
	if err := w.write(ctx); err != nil {
		return r, err
	}
	if err := place.publish(); err != nil {
		return r, err
	}
	if w.result.Format == "custom" {
		w.result.Path = filepath.Join(dir, dumpFile)
	}
	if damaged := w.result.Damaged; len(damaged) > 0 {
		return r, fmt.Errorf("%w: damaged and therefore empty: %s", jobs.ErrIncomplete, strings.Join(damaged, ", "))
	}
	return r, nil
}

// create makes a file that only we can read.
func create(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}
