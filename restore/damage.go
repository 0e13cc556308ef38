package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// damage is what of a recovery point can't be read.
type damage struct {
	essential string            // why nothing can be restored; empty: that is whole
	tables    map[string]string // name to what is wrong
}

// add joins what another look has found.
func (d *damage) add(other damage) {
	if d.essential == "" {
		d.essential = other.essential
	}
	for name, why := range other.tables {
		d.blame(name, why)
	}
}

func (d *damage) blame(table, why string) {
	if d.tables == nil {
		d.tables = map[string]string{}
	}
	if d.tables[table] == "" {
		d.tables[table] = why
	}
}

// proveBlobs reads every blob of the point and compares it with its name. It
// returns what is damaged and how many plain bytes were read; errors are those
// of the store. Each worker holds what [archive.Reader.Blobs] does.
func proveBlobs(ctx context.Context, r *archive.Reader, m *archive.Manifest, workers int) (found damage, read int64, err error) {
	uses := usesOf(m)
	ids := make([]archive.ID, 0, len(uses))
	for id := range uses {
		ids = append(ids, id)
	}
	ids = r.Near(ids)
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	for share := range slices.Chunk(ids, len(ids)/max(workers, 1)+1) {
		g.Go(func() error {
			i := 0
			for plain, err := range r.Blobs(ctx, share) {
				if err != nil && !isDamage(err) {
					return err
				}
				mu.Lock()
				read += int64(len(plain))
				for _, u := range uses[share[i]] {
					found.judge(u, int64(len(plain)), err)
				}
				mu.Unlock()
				i++
			}
			return ctx.Err()
		})
	}
	return found, read, g.Wait()
}

// use is a place where a point names a blob.
type use struct {
	part string // a table's name, or one of the parts that are none
	size int64
}

func usesOf(m *archive.Manifest) map[archive.ID][]use {
	uses := map[archive.ID][]use{}
	add := func(part string, list []archive.Blob) {
		for _, b := range list {
			uses[b.ID] = append(uses[b.ID], use{part, b.Size})
		}
	}
	add(partTOC, m.Database.TOC)
	add(partStream, m.Database.Stream)
	for _, t := range m.Database.Tables {
		add(tableName(t), t.Blobs)
	}
	return uses
}

// judge notes what is wrong with a blob for one that uses it.
func (d *damage) judge(u use, size int64, err error) {
	why := ""
	switch {
	case err != nil:
		why = err.Error()
	case size != u.size:
		why = fmt.Sprintf("a blob has %d bytes, the recovery point promises %d", size, u.size)
	default:
		return
	}
	if u.part == partTOC || u.part == partStream {
		d.essential = u.part + ": " + why
		return
	}
	d.blame(u.part, why)
}

// isDamage says whether an error of a read is the archive's state and not the
// store's or the caller's trouble.
func isDamage(err error) bool {
	return errors.Is(err, archive.ErrCorrupt) || errors.Is(err, fs.ErrNotExist)
}

// inspectBlobs looks whether every blob of the point is in the archive, by the
// index and the sizes of the packs. It reads no data but that of packs that a
// check found damaged before.
func inspectBlobs(ctx context.Context, a *archive.Archive, point string) (damage, error) {
	report, err := a.Check(ctx, archive.CheckOptions{Points: []string{point}, Unrecorded: true})
	if err != nil {
		return damage{}, fmt.Errorf("look for the point's blobs in the archive: %w", err)
	}
	var found damage
	for _, p := range report.Points {
		why := strings.Join(p.Problems, "; ")
		for _, name := range p.Tables {
			found.blame(name, why)
		}
		if !p.OK && len(p.Tables) == 0 {
			found.essential = orElse(why, "the point is damaged")
		}
	}
	for _, part := range []string{partTOC, partStream} {
		if why := found.tables[part]; why != "" {
			found.essential = part + ": " + why
		}
	}
	return found, nil
}

// What an archive's reports call the parts of a point that are no table.
const (
	partTOC    = "table of contents"
	partStream = "pg_dump stream"
)
