package archive

import (
	"context"
	"crypto/sha256"
	"iter"
)

// AddMeta is [Writer.Add] for bytes that the job itself has to read back
// tomorrow: in an encrypted archive they are encrypted to the job identity, too.
// They have packs of their own, so that it takes few requests.
func (w *Writer) AddMeta(ctx context.Context, plain []byte) (id ID, isNew bool, err error) {
	return w.add(ctx, plain, sha256.Sum256(plain), true)
}

// Has says whether the blob is in the archive, or is being put there by this
// writer.
func (w *Writer) Has(id ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, pending := w.pending[id]
	return pending || w.index.has(id)
}

// Err is why the writer can't go on: nil while it can.
func (w *Writer) Err() error { return w.failure() }

// Near is [Reader.Near].
func (w *Writer) Near(ids []ID) []ID {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.index.near(ids)
}

// Blobs is [Reader.Blobs] for blobs that were there when the writer began:
// a run reads what the last one listed without loading the index twice.
func (w *Writer) Blobs(ctx context.Context, ids []ID) iter.Seq2[[]byte, error] {
	w.mu.Lock()
	some := w.index.only(ids)
	w.mu.Unlock()
	return w.a.reading(some).Blobs(ctx, ids)
}

// only returns an index of certain blobs.
func (x *index) only(ids []ID) *index {
	some := newIndex()
	some.broken = x.broken
	for _, id := range ids {
		for p := range x.allPlaces(id) {
			info := x.packs[p.pack]
			n, ok := some.byPack[info.sum]
			if !ok {
				n = uint32(len(some.packs))
				some.byPack[info.sum] = n
				some.packs = append(some.packs, info)
			}
			p.pack = n
			some.add(id, p)
		}
	}
	return some
}

// Encrypted says whether what is added is encrypted.
func (w *Writer) Encrypted() bool { return w.a.Encrypted() }
