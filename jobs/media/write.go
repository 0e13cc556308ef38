package media

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/synapse-maint/synapse-maint/storage/archive"
)

const (
	// gatherFiles and gatherBytes bound what is gathered before it is written:
	// the more, the more of a night's few files, which lie in one pack and all
	// over the listing, are read with one request. An entry takes about 300
	// bytes, and there are two such batches.
	gatherFiles = 16 << 10
	gatherBytes = 1 << 30
	// runFiles and runBytes bound what one worker writes of it at a time.
	runFiles = 512
	runBytes = 16 << 20
)

// run is what a worker writes at a time: files of one blob each, by their
// blobs, in the order of the packs; or one file of several.
type run struct {
	ids   []archive.ID
	files [][]archive.Entry // of each blob; nil where large is set
	large *archive.Entry
}

// gathered are files that are to be written.
type gathered struct {
	reader *archive.Reader
	small  map[archive.ID][]archive.Entry
	empty  []archive.Entry
	large  []archive.Entry
	files  int
	bytes  int64
	share  int // of the bounds that it may reach: 1 is all, 8 an eighth
}

func (b *gathered) add(e archive.Entry) {
	b.files++
	switch len(e.Blobs) {
	case 0:
		b.empty = append(b.empty, e)
	case 1:
		if b.small == nil {
			b.small = map[archive.ID][]archive.Entry{}
		}
		if b.small[e.Blobs[0]] == nil {
			b.bytes += e.Size
		}
		b.small[e.Blobs[0]] = append(b.small[e.Blobs[0]], e)
	default:
		b.large = append(b.large, e)
		b.bytes += e.Size
	}
}

func (b *gathered) full() bool {
	return b.files >= gatherFiles/b.share || b.bytes >= gatherBytes/int64(b.share)
}

// send hands what was gathered to the workers.
func (b *gathered) send(ctx context.Context, to chan<- run) error {
	put := func(r run) error {
		select {
		case to <- r:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if len(b.empty) > 0 {
		if err := put(run{files: [][]archive.Entry{b.empty}}); err != nil {
			return err
		}
	}
	for i := range b.large {
		if err := put(run{ids: b.large[i].Blobs, large: &b.large[i]}); err != nil {
			return err
		}
	}
	ids := make([]archive.ID, 0, len(b.small))
	for id := range b.small {
		ids = append(ids, id)
	}
	var r run
	size := int64(0)
	for _, id := range b.reader.Near(ids) {
		files := b.small[id]
		r.ids, r.files = append(r.ids, id), append(r.files, files)
		if size += files[0].Size; len(r.ids) < runFiles && size < runBytes {
			continue
		}
		if err := put(r); err != nil {
			return err
		}
		r, size = run{}, 0
	}
	if len(r.ids) > 0 {
		if err := put(r); err != nil {
			return err
		}
	}
	return nil
}

// writer writes files. It belongs to one goroutine.
type writer struct {
	*filling
	buf []byte

	counted int64  // bytes of the file under way that the progress has already
	folder  string // that is open
	dir     int
	opened  bool
}

func (w *writer) run(ctx context.Context, r run) error {
	if r.large != nil {
		return w.skipOr(ctx, r.large, w.many(ctx, r.large))
	}
	if len(r.ids) == 0 { // empty files
		for i := range r.files[0] {
			e := &r.files[0][i]
			if err := w.skipOr(ctx, e, w.whole(e, nil)); err != nil {
				return err
			}
		}
		return nil
	}
	i := 0
	for plain, err := range w.opt.Reader.Blobs(ctx, r.ids) {
		for n := range r.files[i] {
			e := &r.files[i][n]
			one := unreached(err)
			if one == nil {
				one = w.whole(e, plain)
			}
			if err := w.skipOr(ctx, e, one); err != nil {
				return err
			}
		}
		i++
	}
	return context.Cause(ctx)
}

// skipOr passes a file over whose bytes are damaged or whose place refuses it.
// A store that does not answer ends everything.
func (w *writer) skipOr(ctx context.Context, e *archive.Entry, err error) error {
	var errno unix.Errno
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errUnreached):
	case errors.Is(err, archive.ErrCorrupt), errors.Is(err, errRefused), errors.As(err, &errno) && !hopeless(err):
		return w.skip(e, err)
	}
	return fmt.Errorf("%s: %w", printable(e.Path), err)
}

// errUnreached says that the archive does not answer.
var errUnreached = errors.New("read the archive")

// unreached marks an error of reading the archive that is no damage of a blob.
func unreached(err error) error {
	if err == nil || errors.Is(err, archive.ErrCorrupt) {
		return err
	}
	return fmt.Errorf("%w: %w", errUnreached, err)
}

