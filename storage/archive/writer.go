package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// WriterOptions are a writer's; the zero value is good.
type WriterOptions struct {
	Level    int           // of zstd, as its program counts; 0 is 1, the fastest
	PackSize int           // bytes; 0 is 24 MiB; at most 32 MiB
	Retain   time.Duration // object lock of what is written, and of the point; 0 is none
	Workers  int           // how many goroutines compress at once; 0 is GOMAXPROCS; at most that and 4
	Uploads  int           // how many packs are sent at once; 0 is 2
	// Warn is told what was found wrong with the archive and is made good by
	// this run: damaged index objects, missing packs. May be nil.
	Warn func(error)
}

// Stats count what a writer did.
type Stats struct {
	NewBytes    int64 // plain bytes the archive did not have
	KnownBytes  int64 // plain bytes it had
	StoredBytes int64 // bytes added to the store: packs and index
	Blobs       int   // new ones
	Packs       int   // new ones
	// Unlocked is why the object lock of what was there was not extended, though
	// it was due; nil if it was.
	Unlocked error
}

// Writer adds blobs to an archive. Add may be called by many goroutines.
//
// Memory: packs take (Uploads + 1) times PackSize, 72 MiB by default, whatever
// the size of blobs, and those of metadata 8 MiB; each worker has its encoder
// (3 MiB) and one compressed blob, twice if encrypted: a fifth of the blob's
// size for COPY text, never more than it; the index takes 55 bytes a blob. With
// two workers and blobs of 8 MiB of COPY text that is about 95 MiB; with four,
// the most there are, and encrypted blobs that don't compress, 156 MiB. All of
// it is reused. Of blobs larger than 16 MiB only one at a time is compressed,
// which takes twice its size where it does not compress: the rows that long are
// few.
type Writer struct {
	a       *Archive
	opt     WriterOptions
	encoder *compressor
	ctx     context.Context // of the uploads; ends with the first error
	cancel  context.CancelCauseFunc
	uploads sync.WaitGroup
	scratch chan *scratch       // one for each worker
	slots   chan struct{}       // one for each upload under way
	free    chan []byte         // buffers of packs that were sent
	memory  *semaphore.Weighted // for packs, in units of PackSize
	// metaMemory is that for packs of metadata, each of metaPack bytes.
	metaMemory *semaphore.Weighted
	large      sync.Mutex // held while a large blob is compressed

	packMu sync.Mutex // the open packs
	open   *pack
	meta   *pack // of metadata: what is read back the next night lies together

	mu        sync.Mutex // what follows
	index     *index
	pending   map[ID]struct{} // claimed by an Add, not in the index yet
	unindexed []packRecord
	unseen    []packRecord // of them those that the store acknowledged, and nobody has looked at
	unstored  int64        // bytes of the packs in unindexed
	due       int64        // how many of them are written to the index at once
	stats     Stats

	indexMu sync.Mutex // one index object at a time
	added   atomic.Int64
}

// scratch holds a worker's buffers between blobs.
type scratch struct{ zip, enc []byte }

const (
	defaultPack = 24 << 20
	// metaPack is the size of packs of metadata.
	metaPack = 4 << 20
	// keepBuffer is the largest blob whose buffers are kept for the next: a few
	// rows of many MiB must not cost memory for the rest of the run.
	keepBuffer = 16 << 20
	// checkpoint is how much is stored until the index is written although the
	// run is not over: what a killed run has to send again at most.
	checkpoint = 256 << 20
	// maxWorkers bounds the memory. Four compress more than a network takes.
	maxWorkers = 4
	// proofEvery is how many new blobs it takes until one is decompressed
	// again and compared: after encryption nobody here can.
	proofEvery = 32
)

// Writer loads the index and begins to write. The uploads end when ctx does.
// Blobs that only a damaged index object or missing pack would have are taken
// for absent, so that this run stores them again.
func (a *Archive) Writer(ctx context.Context, o WriterOptions) (*Writer, error) {
	if o.PackSize <= 0 {
		o.PackSize = defaultPack
	}
	o.PackSize = min(o.PackSize, maxBlob)
	if o.Workers <= 0 {
		o.Workers = maxWorkers
	}
	o.Workers = min(o.Workers, runtime.GOMAXPROCS(0), maxWorkers)
	if o.Uploads <= 0 {
		o.Uploads = 2
	}
	if o.Warn == nil {
		o.Warn = func(error) {}
	}
	began := time.Now()
	x, err := a.openIndex(ctx)
	if err != nil {
		return nil, err
	}
	for _, err := range x.problems() {
		o.Warn(err)
	}
	if err := a.mendIndex(ctx, x, o.Retain); err != nil {
		o.Warn(err)
	}
	enc, err := newCompressor(o.Level, o.Workers)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.retain = o.Retain
	a.opened = began
	a.mu.Unlock()
	w := &Writer{
		a: a, opt: o, encoder: enc, index: x, pending: map[ID]struct{}{}, due: checkpoint,
		scratch: make(chan *scratch, o.Workers), free: make(chan []byte, o.Uploads+1), slots: make(chan struct{}, o.Uploads),
		memory: semaphore.NewWeighted(int64(o.Uploads) + 1), metaMemory: semaphore.NewWeighted(2),
	}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	for range o.Workers {
		w.scratch <- &scratch{}
	}
	return w, nil
}

// Add stores plain unless the archive has it, or another Add of this writer is
// storing it. isNew says that this call stores it. plain is not kept after the
// return. The blob is in the store only when Close has succeeded. After an
// error, ctx's end included, the writer is of no use but to be closed: others
// may have been told that the blob is known.
func (w *Writer) Add(ctx context.Context, plain []byte) (id ID, isNew bool, err error) {
	return w.add(ctx, plain, sha256.Sum256(plain), false)
}

