package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// PreviewCopy says what [Copy] would do, and writes nothing. A nil to is an
// archive that Clone has yet to make.
func PreviewCopy(ctx context.Context, from, to *Archive, o CopyOptions) (CopyReport, error) {
	if o.Warn == nil {
		o.Warn = func(error) {}
	}
	points, err := from.chosen(ctx, o.Points)
	if err != nil {
		return CopyReport{}, err
	}
	if to != nil && !from.Same(to) {
		return previewRecoded(ctx, from, to, points)
	}
	c := newVerbatim(from, to, points, o)
	if err := c.open(ctx); err != nil {
		return c.report, err
	}
	all, err := c.needAll(ctx)
	if err != nil {
		return c.report, err
	}
	for p := range all {
		if !c.there(p) {
			c.report.Packs++
			c.report.Bytes += c.reader.index.packs[p].size
		}
	}
	for i := range points {
		p := &points[i]
		if to == nil || p.Err != nil {
			continue
		}
		switch _, err := to.store.Stat(ctx, pointPrefix+p.ID); {
		case err == nil:
			p.As, p.There = p.ID, true
		case !errors.Is(err, fs.ErrNotExist):
			return c.report, fmt.Errorf("look for recovery point %s: %w", p.ID, err)
		}
	}
	return c.report, nil
}

// previewRecoded can't know how large blobs become under other keys: it counts
// what the points hold.
func previewRecoded(ctx context.Context, from, to *Archive, points []CopiedPoint) (CopyReport, error) {
	c := &recoder{from: from, to: to, report: CopyReport{Points: points, Recoded: true}}
	there, err := c.copied(ctx)
	if err != nil {
		return c.report, err
	}
	for i := range points {
		p := &points[i]
		if old := there[from.origin(p.ID)]; old.good {
			p.As, p.There = old.ID, true
			continue
		}
		m, err := from.readManifest(ctx, p.ID)
		switch {
		case err == nil:
			c.report.Bytes += m.Sizes.Logical
		case lost(err):
			p.Err = err
		default:
			return c.report, fmt.Errorf("recovery point %s: %w", p.ID, err)
		}
	}
	return c.report, nil
}
