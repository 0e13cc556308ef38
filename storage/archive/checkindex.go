package archive

import (
	"context"
	"errors"
	"slices"
	"sync"
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
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	var mu sync.Mutex
	var missing []string
	for _, key := range c.index.files {
		if c.index.faults[key] != nil || c.index.leftover[key] {
			continue
		}
		g.Go(func() error {
			sum, _ := keySum(key, indexPrefix)
			_, err := c.a.indexBytes(gctx, indexCopy(key), sum)
			switch {
			case errors.Is(err, errGone):
				mu.Lock()
				missing = append(missing, key)
				mu.Unlock()
			case errors.Is(err, ErrCorrupt):
				c.damage(indexCopy(key), err)
			default:
				return err
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil || len(missing) == 0 {
		return err
	}
	return c.missingCopies(ctx, missing)
}

// missingCopies looks at the index once more where copies are missing. A prune may
// be replacing what was listed, and a run that puts index objects be under way, or
// have been killed: that of a young one is no damage yet.
func (c *checker) missingCopies(ctx context.Context, missing []string) error {
	now, err := c.a.openIndex(ctx)
	if err != nil {
		return err
	}
	for _, key := range missing {
		stamp, _ := time.Parse(keyTime, keyStamp(key[len(indexPrefix):]))
		if c.report.Started.Sub(stamp) < lateListing || !slices.Contains(now.files, key) || now.leftover[key] {
			continue
		}
		c.damage(indexCopy(key), corrupt(indexCopy(key), "it is missing; the next backup or prune puts it there again"))
	}
	return nil
}