// AddSum is [Writer.Add] for those who know the SHA-256 of plain already: its
// ID is made of that.
func (w *Writer) AddSum(ctx context.Context, plain []byte, sum ID) (id ID, isNew bool, err error) {
	return w.add(ctx, plain, sum, false)
}

// add is AddSum, also for metadata.
func (w *Writer) add(ctx context.Context, plain []byte, sum ID, meta bool) (id ID, isNew bool, err error) {
	if len(plain) > maxBlob {
		return id, false, fmt.Errorf("add a blob: %d bytes are more than the %d a blob may have", len(plain), maxBlob)
	}
	id = w.a.keyring.idOf(sum)
	if err := w.failure(); err != nil {
		return id, false, err
	}
	if !w.claim(id, int64(len(plain))) {
		return id, false, nil
	}
	if err := w.store(ctx, id, plain, meta); err != nil {
		err = fmt.Errorf("add blob %s: %w", id, err)
		w.cancel(err)
		return id, false, err
	}
	return id, true, nil
}

// claim says whether the caller has to store the blob.
func (w *Writer) claim(id ID, size int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, pending := w.pending[id]
	if pending || w.index.has(id) {
		w.stats.KnownBytes += size
		return false
	}
	w.pending[id] = struct{}{}
	w.stats.NewBytes += size
	w.stats.Blobs++
	return true
}

// store compresses, encrypts and packs a blob.
func (w *Writer) store(ctx context.Context, id ID, plain []byte, meta bool) error {
	var s *scratch
	select {
	case s = <-w.scratch:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-w.ctx.Done():
		return w.failure()
	}
	defer func() { w.scratch <- s }()
	if len(plain) > keepBuffer {
		// Buffers of its own, of the full size at once: growing them would
		// cost several times as much.
		w.large.Lock()
		defer w.large.Unlock()
		s2 := &scratch{zip: make([]byte, 0, w.encoder.level.MaxEncodedSize(len(plain)))}
		return w.storeIn(ctx, s2, id, plain, meta)
	}
	return w.storeIn(ctx, s, id, plain, meta)
}

func (w *Writer) storeIn(ctx context.Context, s *scratch, id ID, plain []byte, meta bool) error {
	s.zip = w.encoder.append(s.zip[:0], plain)
	if w.added.Add(1)%proofEvery == 1 {
		if err := w.prove(plain, s); err != nil {
			return err
		}
	}
	stored := &s.zip
	if w.a.keyring.encrypted() {
		to := w.a.keyring.blobs
		if meta {
			to = w.a.keyring.meta
		}
		var err error
		if s.enc, err = encrypt(s.enc[:0], s.zip, to); err != nil {
			return err
		}
		stored = &s.enc
	}
	taken, err := w.append(ctx, id, *stored, len(plain), meta)
	if taken {
		*stored = nil
	}
	return err
}

// prove decompresses what was just compressed and compares.
func (w *Writer) prove(plain []byte, s *scratch) error {
	dec, err := w.a.codec.blobDecoder()
	if err != nil {
		return err
	}
	s.enc, err = dec.DecodeAll(s.zip, s.enc[:0])
	if err != nil || !bytes.Equal(s.enc, plain) {
		return fmt.Errorf("it does not decompress to what it was (bad memory?): %w", errors.Join(ErrCorrupt, err))
	}
	return nil
}

// failure returns why the writer can't go on, or nil.
func (w *Writer) failure() error {
	if w.ctx.Err() == nil {
		return nil
	}
	return context.Cause(w.ctx)
}

// Stats counts what was done so far.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stats
}

// Close stores what is left and writes the index. When it returns without an
// error every blob that was added is in the store, proved to be there (its pack
// by the store's checksum and size, or by reading it), and indexed.
// What earlier runs have put is locked again where that is due: see lock.go.
// Close may be called after a failed Add, and tells its error.
func (w *Writer) Close(ctx context.Context) (Stats, error) {
	stop := context.AfterFunc(ctx, func() { w.cancel(context.Cause(ctx)) })
	defer stop()
	w.packMu.Lock()
	if w.failure() == nil {
		w.shipOpen()
	}
	w.packMu.Unlock()
	w.uploads.Wait()
	err := w.failure()
	if err == nil {
		err = w.writeIndex(w.ctx)
	}
	defer w.Abort()
	if err != nil {
		return w.Stats(), err
	}
	stats := w.Stats()
	stats.Unlocked = w.a.extendLocks(w.ctx, w.index, w.opt.Retain, nil)
	w.a.mu.Lock()
	w.a.known = w.index
	w.a.mu.Unlock()
	return stats, nil
}

// errAborted is why an aborted writer can't go on.
var errAborted = errors.New("the writer is closed")

// Abort ends the writer at once. What was stored stays, and is found again by
// the next run as far as it was indexed. After Close it does nothing.
func (w *Writer) Abort() {
	w.cancel(errAborted)
	w.uploads.Wait()
	w.packMu.Lock()
	w.open, w.meta = nil, nil
	w.packMu.Unlock()
}

// problems says what of the index can't be used, one line each, in order.
func (x *index) problems() []error {
	errs := slices.Clone(x.broken)
	for _, err := range x.spared() {
		errs = append(errs, err)
	}
	for _, p := range x.packs {
		switch p.state {
		case packMissing:
			errs = append(errs, corrupt(packKey(p.sum), "it is missing"))
		case packShort:
			errs = append(errs, corrupt(packKey(p.sum), "its size is not the %d bytes the index says", p.size))
		case packSuspect:
			errs = append(errs, corrupt(packKey(p.sum), "the last check found it so"))
		}
	}
	return errs
}
