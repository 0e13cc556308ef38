package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"golang.org/x/sync/errgroup"
)

// maxProblems bounds the lines a report has for one point.
const maxProblems = 20

// choosePoints returns the IDs of the points to check, oldest first.
func (c *checker) choosePoints(ctx context.Context) ([]string, error) {
	points, err := c.a.listPoints(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, p := range points {
		if len(c.opt.Points) == 0 || slices.Contains(c.opt.Points, p.ID) {
			ids = append(ids, p.ID)
		}
	}
	for _, id := range c.opt.Points {
		if !slices.Contains(ids, id) {
			return nil, fmt.Errorf("no recovery point %q: %w", id, fs.ErrNotExist)
		}
	}
	return ids, nil
}

// judge says of each point what is known now.
func (c *checker) judge(ctx context.Context, points []string) error {
	c.report.Points = make([]PointReport, len(points))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(checkers)
	for i, id := range points {
		g.Go(func() error { return c.judgePoint(gctx, id, &c.report.Points[i]) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	c.report.Points = slices.DeleteFunc(c.report.Points, func(p PointReport) bool { return p.ID == "" })
	return nil
}

// judgePoint leaves r without an ID where the point was dropped since it was listed.
func (c *checker) judgePoint(ctx context.Context, id string, r *PointReport) error {
	m, err := c.a.readManifest(ctx, id)
	if errors.Is(err, errGone) {
		if dropped, lerr := c.dropped(ctx, id); dropped || lerr != nil {
			return lerr
		}
	}
	r.ID = id
	r.Verification = Verification{Time: c.report.Started, Level: levelMetadata, OK: true}
	if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion) {
		r.OK = false
		r.Problems = []string{err.Error()}
		c.damage(pointPrefix+id, err)
		c.touch(pointPrefix+id, id, nil)
		return nil
	}
	if err != nil {
		return fmt.Errorf("recovery point %s: %w", id, err)
	}
	whole := true
	for part, blobs := range m.parts() {
		for _, b := range blobs {
			whole = c.judgeBlob(r, part, b) && whole
		}
	}
	if m.Media != nil {
		read, err := c.judgeMedia(ctx, r, m.Media)
		if err != nil {
			return fmt.Errorf("recovery point %s: %w", id, err)
		}
		whole = read && whole
	}
	if whole && c.opt.ReadData > 0 && c.decodes() {
		r.Level = levelData
	}
	return nil
}

// dropped says whether a point is not listed any more. One that was asked for by
// its ID is an error then.
func (c *checker) dropped(ctx context.Context, id string) (bool, error) {
	points, err := c.a.listPoints(ctx)
	if err != nil || slices.ContainsFunc(points, func(p Point) bool { return p.ID == id }) {
		return false, err
	}
	if len(c.opt.Points) > 0 {
		return true, fmt.Errorf("recovery point %s was deleted while it was checked: %w", id, fs.ErrNotExist)
	}
	return true, nil
}

// judgeBlob says whether a blob was read in this check, and notes in r if it
// can't be.
func (c *checker) judgeBlob(r *PointReport, part string, b Blob) (read bool) {
	for p := range c.index.places(b.ID) {
		if !c.usable(b.ID, p) {
			continue
		}
		if int64(p.size) != b.Size {
			c.lost(r, part, fmt.Errorf("blob %s has %d bytes, the manifest says %d", b.ID, p.size, b.Size))
		}
		return c.read[p.pack]
	}
	err := c.index.absent(b.ID)
	for p := range c.index.allPlaces(b.ID) {
		if bad := c.bad[p.pack]; bad != nil {
			err = fmt.Errorf("blob %s: %w", b.ID, bad.err)
			c.touch(packKey(c.index.packs[p.pack].sum), r.ID, []string{part})
		}
	}
	if errors.Is(err, errNoBlob) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	for _, broken := range c.index.broken {
		if errors.Is(err, broken) {
			c.touch(brokenKey(broken), r.ID, []string{part})
		}
	}
	c.lost(r, part, err)
	return true // known, though bad
}

// lost notes that a part of a point can't be restored in full.
func (c *checker) lost(r *PointReport, part string, err error) {
	r.OK = false
	if !slices.Contains(r.Tables, part) {
		r.Tables = append(r.Tables, part)
	}
	if len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, part+": "+err.Error())
	}
}

// touch notes what of a point a damaged object spoils.
func (c *checker) touch(key, point string, parts []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.damaged[key]
	if d == nil {
		return
	}
	i := slices.IndexFunc(d.Touches, func(t Touch) bool { return t.Point == point })
	if i < 0 {
		d.Touches = append(d.Touches, Touch{Point: point})
		i = len(d.Touches) - 1
	}
	for _, part := range parts {
		if !slices.Contains(d.Touches[i].Tables, part) {
			d.Touches[i].Tables = append(d.Touches[i].Tables, part)
		}
	}
}
