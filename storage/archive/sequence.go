package archive

import (
	"context"
	"errors"
	"iter"
)

const (
	// batchBytes bounds what Blobs fetches in one request.
	batchBytes = 8 << 20
	// batchGap is what it reads and throws away to save a request.
	batchGap = 512 << 10
)

// Blobs yields the plain bytes of the blobs in the order of ids, each valid
// until the next. It fetches neighbours in a pack with one request and, where
// memory allows, the next such run while this one is used. After an error, as
// [Reader.Blob] returns it, the rest is still yielded: the caller decides
// whether to go on.
//
// All calls of a reader together hold at most 80 MiB (128 MiB where blobs have
// 32 MiB): a call waits, before its first blob, until there is room for its
// largest one, stored, decrypted and plain; the first that asked is the first
// to begin. So a caller that needs one call to end before another goes on has
// to begin them in that order.
func (r *Reader) Blobs(ctx context.Context, ids []ID) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		s := &sequence{r: r, ctx: ctx, batches: r.plan(ids)}
		defer func() { cancel(); s.end() }()
		err := s.begin()
		for i := range s.batches {
			if err == nil && !s.batch(i, yield) {
				return
			}
			for range s.batches[i].ids {
				if err != nil && !yield(nil, err) {
					return
				}
			}
		}
	}
}

// sequence is a call of Blobs.
type sequence struct {
	r       *Reader
	ctx     context.Context
	batches []batch
	held    int64    // bytes of the reader's room, for the batch in use
	next    *fetched // the one after it; nil: not begun
	plain   []byte
	tmp     []byte
}

// batch is a run of blobs that are fetched at once.
type batch struct {
	ids    []ID
	places []place
	pack   uint32
	from   int64 // of the pack
	to     int64
}

// fetched is a batch's stored bytes on their way.
type fetched struct {
	extra int64         // bytes of the room
	done  chan struct{} // closed when they are there
	buf   []byte        // nil: it failed
}

// begin waits until there is room for the largest batch.
func (s *sequence) begin() (err error) {
	var stored, opened int64
	for i := range s.batches {
		b := &s.batches[i]
		stored = max(stored, b.to-b.from)
		for _, p := range b.places {
			n := int64(p.size)
			if s.r.a.Encrypted() {
				n += int64(p.stored)
			}
			opened = max(opened, n)
		}
	}
	s.held, err = s.r.room.claim(s.ctx, stored+opened)
	return err
}

// end gives everything back.
func (s *sequence) end() {
	if s.next != nil {
		<-s.next.done
		s.r.room.give(s.next.buf)
		s.r.room.release(s.next.extra)
	}
	s.r.room.give(s.plain)
	s.r.room.give(s.tmp)
	s.r.room.release(s.held)
}

// batch yields the blobs of a batch.
func (s *sequence) batch(i int, yield func([]byte, error) bool) bool {
	b, f := &s.batches[i], s.next
	if f == nil {
		f = s.fetch(b, 0)
	}
	<-f.done
	s.r.room.release(f.extra) // of the batch before nothing is left
	s.next = nil
	buf := f.buf
	defer func() { s.r.room.give(buf) }()
	last := i == len(s.batches)-1
	if !last {
		if n := &s.batches[i+1]; s.r.room.try(n.to - n.from) {
			s.next = s.fetch(n, n.to-n.from)
		}
	}
	for n := range b.ids {
		data, err := s.open(b, n, buf)
		if last && n == len(b.ids)-1 {
			buf = s.shrink(buf, int64(len(data)))
		}
		if !yield(data, err) {
			return false
		}
	}
	return true
}

// shrink keeps room for n bytes alone: what is done with the last blob may take
// long.
func (s *sequence) shrink(buf []byte, n int64) []byte {
	s.r.room.give(buf)
	s.r.room.give(s.tmp)
	s.tmp = nil
	if over := s.held - n; over > 0 {
		s.held -= over
		s.r.room.release(over)
	}
	return nil
}

// fetch begins to fetch a batch. One that fails comes without bytes: its blobs
// are then read one by one, which finds the error's place.
func (s *sequence) fetch(b *batch, extra int64) *fetched {
	f := &fetched{extra: extra, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		if b.to == b.from {
			return
		}
		buf, err := s.r.get(s.ctx, s.r.room.take(b.to-b.from), b.pack, b.from, b.to-b.from)
		if err != nil {
			s.r.room.give(buf)
			return
		}
		f.buf = buf
	}()
	return f
}

// open decodes blob i of a batch from buf, or reads it by itself where buf is
// of no use.
func (s *sequence) open(b *batch, i int, buf []byte) ([]byte, error) {
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	id, p := b.ids[i], b.places[i]
	s.fit(p)
	if buf != nil {
		at := int64(p.offset) - b.from
		var err error
		s.plain, s.tmp, err = s.r.a.openBlob(s.plain, s.tmp, buf[at:at+int64(p.stored)], id, int(p.size))
		if err == nil {
			return s.plain, nil
		}
		if !errors.Is(err, ErrCorrupt) {
			return nil, s.r.blame(id, b.pack, err)
		}
	}
	got, err := s.r.read(s.ctx, id, s.plain)
	if err == nil {
		s.plain = got
	}
	return got, err
}

// fit makes the buffers large enough for a blob.
func (s *sequence) fit(p place) {
	fit := func(b *[]byte, n uint32) {
		if cap(*b) < int(n) {
			s.r.room.give(*b)
			*b = s.r.room.take(int64(n))
		}
	}
	fit(&s.plain, p.size)
	if s.r.a.Encrypted() {
		fit(&s.tmp, p.stored)
	}
}
