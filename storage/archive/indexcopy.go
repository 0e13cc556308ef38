package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/synapse-maint/synapse-maint/storage"
)

const (
	// indexCopyPrefix is where each index object is a second time, under the same
	// name: without the index packs are of no use, and nothing else can make it
	// again.
	indexCopyPrefix = "index.copy/"
	// bothIndexes is how both prefixes begin: one listing shows both.
	bothIndexes = "index"
)

// indexPair is an index object and its copy as the store lists them: their
// sizes, 0 of one that is not listed.
type indexPair struct {
	sum        string
	size, copy int64
}

// indexFile is what was read of one.
type indexFile struct {
	packs []packRecord
	fault error // why it was read from the copy; nil if it was not
}

func indexCopy(key string) string { return indexCopyPrefix + strings.TrimPrefix(key, indexPrefix) }

// indexKeyOf undoes indexCopy. Other keys it returns as they are.
func indexKeyOf(key string) (index string, isCopy bool) {
	if name, ok := strings.CutPrefix(key, indexCopyPrefix); ok {
		return indexPrefix + name, true
	}
	return key, false
}

// listIndex lists the index objects, and their copies with the same request.
func (a *Archive) listIndex(ctx context.Context) (map[string]indexPair, error) {
	pairs := map[string]indexPair{}
	for o, err := range a.store.List(ctx, bothIndexes) {
		if err != nil {
			return nil, fmt.Errorf("list the index: %w", err)
		}
		key, isCopy := indexKeyOf(o.Key)
		sum, ok := keySum(key, indexPrefix)
		if !ok {
			continue
		}
		p := pairs[key]
		p.sum = sum
		if isCopy {
			p.copy = o.Size
		} else {
			p.size = o.Size
		}
		pairs[key] = p
	}
	return pairs, nil
}

// sortOut returns which index objects are read first, and which after all
// others, the newest first: those that lack the copy, or have nothing else. In
// an archive of the time before there were copies none lacks anything.
func (x *index) sortOut(pairs map[string]indexPair) (whole, lone []string) {
	for _, p := range pairs {
		x.copies = x.copies || p.copy > 0
	}
	for key, p := range pairs {
		if p.size != p.copy {
			x.doubtful[key] = true
		}
		if x.copies && (p.size == 0 || p.copy == 0) {
			lone = append(lone, key)
		} else {
			whole = append(whole, key)
		}
	}
	slices.Sort(lone)
	slices.Reverse(lone)
	for _, key := range lone {
		x.leftover[key] = true
	}
	return whole, lone
}

// settle finds out which of the index objects that lack their copy, or have
// nothing else, are what a prune has left that was killed, or one that knew of no
// copies: others name all their packs but those that are gone, or about to go.
// They count for nothing: what they name is no damage, and they are not put
// again. The others are as good as any.
func (x *index) settle() {
	if len(x.leftover) == 0 {
		return
	}
	for i := range x.packs {
		switch p := &x.packs[i]; p.state {
		case packMissing, packPruned, packDoomed:
		default:
			delete(x.leftover, p.source)
		}
	}
	for i := range x.packs {
		if p := &x.packs[i]; p.state == packMissing && x.leftover[p.source] {
			p.state = packPruned
		}
	}
	for key := range x.leftover {
		delete(x.faults, key)
		delete(x.doubtful, key)
	}
}

// readIndex reads one index object, or its copy where that can't be done.
func (a *Archive) readIndex(ctx context.Context, key, sum string) (f indexFile, err error) {
	sealed, err := a.indexBytes(ctx, key, sum)
	if err != nil && ctx.Err() == nil {
		spare, spareErr := a.indexBytes(ctx, indexCopy(key), sum)
		switch {
		case spareErr == nil:
			sealed, f.fault, err = spare, err, nil
		case errors.Is(err, ErrCorrupt) && !errors.Is(spareErr, ErrCorrupt):
			err = spareErr // nobody knows whether it is lost
		}
	}
	if err != nil {
		return f, err
	}
	plain, err := a.unsealMeta(key, sealed)
	if err != nil {
		return f, err
	}
	f.packs, err = parseIndex(key, plain)
	return f, err
}

// indexBytes reads an index object or a copy and checks it against the sum in
// its key.
func (a *Archive) indexBytes(ctx context.Context, key, sum string) ([]byte, error) {
	sealed, err := fetch(ctx, a.store, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, gone(key)
	}
	if err != nil {
		return nil, err
	}
	return sealed, checkSum(key, sealed, sum)
}

// spared yields the index objects of which the copy was read, in order, and why.
func (x *index) spared() iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for _, key := range slices.Sorted(maps.Keys(x.faults)) {
			if !yield(key, fmt.Errorf("%w; its copy %s was read in its place", x.faults[key], indexCopy(key))) {
				return
			}
		}
	}
}

// doubt has the copies looked at that a check found damaged: nobody else reads
// them.
func (x *index) doubt(damaged []damageRecord) {
	for _, d := range damaged {
		if key, isCopy := indexKeyOf(d.Key); isCopy {
			x.doubtful[key] = true
		}
	}
}

// mendIndex puts index objects and copies that are damaged or missing again, each
// from the other. It costs nothing where nothing looks wrong.
func (a *Archive) mendIndex(ctx context.Context, x *index, retain time.Duration) error {
	opt := storage.PutOptions{RetainUntil: lockUntil(retain)}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for _, key := range x.files {
		if x.doubtful[key] {
			g.Go(func() error { return a.mendOne(ctx, key, opt) })
		}
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("mend the index: %w", err)
	}
	return nil
}

// mendOne is mendIndex for one. Where a prune deletes it meanwhile what is put
// here is left over, see settle.
func (a *Archive) mendOne(ctx context.Context, key string, opt storage.PutOptions) error {
	sum, _ := keySum(key, indexPrefix)
	body, err := a.indexBytes(ctx, key, sum)
	spare, spareErr := a.indexBytes(ctx, indexCopy(key), sum)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil && spareErr != nil:
		return putVerified(ctx, a.store, indexCopy(key), body, opt)
	case err != nil && spareErr == nil:
		return putVerified(ctx, a.store, key, spare, opt)
	}
	return nil // both are whole, or beyond help
}
