package archive

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/synapse-maint/synapse-maint/storage"
)

// pack is the one being filled.
type pack struct {
	body  []byte
	blobs []blobRecord
}

// append adds a stored blob to the open pack, and sends the pack when it is
// full. It waits while all buffers are on their way: that is the back-pressure.
func (w *Writer) append(ctx context.Context, id ID, stored []byte, size int) error {
	if len(stored) > storage.MaxObject {
		return fmt.Errorf("%d bytes are more than an object may have", len(stored))
	}
	w.packMu.Lock()
	defer w.packMu.Unlock()
	if w.open != nil && len(w.open.body)+len(stored) > w.opt.PackSize {
		w.ship()
	}
	if w.open == nil {
		select {
		case buf := <-w.free:
			if buf == nil {
				buf = make([]byte, 0, max(w.opt.PackSize, len(stored)))
			}
			w.open = &pack{body: buf}
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-w.ctx.Done():
			return w.failure()
		}
	}
	p := w.open
	p.blobs = append(p.blobs, blobRecord{ID: id, Offset: int64(len(p.body)), Stored: int64(len(stored)), Size: int64(size)})
	p.body = append(p.body, stored...)
	return nil
}

// ship sends the open pack in the background. packMu is held.
func (w *Writer) ship() {
	p := w.open
	w.open = nil
	w.uploads.Go(func() {
		w.slots <- struct{}{}
		defer func() { <-w.slots }()
		if err := w.upload(p); err != nil {
			w.cancel(err)
		}
		buf := p.body[:0]
		if cap(buf) > w.opt.PackSize {
			buf = nil
		}
		w.free <- buf
	})
}

// upload puts a pack, proves that it arrived, and makes its blobs known.
func (w *Writer) upload(p *pack) error {
	sum := ID(sha256.Sum256(p.body))
	opt := storage.PutOptions{RetainUntil: retainUntil(w.opt.Retain)}
	w.mu.Lock()
	whole := w.stats.Packs%proofEvery == 0
	w.stats.Packs++
	w.mu.Unlock()
	if err := putPack(w.ctx, w.a.store, sum, p.body, opt, whole); err != nil {
		return err
	}
	rec := packRecord{Pack: sum, Size: int64(len(p.body)), Blobs: p.blobs}
	w.mu.Lock()
	w.index.replacePack(&rec)
	for _, b := range p.blobs {
		delete(w.pending, b.ID)
	}
	w.unindexed = append(w.unindexed, rec)
	w.unstored += rec.Size
	w.stats.StoredBytes += rec.Size
	due := w.unstored >= checkpoint
	w.mu.Unlock()
	if due {
		return w.writeIndex(w.ctx)
	}
	return nil
}

// writeIndex puts an index object of the packs that none names yet.
func (w *Writer) writeIndex(ctx context.Context) error {
	w.indexMu.Lock()
	defer w.indexMu.Unlock()
	w.mu.Lock()
	packs := w.unindexed
	w.unindexed, w.unstored = nil, 0
	w.mu.Unlock()
	if len(packs) == 0 {
		return nil
	}
	plain, err := marshalIndex(packs)
	if err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	sealed, err := w.a.sealMeta(plain)
	if err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	key := sumKey(indexPrefix, time.Now(), sealed, 64)
	if err := putVerified(ctx, w.a.store, key, sealed, storage.PutOptions{RetainUntil: retainUntil(w.opt.Retain)}); err != nil {
		return fmt.Errorf("write the index: %w", err)
	}
	w.mu.Lock()
	w.stats.StoredBytes += int64(len(sealed))
	w.mu.Unlock()
	return nil
}

// replacePack adds a pack that was just put and proved: one of that name that
// was thought bad is good now.
func (x *index) replacePack(p *packRecord) {
	if n, ok := x.byPack[p.Pack]; ok {
		x.packs[n].state = packThere
		x.packs[n].size = p.Size
		return
	}
	x.addPack(p, "")
}

// openIndex loads the index and compares it with the packs in the store and
// with what the last check found.
func (a *Archive) openIndex(ctx context.Context) (*index, error) {
	var x *index
	var listed map[ID]int64
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		x, err = a.loadIndex(gctx)
		return err
	})
	g.Go(func() (err error) {
		listed, err = a.listPacks(gctx)
		return err
	})
	var last *checkRecord
	g.Go(func() (err error) {
		last, err = a.lastCheck(gctx)
		return err
	})
	if err := g.Wait(); err != nil {
		if errors.Is(err, ErrNoKey) {
			return nil, err
		}
		return nil, fmt.Errorf("open the archive of %s: %w", a.conf.Homeserver, err)
	}
	x.compare(listed)
	if last != nil {
		x.suspect(last.suspects())
	}
	return x, nil
}
