package archive

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"maps"
	"math"
	"slices"

	"golang.org/x/sync/errgroup"
)

// checkers is how many packs are read at once: each holds a blob.
const checkers = 4

// badPack says what of a pack is damaged.
type badPack struct {
	err   error
	whole bool        // all of it, or nobody knows which
	gone  bool        // it was listed, and is not there
	blobs map[ID]bool // else these
	inner bool        // the pack is what its name says: only a key tells
}

// wholePack notes that nothing of a pack can be used.
func (c *checker) wholePack(n uint32, err error) {
	c.badPack(n, &badPack{err: err, whole: true})
}

func (c *checker) badPack(n uint32, b *badPack) {
	key := packKey(c.index.packs[n].sum)
	c.damage(key, b.err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bad[n] = b
	if b.inner {
		c.damaged[key].blobs = slices.SortedFunc(maps.Keys(b.blobs), func(x, y ID) int { return slices.Compare(x[:], y[:]) })
	}
}

// usable says whether a blob can be read from a place.
func (c *checker) usable(id ID, p place) bool {
	b := c.bad[p.pack]
	return b == nil || !b.whole && !b.blobs[id]
}

// readPacks reads the packs that are due: a share of those that the points
// need, or of all, and those that were damaged before.
func (c *checker) readPacks(ctx context.Context, points []string) error {
	if err := c.orphans(ctx); err != nil {
		return err
	}
	need, err := c.neededPacks(ctx, points)
	if err != nil {
		return err
	}
	due := c.sample(need)
	for _, n := range due {
		c.total += c.index.packs[n].size
	}
	blobs := c.index.blobsOf(due)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(checkers)
	for _, n := range due {
		g.Go(func() error { return c.checkPack(gctx, n, blobs[n]) })
	}
	return g.Wait()
}

// sample returns the packs that are to be read: those that were damaged before,
// and a share of those needed (nil: all), at least one, for a share of a few
// would often be none.
func (c *checker) sample(need map[uint32]bool) (due []uint32) {
	nearest, least, picked := -1, math.Inf(1), 0
	for i := range c.index.packs {
		p := &c.index.packs[i]
		score := c.score(p.sum)
		switch {
		case p.state == packSuspect:
			due = append(due, uint32(i))
		case p.state != packThere && p.state != packDoomed || need != nil && !need[uint32(i)]:
		case score < c.opt.ReadData || c.opt.ReadData >= 1:
			due = append(due, uint32(i))
			picked++
		case score < least:
			nearest, least = i, score
		}
	}
	if c.opt.ReadData > 0 && picked == 0 && nearest >= 0 {
		due = append(due, uint32(nearest))
	}
	return due
}

// score is where a pack is between 0 and 1: by a hash, so that the seed alone
// decides which are read.
func (c *checker) score(sum ID) float64 {
	h := sha256.Sum256(binary.LittleEndian.AppendUint64(sum[:], c.opt.Seed))
	return float64(binary.LittleEndian.Uint64(h[:8])) / math.MaxUint64
}

// orphans adds the packs that no index object names, when everything is to be
// read: their checksums can be checked all the same.
func (c *checker) orphans(ctx context.Context) error {
	if c.opt.ReadData < 1 || len(c.opt.Points) > 0 {
		return nil
	}
	listed, err := c.a.listPacks(ctx)
	if err != nil {
		return err
	}
	for sum, size := range listed {
		c.index.addPack(&packRecord{Pack: sum, Size: size}, "")
	}
	c.report.Packs = len(c.index.packs)
	return nil
}

// neededPacks returns the packs that certain points need; nil is all packs.
func (c *checker) neededPacks(ctx context.Context, points []string) (map[uint32]bool, error) {
	if len(c.opt.Points) == 0 || c.opt.ReadData <= 0 {
		return nil, nil
	}
	need := map[uint32]bool{}
	for _, id := range points {
		m, err := c.a.readManifest(ctx, id)
		if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion) {
			continue // judge says so
		}
		if err != nil {
			return nil, err
		}
		for _, blobs := range m.parts() {
			for _, b := range blobs {
				c.need(need, b.ID)
			}
		}
		if m.Media == nil {
			continue
		}
		all := func(id ID) error { c.need(need, id); return nil }
		err = c.a.eachFile(ctx, c.index, m.Media, map[ID]struct{}{}, all, func(e *Entry) error {
			for _, id := range e.Blobs {
				c.need(need, id)
			}
			return nil
		})
		if err != nil && (ctx.Err() != nil || !errors.Is(err, ErrCorrupt) && !errors.Is(err, errNoBlob)) {
			return nil, err // what is damaged is for judge to say
		}
	}
	return need, nil
}

func (c *checker) need(packs map[uint32]bool, id ID) {
	for p := range c.index.places(id) {
		packs[p.pack] = true
	}
}

