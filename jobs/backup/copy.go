package backup

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

const (
	// pageSize is PostgreSQL's, in bytes (BLCKSZ as everybody builds it).
	pageSize = 8192
	// pieceSize is how the table of contents is cut, in bytes.
	pieceSize = 8 << 20
)

// blobs stores blobs. It is implemented by [archive.Writer].
type blobs interface {
	Add(ctx context.Context, plain []byte) (id archive.ID, isNew bool, err error)
}

// copying moves a snapshot into an archive. Memory: a chunk for each worker,
// and 80 bytes a blob.
type copying struct {
	Snapshot
	writer   blobs
	jobs     int
	progress func(jobs.Progress)

	done  atomic.Int64
	total int64
}

func (c *copying) into(ctx context.Context, d *archive.Database) error {
	if c.StreamReason() != "" {
		return c.stream(ctx, d)
	}
	var err error
	if d.TOC, err = c.add(ctx, c.TOC()); err != nil {
		return fmt.Errorf("store the table of contents: %w", err)
	}
	parts, err := c.copyRanges(ctx)
	if err != nil {
		return err
	}
	d.Tables = gather(c.Snapshot, parts)
	return nil
}

// add stores bytes as blobs.
func (c *copying) add(ctx context.Context, data []byte) ([]archive.Blob, error) {
	var list []archive.Blob
	for piece := range slices.Chunk(data, pieceSize) {
		id, _, err := c.writer.Add(ctx, piece)
		if err != nil {
			return nil, err
		}
		list = append(list, archive.Blob{ID: id, Size: int64(len(piece))})
	}
	return list, nil
}

// copyRanges copies the ranges on all workers and returns the blobs of each,
// in the order of Ranges.
func (c *copying) copyRanges(ctx context.Context) ([][]archive.Blob, error) {
	ranges, tables := c.Ranges(), c.Tables()
	for _, r := range ranges {
		c.total += heapBytes(tables[r.Table], r)
	}
	parts := make([][]archive.Blob, len(ranges))
	var next atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range min(c.jobs, len(ranges)) {
		g.Go(func() error {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(ranges) {
					return nil
				}
				r := ranges[i]
				var err error
				if parts[i], err = c.copyRange(ctx, r); err != nil {
					return err
				}
				t := tables[r.Table]
				c.progress(jobs.Progress{What: t.Schema + "." + t.Name, Done: c.done.Add(heapBytes(t, r)), Total: c.total})
			}
			return context.Cause(ctx)
		})
	}
	return parts, g.Wait()
}

// copyRange stores the rows of a range. A panic below must not take the
// process, and with it a scheduler, along.
func (c *copying) copyRange(ctx context.Context, r synapse.Range) (list []archive.Blob, err error) {
	defer func() {
		if p := recover(); p != nil {
			t := c.Tables()[r.Table]
			err = fmt.Errorf("copy out %s.%s: panic: %v", t.Schema, t.Name, p)
		}
	}()
	err = c.CopyOut(ctx, r, func(chunk synapse.Chunk) error {
		id, _, err := c.writer.Add(ctx, chunk.Data)
		if err != nil {
			return err
		}
		list = append(list, archive.Blob{ID: id, Size: int64(len(chunk.Data)), Rows: chunk.Rows, Open: chunk.Open})
		return nil
	})
	return list, err
}

// stream stores the database as one archive of pg_dump.
func (c *copying) stream(ctx context.Context, d *archive.Database) error {
	c.total = c.Database().Size
	err := c.Stream(ctx, func(piece []byte) error {
		if len(d.Stream) == 0 && !bytes.HasPrefix(piece, []byte("PGDMP")) {
			return fmt.Errorf("pg_dump gave no archive but %.60q", piece)
		}
		id, _, err := c.writer.Add(ctx, piece)
		if err != nil {
			return err
		}
		d.Stream = append(d.Stream, archive.Blob{ID: id, Size: int64(len(piece))})
		c.progress(jobs.Progress{What: "pg_dump", Done: c.done.Add(int64(len(piece)))})
		return nil
	})
	return err
}

// gather makes the manifest's tables of the ranges' blobs.
func gather(s Contents, parts [][]archive.Blob) []archive.Table {
	tables := make([]archive.Table, len(s.Tables()))
	for i, t := range s.Tables() {
		tables[i] = archive.Table{DumpID: t.DumpID, Schema: t.Schema, Name: t.Name, Copy: t.Copy, Pages: t.Pages}
	}
	for _, i := range inOrder(s.Ranges()) {
		r := s.Ranges()[i]
		t := &tables[r.Table]
		if r.Lo == 0 {
			t.Range = r.Hi
		}
		t.Blobs = append(t.Blobs, parts[i]...)
	}
	for i := range tables {
		for _, b := range tables[i].Blobs {
			tables[i].Rows += b.Rows
			tables[i].Bytes += b.Size
		}
	}
	return tables
}

// inOrder returns the numbers of ranges by table and page.
func inOrder(ranges []synapse.Range) []int {
	order := make([]int, len(ranges))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(ranges[a].Table, ranges[b].Table), cmp.Compare(ranges[a].Lo, ranges[b].Lo))
	})
	return order
}

// heapBytes is about how large a range is.
func heapBytes(t synapse.Table, r synapse.Range) int64 {
	hi := t.Pages
	if r.Hi > 0 {
		hi = min(hi, r.Hi)
	}
	return max(hi-r.Lo, 0) * pageSize
}