// errRefused says that a file can't be written where it belongs.
var errRefused = errors.New("it can't be written")

// open returns the folder of a path. The last one stays open: neighbours follow.
func (w *writer) open(path string) (name string, err error) {
	folder, name := split(path)
	if w.opened && w.folder == folder {
		return name, nil
	}
	w.leave()
	if w.dir, err = w.place.in(folder); err != nil {
		return "", err
	}
	w.folder, w.opened = folder, true
	return name, nil
}

func (w *writer) leave() {
	if w.opened {
		_ = unix.Close(w.dir)
		w.opened = false
	}
}

// create makes a temporary file beside the path's place, lets fill write it,
// and gives it its name.
func (w *writer) create(e *archive.Entry, fill func(fd int) error) error {
	name, err := w.open(e.Path)
	if err != nil {
		return err
	}
	tmp := w.place.fresh()
	fd, err := unix.Openat(w.dir, tmp, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	err = fill(fd)
	if closed := unix.Close(fd); err == nil {
		err = closed
	}
	if err == nil {
		err = w.place.finish(w.dir, tmp, name, e)
	}
	if err != nil {
		_ = unix.Unlinkat(w.dir, tmp, 0)
		return err
	}
	w.mu.Lock()
	w.note.Files++
	w.note.Bytes += e.Size
	w.mu.Unlock()
	w.progress.file(e.Size-w.counted, false)
	w.wrote(e.Size)
	return nil
}

// whole writes a file of one blob, or none.
func (w *writer) whole(e *archive.Entry, plain []byte) error {
	// Mostly the ID, which the reader has checked, is that hash.
	known := len(e.Blobs) == 1 && e.Blobs[0] == e.SHA256
	if int64(len(plain)) != e.Size || !known && archive.ID(sha256.Sum256(plain)) != e.SHA256 {
		return fmt.Errorf("%w: its bytes are not those that the point has recorded", archive.ErrCorrupt)
	}
	return w.create(e, func(fd int) error {
		if e.Sparse {
			return w.holey(fd, plain, 0, e.Size)
		}
		return w.put(fd, plain, 0)
	})
}

// many writes a file of several blobs.
func (w *writer) many(ctx context.Context, e *archive.Entry) (err error) {
	defer func() {
		if err != nil {
			w.progress.part(-w.counted)
		}
		w.counted = 0
	}()
	return w.create(e, func(fd int) error {
		sum := sha256.New()
		at := int64(0)
		for plain, err := range w.opt.Reader.Blobs(ctx, e.Blobs) {
			if err := unreached(err); err != nil {
				return err
			}
			sum.Write(plain)
			if e.Sparse {
				err = w.holey(fd, plain, at, e.Size)
			} else {
				err = w.put(fd, plain, at)
			}
			if err != nil {
				return err
			}
			at += int64(len(plain))
			w.counted = at
			w.progress.part(int64(len(plain)))
		}
		if at != e.Size || archive.ID(sum.Sum(nil)) != e.SHA256 {
			return fmt.Errorf("%w: its bytes are not those that the point has recorded", archive.ErrCorrupt)
		}
		return context.Cause(ctx)
	})
}

// put writes bytes and reads them back: a file system that took other bytes is
// found out while the file has no name yet.
func (w *writer) put(fd int, plain []byte, at int64) error {
	for rest, off := plain, at; len(rest) > 0; {
		n, err := w.place.pwrite(fd, rest, off)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		rest, off = rest[n:], off+int64(n)
	}
	const piece = 256 << 10
	if w.buf == nil {
		w.buf = make([]byte, piece)
	}
	for off := 0; off < len(plain); {
		want := plain[off:min(off+piece, len(plain))]
		n, err := w.place.pread(fd, w.buf[:len(want)], at+int64(off))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 || !bytes.Equal(w.buf[:n], want[:n]) {
			return fmt.Errorf("%w: what was written is not what can be read", errRefused)
		}
		off += n
	}
	return nil
}

// holey writes bytes of a file that had holes, and leaves holes where there are
// pages of zeros.
func (w *writer) holey(fd int, plain []byte, at, size int64) error {
	const page = 4096
	if at == 0 {
		if err := unix.Ftruncate(fd, size); err != nil {
			return err
		}
	}
	var zeros [page]byte
	from := -1 // where what has to be written begins
	for i := 0; i < len(plain); i += page {
		hole := bytes.Equal(plain[i:min(i+page, len(plain))], zeros[:min(page, len(plain)-i)])
		if !hole && from < 0 {
			from = i
		}
		if hole && from >= 0 {
			if err := w.put(fd, plain[from:i], at+int64(from)); err != nil {
				return err
			}
			from = -1
		}
	}
	if from >= 0 {
		return w.put(fd, plain[from:], at+int64(from))
	}
	return nil
}