// checkPack reads a pack, twice if the first time something was wrong.
func (c *checker) checkPack(ctx context.Context, n uint32, blobs []entry) error {
	var bad *badPack
	var err error
	for range 2 {
		if bad, err = c.tryPack(ctx, n, blobs); err != nil {
			return err
		}
		if bad == nil {
			break
		}
	}
	if bad == nil && c.index.packs[n].state == packSuspect && !c.decodes() {
		bad = c.innerDamage(packKey(c.index.packs[n].sum))
	}
	if bad != nil {
		c.badPack(n, bad)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.read[n] = true
	switch p := &c.index.packs[n]; {
	case bad == nil && p.state == packSuspect:
		p.state = packThere
	case bad != nil && bad.gone && p.state == packDoomed:
		p.state = packPruned
	case bad != nil && bad.gone:
		p.state = packMissing
	}
	c.report.Read++
	c.report.Bytes += c.index.packs[n].size
	c.done += c.index.packs[n].size
	if c.opt.Progress != nil {
		c.opt.Progress(c.done, c.total)
	}
	return nil
}

// decodes says whether blobs are decrypted and compared with their IDs.
func (c *checker) decodes() bool { return !c.a.Encrypted() || c.a.keyring.opens }

// innerDamage is what a check with a key found in a pack whose checksum is right:
// one without a key can't take that back. nil if nothing.
func (c *checker) innerDamage(key string) *badPack {
	if c.last == nil {
		return nil // another has just found it, see join
	}
	for _, d := range c.last.Damaged {
		if d.Key != key || len(d.Blobs) == 0 {
			continue
		}
		b := badPack{err: corrupt(key, "%d of its blobs, %s the first, as a check with a key has found", len(d.Blobs), d.Blobs[0]), blobs: map[ID]bool{}, inner: true}
		for _, id := range d.Blobs {
			b.blobs[id] = true
		}
		return &b
	}
	return nil
}

// tryPack reads a pack once, blob by blob.
func (c *checker) tryPack(ctx context.Context, n uint32, blobs []entry) (*badPack, error) {
	p := c.index.packs[n]
	key := packKey(p.sum)
	body, err := c.a.store.Get(ctx, key, 0, -1)
	if errors.Is(err, fs.ErrNotExist) {
		return &badPack{err: corrupt(key, "it is missing"), whole: true, gone: true}, nil
	}
	if err != nil {
		return nil, storeError(key, err)
	}
	defer body.Close()
	s := packScan{a: c.a, body: body, hash: sha256.New(), decode: c.decodes()}
	err = s.scan(blobs)
	switch {
	case errors.Is(err, ErrCorrupt):
		return &badPack{err: corrupt(key, "%v", err), whole: true}, nil
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", key, err)
	case len(s.bad) > 0:
		return &badPack{err: corrupt(key, "%d of its %d blobs, %s the first", len(s.bad), len(blobs), s.first), blobs: s.bad, inner: ID(s.hash.Sum(nil)) == p.sum}, nil
	case ID(s.hash.Sum(nil)) != p.sum:
		return &badPack{err: corrupt(key, "its bytes have another SHA-256 than the one in its name"), whole: true}, nil
	}
	return nil, nil
}

// packScan reads a pack's bytes once.
type packScan struct {
	a      *Archive
	body   io.Reader
	hash   hash.Hash
	decode bool

	stored, plain, tmp []byte
	bad                map[ID]bool
	first              ID
}

// scan reads all of the pack, in the order of its blobs. [ErrCorrupt] where it
// ends too early or late or the store's own checksum differs, if no blob tells
// which part of it is wrong.
func (s *packScan) scan(blobs []entry) error {
	for i := range blobs {
		b := &blobs[i]
		s.stored = slices.Grow(s.stored[:0], int(b.stored))[:b.stored]
		if _, err := io.ReadFull(s.body, s.stored); err != nil {
			return s.cut(err)
		}
		s.hash.Write(s.stored)
		if !s.decode {
			continue
		}
		var err error
		s.plain, s.tmp, err = s.a.openBlob(s.plain, s.tmp, s.stored, b.id, int(b.size))
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return err
		}
		if err != nil && s.bad == nil {
			s.bad, s.first = map[ID]bool{}, b.id
		}
		if err != nil {
			s.bad[b.id] = true
		}
	}
	if _, err := io.Copy(s.hash, s.body); err != nil && len(s.bad) == 0 {
		return s.cut(err)
	}
	return nil
}

// cut tells damage from an error of the store.
func (s *packScan) cut(err error) error {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("it is cut: %w", ErrCorrupt)
	case errors.Is(err, ErrCorrupt):
		return err
	}
	return storeError("it", err)
}

// blobsOf returns the blobs of some packs, by offset.
func (x *index) blobsOf(packs []uint32) map[uint32][]entry {
	blobs := make(map[uint32][]entry, len(packs))
	for _, n := range packs {
		blobs[n] = nil
	}
	put := func(id ID, p place) {
		if list, ok := blobs[p.pack]; ok {
			blobs[p.pack] = append(list, entry{id, p})
		}
	}
	for _, seg := range x.segs {
		for i := range seg {
			put(seg[i].id, seg[i].place)
		}
	}
	for id, places := range x.more {
		for _, p := range places {
			put(id, p)
		}
	}
	for _, list := range blobs {
		slices.SortFunc(list, func(a, b entry) int { return int(a.offset) - int(b.offset) })
	}
	return blobs
}
