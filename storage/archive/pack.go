package archive

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/synapse-maint/synapse-maint/storage"
)

// pack is the one being filled.
type pack struct {
	body  []byte
	blobs []blobRecord
	units int64 // of memory
	from  *semaphore.Weighted
}

// append adds a stored blob to an open pack, and sends the pack when it is
// full. It waits while all memory for packs is taken: that is the back-pressure.
// A blob larger than a pack becomes one by itself, without a copy: taken says
// that stored belongs to the writer now.
func (w *Writer) append(ctx context.Context, id ID, stored []byte, size int, meta bool) (taken bool, err error) {
	if len(stored) > storage.MaxObject {
		return false, fmt.Errorf("%d bytes are more than an object may have", len(stored))
	}
	blob := blobRecord{ID: id, Stored: int64(len(stored)), Size: int64(size)}
	w.packMu.Lock()
	defer w.packMu.Unlock()
	if len(stored) > w.opt.PackSize {
		units := min(int64((len(stored)+w.opt.PackSize-1)/w.opt.PackSize), int64(w.opt.Uploads)+1)
		w.shipOpen() // they could hold the memory that we wait for
		if err := w.reserve(ctx, w.memory, units); err != nil {
			return false, err
		}
		w.ship(&pack{body: stored, blobs: []blobRecord{blob}, units: units, from: w.memory})
		return true, nil
	}
	open, limit, memory := &w.open, w.opt.PackSize, w.memory
	if meta {
		open, limit, memory = &w.meta, min(limit, metaPack), w.metaMemory
	}
	if *open != nil && len((*open).body)+len(stored) > limit {
		w.ship(*open)
		*open = nil
	}
	if *open == nil {
		if err := w.reserve(ctx, memory, 1); err != nil {
			return false, err
		}
		*open = &pack{units: 1, from: memory}
		if !meta {
			(*open).body = w.buffer()
		}
	}
	blob.Offset = int64(len((*open).body))
	(*open).blobs = append((*open).blobs, blob)
	(*open).body = append((*open).body, stored...)
	return false, nil
}

// shipOpen sends the packs that are being filled. The caller has packMu.
func (w *Writer) shipOpen() {
	for _, open := range []**pack{&w.open, &w.meta} {
		if *open != nil {
			w.ship(*open)
			*open = nil
		}
	}
}

