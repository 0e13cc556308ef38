package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
)

// ReaderOptions are a reader's; the zero value is good.
type ReaderOptions struct {
	// Warn is told what was found wrong with the index on opening. May be nil.
	Warn func(error)
}

// Reader reads blobs. It is safe for concurrent use; a call of [Reader.Blob]
// holds one stored and one plain blob in memory, [Reader.Blobs] what it says
// there.
type Reader struct {
	a     *Archive
	index *index
	room  *room
}

// WrongKey is [ErrNoKey] where identities were given, beside the job's, and none
// is that of a recipient.
func (a *Archive) WrongKey() error {
	if a.Encrypted() && !a.keyring.opens && a.keyring.others {
		return a.keyring.noKey("the data")
	}
	return nil
}

// Reader loads the index. In an encrypted archive it needs an identity:
// [ErrNoKey].
func (a *Archive) Reader(ctx context.Context, o ReaderOptions) (*Reader, error) {
	if a.Encrypted() && !a.keyring.opens && len(a.keyring.keys) > 0 {
		return nil, a.keyring.noKey("the data")
	}
	x, err := a.openIndex(ctx)
	if err != nil {
		return nil, err
	}
	if o.Warn != nil {
		for _, err := range x.problems() {
			o.Warn(err)
		}
	}
	return a.reading(x), nil
}

// reading is a reader by an index.
func (a *Archive) reading(x *index) *Reader {
	return &Reader{a: a, index: x, room: newRoom(readRoom, readShare)}
}

// Has says whether the store has a pack with the blob, as far as the index and a
// listing tell.
func (r *Reader) Has(id ID) bool {
	for range r.index.places(id) {
		return true
	}
	return false
}

// Blob returns a blob's plain bytes, which its ID vouches for. [ErrCorrupt]
// names the blob and the pack or index object that is damaged or missing; an ID
// that the archive never had is [fs.ErrNotExist].
func (r *Reader) Blob(ctx context.Context, id ID) ([]byte, error) {
	return r.read(ctx, id, nil)
}

// Opens fails with [ErrNoKey] where no identity opens a point's secrets and
// files, of which it reads one. Every other error is left to who reads them.
func (r *Reader) Opens(ctx context.Context, m *Manifest) error {
	one := func(ids []ID) error {
		_, err := r.Blob(ctx, ids[0])
		if errors.Is(err, ErrNoKey) {
			return err
		}
		return nil
	}
	if m.Secrets != nil && len(m.Secrets.Blobs) > 0 {
		return one(idsOf(m.Secrets.Blobs))
	}
	if m.Media == nil {
		return nil
	}
	for e, err := range Entries(ctx, r, m.Media) {
		if errors.Is(err, ErrNoKey) {
			return err
		}
		if err == nil && len(e.Blobs) > 0 {
			return one(e.Blobs)
		}
	}
	return nil
}

// read tries every place the blob is in, into dst if that is large enough.
func (r *Reader) read(ctx context.Context, id ID, dst []byte) ([]byte, error) {
	var first error
	for p := range r.index.places(id) {
		plain, err := r.readPlace(ctx, id, p, dst)
		if err == nil {
			return plain, nil
		}
		if ctx.Err() != nil || !errors.Is(err, ErrCorrupt) {
			return nil, err
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = r.index.absent(id)
	}
	return nil, first
}

// readPlace reads a blob from one place, twice if it must: wrong bytes on the
// wire are no damage.
func (r *Reader) readPlace(ctx context.Context, id ID, p place, dst []byte) ([]byte, error) {
	buf, tmp := r.room.take(int64(p.stored)), []byte(nil)
	defer func() { r.room.give(buf); r.room.give(tmp) }()
	for try := 1; ; try++ {
		var err error
		if buf, err = r.get(ctx, buf, p.pack, int64(p.offset), int64(p.stored)); err == nil {
			dst, tmp, err = r.a.openBlob(dst, tmp, buf, id, int(p.size))
		}
		if err == nil {
			return dst, nil
		}
		if try > 1 || !errors.Is(err, ErrCorrupt) {
			return nil, r.blame(id, p.pack, err)
		}
	}
}

// blame names the blob and its pack.
func (r *Reader) blame(id ID, pack uint32, err error) error {
	return fmt.Errorf("blob %s in %s: %w", id, packKey(r.index.packs[pack].sum), err)
}

// get reads a range of a pack into buf. A range that is cut is damage.
func (r *Reader) get(ctx context.Context, buf []byte, pack uint32, off, n int64) ([]byte, error) {
	buf = slices.Grow(buf[:0], int(n))[:n]
	body, err := r.a.store.Get(ctx, packKey(r.index.packs[pack].sum), off, n)
	if errors.Is(err, fs.ErrNotExist) {
		return buf, fmt.Errorf("%w: it is missing", ErrCorrupt)
	}
	if err != nil {
		return buf, err
	}
	defer body.Close()
	if _, err := io.ReadFull(body, buf); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return buf, fmt.Errorf("%w: it ends before byte %d", ErrCorrupt, off+n)
		}
		return buf, storeError(packKey(r.index.packs[pack].sum), err)
	}
	return buf, nil
}

// plan gathers blobs that follow each other in a pack into batches. Those that
// are nowhere get a batch without a range.
func (r *Reader) plan(ids []ID) []batch {
	var batches []batch
	for _, id := range ids {
		p, ok := first(r.index.places(id))
		if !ok {
			batches = append(batches, batch{ids: []ID{id}, places: []place{{}}})
			continue
		}
		from, to := int64(p.offset), int64(p.offset)+int64(p.stored)
		if n := len(batches) - 1; n >= 0 {
			b := &batches[n]
			if b.pack == p.pack && b.to > 0 && from >= b.to && from-b.to <= batchGap && to-b.from <= batchBytes {
				b.ids, b.places, b.to = append(b.ids, id), append(b.places, p), to
				continue
			}
		}
		batches = append(batches, batch{ids: []ID{id}, places: []place{p}, pack: p.pack, from: from, to: to})
	}
	return batches
}

func first(seq iter.Seq[place]) (place, bool) {
	for p := range seq {
		return p, true
	}
	return place{}, false
}
