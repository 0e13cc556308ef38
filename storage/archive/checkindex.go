package archive

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
)

// indexCopies names the index objects that were read from their copies, and
// looks at the copies of the others, unless certain points alone are asked for.
func (c *checker) indexCopies(ctx context.Context) error {
	for key, err := range c.index.spared() {
		c.damage(key, err)
	}
	if len(c.opt.Points) > 0 || !c.index.copies {
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for _, key := range c.index.files {
		if c.index.faults[key] == nil && !c.index.leftover[key] {
			g.Go(func() error { return c.indexCopy(ctx, key) })
		}
	}
	return g.Wait()
}

// indexCopy looks at the copy of an index object. A run that puts them is under
// way, or was killed, where it is missing of a young one: that is no damage yet.
func (c *checker) indexCopy(ctx context.Context, key string) error {
	sum, _ := keySum(key, indexPrefix)
	spare := indexCopy(key)
	_, err := c.a.indexBytes(ctx, spare, sum)
	if errors.Is(err, errGone) {
		stamp, _ := time.Parse(keyTime, keyStamp(key[len(indexPrefix):]))
		if c.report.Started.Sub(stamp) < lateListing {
			return nil
		}
		err = corrupt(spare, "it is missing; the next backup or prune puts it there again")
	}
	if errors.Is(err, ErrCorrupt) {
		c.damage(spare, err)
		return nil
	}
	return err
}