// reserve waits for memory for packs, in units of a pack.
func (w *Writer) reserve(ctx context.Context, from *semaphore.Weighted, units int64) error {
	if from.TryAcquire(units) {
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer context.AfterFunc(w.ctx, func() { cancel(w.failure()) })()
	defer cancel(nil)
	if from.Acquire(ctx, units) != nil {
		return context.Cause(ctx)
	}
	return nil
}

// buffer returns the memory of a pack that is on its way no more, or new.
func (w *Writer) buffer() []byte {
	select {
	case b := <-w.free:
		return b[:0]
	default:
		return make([]byte, 0, w.opt.PackSize)
	}
}

// ship sends a pack in the background.
func (w *Writer) ship(p *pack) {
	w.uploads.Go(func() {
		defer p.from.Release(p.units)
		w.slots <- struct{}{}
		defer func() { <-w.slots }()
		if err := w.upload(p); err != nil {
			w.cancel(err)
		}
		if cap(p.body) == w.opt.PackSize {
			select {
			case w.free <- p.body:
			default:
			}
		}
	})
}

// upload puts a pack and makes its blobs known. Where the store says by its
// checksum that it took it, it is looked for when an index object is about to
// name it: to look at each right after its put would take as many requests
// again, and the time of another trip to the store.
func (w *Writer) upload(p *pack) error {
	sum := ID(sha256.Sum256(p.body))
	opt := storage.PutOptions{RetainUntil: lockUntil(w.opt.Retain)}
	w.mu.Lock()
	if w.index.marked[sum] && !w.a.Encrypted() { // encrypted bytes are never the same again
		p.rename()
		sum = sha256.Sum256(p.body)
	}
	// One that replaces a damaged pack of its name is read: a listing could show
	// the damaged one.
	_, old := w.index.byPack[sum]
	whole := old || w.stats.Packs%proofEvery == 0
	w.stats.Packs++
	w.mu.Unlock()
	seen, err := putPack(w.ctx, w.a.store, sum, p.body, opt, whole)
	if err != nil {
		return err
	}
	rec := packRecord{Pack: sum, Size: int64(len(p.body)), Blobs: p.blobs}
	w.mu.Lock()
	w.index.replacePack(&rec)
	for _, b := range p.blobs {
		delete(w.pending, b.ID)
	}
	w.unindexed = append(w.unindexed, rec)
	if !seen {
		w.unseen = append(w.unseen, rec)
	}
	w.unstored += rec.Size
	w.stats.StoredBytes += rec.Size
	due := w.unstored >= w.due
	w.mu.Unlock()
	if due {
		return w.writeIndex(w.ctx)
	}
	return nil
}

// rename gives a pack other bytes, and so another name, than those of one that is
// to be deleted: a prune may do that at any moment, and a store can't be told to
// delete only what was there before. It appends a skippable frame (RFC 8878,
// 3.1.2) of eight random bytes to the last blob, which zstd passes over.
func (p *pack) rename() {
	frame := binary.LittleEndian.AppendUint32(nil, 0x184D2A50)
	frame = binary.LittleEndian.AppendUint32(frame, 8)
	frame = append(frame, rand.Text()[:8]...)
	p.body = append(p.body, frame...)
	p.blobs[len(p.blobs)-1].Stored += int64(len(frame))
}

// writeIndex puts an index object of the packs that none names yet.
func (w *Writer) writeIndex(ctx context.Context) error {
	w.indexMu.Lock()
	defer w.indexMu.Unlock()
	w.mu.Lock()
	packs, unseen := w.unindexed, w.unseen
	w.unindexed, w.unseen, w.unstored = nil, nil, 0
	inArchive := len(w.index.packs)
	w.mu.Unlock()
	if len(packs) == 0 {
		return nil
	}
	if err := w.a.seePacks(ctx, unseen, inArchive); err != nil {
		return err
	}
	_, stored, err := w.a.putIndex(ctx, packs, w.opt.Retain)
	if err != nil {
		return err
	}
	w.mu.Lock()
	w.stats.StoredBytes += stored
	w.mu.Unlock()
	return nil
}

// putIndex puts an index object of packs, and its copy, and returns its key and
// the size of both; none of none. Of the copy the store's checksum is proof enough.
func (a *Archive) putIndex(ctx context.Context, packs []packRecord, retain time.Duration) (key string, stored int64, err error) {
	if len(packs) == 0 {
		return "", 0, nil
	}
	plain, err := marshalIndex(packs, rand.Text())
	if err != nil {
		return "", 0, fmt.Errorf("write the index: %w", err)
	}
	sealed, err := a.sealMeta(plain)
	if err != nil {
		return "", 0, fmt.Errorf("write the index: %w", err)
	}
	key = sumKey(indexPrefix, time.Now(), sealed, 64)
	opt := storage.PutOptions{RetainUntil: lockUntil(retain)}
	if err := putVerified(ctx, a.store, key, sealed, opt); err != nil {
		return "", 0, fmt.Errorf("write the index: %w", err)
	}
	opt.SHA256, _ = keySum(key, indexPrefix)
	if err := putVerified(ctx, a.store, indexCopy(key), sealed, opt); err != nil {
		return "", 0, fmt.Errorf("write the copy of the index: %w", err)
	}
	return key, 2 * int64(len(sealed)), nil
}

// replacePack adds a pack that was just put: one of that name that was thought
// bad was read in full, and is good now.
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
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		x, err = a.indexAndPacks(gctx)
		return err
	})
	var last *checkRecord
	g.Go(func() (err error) {
		last, err = a.lastCheck(gctx)
		return err
	})
	var marked []tombstone
	var locks []lockRecord
	g.Go(func() (err error) {
		marked, locks, err = a.tombstones(gctx)
		return err
	})
	if err := g.Wait(); err != nil {
		if errors.Is(err, ErrNoKey) {
			return nil, err
		}
		return nil, fmt.Errorf("open the archive of %s: %w", a.conf.Homeserver, err)
	}
	if err := a.lookFor(ctx, x, marked); err != nil {
		return nil, fmt.Errorf("open the archive of %s: %w", a.conf.Homeserver, err)
	}
	if last != nil {
		x.suspect(last.suspects())
		x.doubt(last.Damaged)
	}
	x.doom(marked)
	x.locks = locks
	x.settle()
	return x, nil
}

// indexAndPacks reads the index, and marks what of it the store does not have.
// It lists the packs after the index objects, never before: a run puts a pack
// and then the index of it, and what it writes right now must not look as if it
// were missing.
func (a *Archive) indexAndPacks(ctx context.Context) (*index, error) {
	for try := 1; ; try++ {
		pairs, err := a.listIndex(ctx)
		if err != nil {
			return nil, err
		}
		var x *index
		var packs map[ID]int64
		g, gctx := errgroup.WithContext(ctx)
		g.Go(func() (err error) {
			x, err = a.loadIndex(gctx, pairs)
			return err
		})
		g.Go(func() (err error) {
			packs, err = a.listPacks(gctx)
			return err
		})
		if err := g.Wait(); err != nil {
			return nil, err
		}
		if try == 1 && slices.ContainsFunc(x.broken, func(err error) bool { return errors.Is(err, errGone) }) {
			continue // a prune has just replaced what was listed
		}
		x.compare(packs)
		return x, nil
	}
}
