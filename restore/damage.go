package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
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
// of the store.
func proveBlobs(ctx context.Context, r *archive.Reader, m *archive.Manifest, workers int) (found damage, read int64, err error) {
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(workers, 1))
	prove := func(list []archive.Blob, blame func(why string)) {
		for _, b := range list {
			g.Go(func() error {
				plain, err := r.Blob(ctx, b.ID)
				mu.Lock()
				defer mu.Unlock()
				read += int64(len(plain))
				if isDamage(err) {
					blame(err.Error())
					return nil
				}
				return err
			})
		}
	}
	essential := func(why string) { found.essential = why }
	prove(m.Database.TOC, essential)
	prove(m.Database.Stream, essential)
	for _, t := range m.Database.Tables {
		prove(t.Blobs, func(why string) { found.blame(tableName(t), why) })
	}
	return found, read, g.Wait()
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
