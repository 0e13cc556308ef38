package export

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

const (
	none     = "none"
	gzipped  = "gzip"
	zstds    = "zstd"
	tocFile  = "toc.dat"
	dumpFile = "database.dump"
	// end is what pg_dump writes after the rows of each table's file.
	end = "\\.\n\n\n"
	// leastRatio is a compression that COPY text does not exceed: what a
	// compressed export needs at least.
	leastRatio = 20
)

// writing is an export under way.
type writing struct {
	from   Blobs
	db     *archive.Database
	opt    Options
	dir    string
	toc    []byte
	result *Result

	mu      sync.Mutex // of result
	done    atomic.Int64
	total   int64
	written atomic.Int64
}

// begin reads the table of contents and chooses how to write.
func (w *writing) begin(ctx context.Context) error {
	r := w.result
	if len(w.db.Stream) > 0 {
		r.Format = "custom"
		w.total = size(w.db.Stream)
		return nil
	}
	var toc bytes.Buffer
	if err := w.copyBlobs(ctx, &toc, w.db.TOC, "table of contents"); err != nil {
		return err
	}
	w.toc = toc.Bytes()
	r.Tables = len(w.db.Tables)
	for _, t := range w.db.Tables {
		r.Rows += t.Rows
		w.total += t.Bytes
	}
	var err error
	r.Compression, err = choose(w.opt.Compression, w.toc)
	return err
}

// choose says how to compress. Whatever the table of contents says of
// compression, pg_restore takes <file>, else <file>.gz and, from version 16 on
// (archive version 1.15), <file>.lz4 and <file>.zst (pg_backup_directory.c,
// compress_io.c).
func choose(asked string, toc []byte) (string, error) {
	const magic = "PGDMP"
	if len(toc) < len(magic)+2 || string(toc[:len(magic)]) != magic {
		return "", fmt.Errorf("the table of contents is not that of pg_dump: %w", archive.ErrCorrupt)
	}
	major, minor := toc[len(magic)], toc[len(magic)+1]
	knowsZstd := major > 1 || major == 1 && minor >= 15
	switch asked {
	case none, gzipped:
		return asked, nil
	case zstds:
		if !knowsZstd {
			return "", errors.New("compression zstd is for pg_restore 16 and later; this point is of an older pg_dump: choose gzip or none")
		}
		return asked, nil
	case "":
		if knowsZstd {
			return zstds, nil
		}
		return gzipped, nil
	}
	return "", fmt.Errorf("no compression %q; there are none, gzip and zstd", asked)
}

// least is how many bytes the export needs at least.
func (w *writing) least() int64 {
	if w.result.Compression == none {
		return w.total + int64(len(w.toc))
	}
	return w.total / leastRatio
}

func (w *writing) write(ctx context.Context) error {
	err := w.files(ctx)
	w.result.Bytes = w.done.Load()
	w.result.Written = w.written.Load()
	slices.Sort(w.result.Damaged)
	return err
}

func (w *writing) files(ctx context.Context) error {
	if w.result.Format == "custom" {
		return w.file(dumpFile, none, func(to io.Writer) error {
			return w.copyBlobs(ctx, to, w.db.Stream, "pg_dump stream")
		})
	}
	tables := slices.Clone(w.db.Tables)
	slices.SortStableFunc(tables, func(a, b archive.Table) int { return cmp.Compare(b.Bytes, a.Bytes) })
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(w.opt.Jobs)
	for _, t := range tables {
		g.Go(func() error {
			if gctx.Err() != nil {
				return context.Cause(gctx)
			}
			return w.table(gctx, t)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return w.file(tocFile, none, func(to io.Writer) error {
		_, err := to.Write(w.toc)
		return err
	})
}

// table writes a table's file.
func (w *writing) table(ctx context.Context, t archive.Table) error {
	name := strconv.Itoa(t.DumpID) + ".dat"
	err := w.file(name, w.result.Compression, func(to io.Writer) error {
		if err := w.copyBlobs(ctx, to, t.Blobs, t.Schema+"."+t.Name); err != nil {
			return err
		}
		_, err := io.WriteString(to, end)
		return err
	})
	lost := errors.Is(err, archive.ErrCorrupt) || errors.Is(err, fs.ErrNotExist)
	if !lost {
		return err
	}
	if !w.opt.SkipDamaged {
		return fmt.Errorf("%w; choose another point, or export the rest with --skip-damaged", err)
	}
	w.mu.Lock()
	w.result.Damaged = append(w.result.Damaged, t.Schema+"."+t.Name)
	w.result.Rows -= t.Rows
	w.mu.Unlock()
	return w.file(name, w.result.Compression, func(to io.Writer) error {
		_, err := io.WriteString(to, end)
		return err
	})
}

// copyBlobs writes the plain bytes of blobs. what names them in errors.
func (w *writing) copyBlobs(ctx context.Context, to io.Writer, list []archive.Blob, what string) error {
	ids := make([]archive.ID, len(list))
	for i, b := range list {
		ids[i] = b.ID
	}
	n := 0
	for data, err := range w.from.Blobs(ctx, ids) {
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if int64(len(data)) != list[n].Size {
			return fmt.Errorf("%s: blob %s has %d bytes, the recovery point promises %d: %w", what, ids[n], len(data), list[n].Size, archive.ErrCorrupt)
		}
		n++
		if _, err := to.Write(data); err != nil {
			return err
		}
		w.opt.Progress(jobs.Progress{What: what, Done: w.done.Add(int64(len(data))), Total: w.total})
	}
	if n != len(list) {
		return fmt.Errorf("%s: only %d of %d blobs were read: %w", what, n, len(list), errors.Join(ctx.Err(), io.ErrUnexpectedEOF))
	}
	return nil
}

// file writes a file through the compression, to the disk; nothing of it stays
// after a failure.
func (w *writing) file(name, compression string, fill func(to io.Writer) error) error {
	path := filepath.Join(w.dir, name)
	switch compression {
	case gzipped:
		path += ".gz"
	case zstds:
		path += ".zst"
	}
	f, err := create(path)
	if err != nil {
		return err
	}
	if err := w.fill(f, compression, fill); err != nil {
		return errors.Join(err, f.Close(), os.Remove(path))
	}
	return nil
}

func (w *writing) fill(f *os.File, compression string, fill func(to io.Writer) error) error {
	buffer := bufio.NewWriterSize(f, 256<<10)
	to, err := compressor(buffer, compression)
	if err != nil {
		return err
	}
	for _, step := range []func() error{func() error { return fill(to) }, to.Close, buffer.Flush, f.Sync} {
		if err := step(); err != nil {
			return err
		}
	}
	if st, err := f.Stat(); err == nil {
		w.written.Add(st.Size())
	}
	return f.Close()
}

type closer struct{ io.Writer }

func (closer) Close() error { return nil }

func compressor(to io.Writer, compression string) (io.WriteCloser, error) {
	switch compression {
	case gzipped:
		return gzip.NewWriterLevel(to, gzip.BestSpeed)
	case zstds:
		return zstd.NewWriter(to, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest))
	}
	return closer{to}, nil
}

func size(list []archive.Blob) (n int64) {
	for _, b := range list {
		n += b.Size
	}
	return n
}
