package media

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"slices"
	"syscall"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// partSize is what large files are cut into: places that a file which grows at
// its end keeps.
const partSize = 8 << 20

// reader reads files and adds their bytes to the archive. It belongs to one
// goroutine and keeps one buffer.
type reader struct {
	*taking
	buf []byte
}

// read fills in what a file's bytes say, and what became of it. It fails only
// where the run can't go on.
func (r *reader) read(ctx context.Context, it *item) error {
	for try := 1; ; try++ {
		steady, err := r.attempt(ctx, it)
		again := try == 1
		switch {
		case err == nil && steady:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case r.w.Err() != nil:
			return r.w.Err()
		case again && (err == nil || gone(err) || errors.Is(err, storage.ErrChanged) || errors.Is(err, syscall.ESTALE)):
			continue // stale is what NFS calls a file that another machine has deleted
		case err == nil:
			it.unstable = true
			return nil
		case gone(err):
			it.gone = true
			return nil
		case its(err):
			it.odd, it.unread = err.Error(), !errors.Is(err, storage.ErrChanged)
			if errors.Is(err, fs.ErrPermission) {
				it.odd = unreadable
			}
			return nil
		}
		return fmt.Errorf("read %s/%s: %w", r.part.opt.name(), printable(it.Path), err)
	}
}

// its says whether an error is one file's own matter: its rights, bad sectors
// under it, or a path that is longer than the system takes in one call.
func its(err error) bool {
	for _, known := range []error{fs.ErrPermission, syscall.EIO, syscall.ENAMETOOLONG, storage.ErrDamaged, storage.ErrChanged} {
		if errors.Is(err, known) {
			return true
		}
	}
	return false
}

// attempt reads a file once. steady says that it did not change meanwhile.
func (r *reader) attempt(ctx context.Context, it *item) (steady bool, err error) {
	c, err := r.src.open(ctx, &it.found)
	if err != nil {
		return false, err
	}
	defer c.Close()
	size, modified, err := c.now()
	if err != nil {
		return false, err
	}
	it.Blobs, it.Modified, it.Sparse = nil, modified, c.sparse()
	if it.Size, err = r.bytes(ctx, it, c, size); err != nil {
		return false, err
	}
	after, last, err := c.now()
	return after == size && it.Size == size && last.Equal(modified), err
}

// bytes adds a file's bytes, as many as there are to read.
func (r *reader) bytes(ctx context.Context, it *item, c io.Reader, size int64) (n int64, err error) {
	var whole hash.Hash // of a file of several parts
	for {
		part, end, err := r.part1(c, size-n)
		if err != nil {
			return n, err
		}
		n += int64(len(part))
		if len(part) > 0 || n == 0 {
			sum := archive.ID(sha256.Sum256(part))
			switch {
			case whole != nil:
				whole.Write(part)
			case end:
				it.SHA256 = sum
			default:
				whole = sha256.New()
				whole.Write(part)
			}
			if len(part) > 0 {
				id, _, err := r.w.AddSum(ctx, part, sum)
				if err != nil {
					return n, err
				}
				it.Blobs = append(it.Blobs, id)
			}
		}
		if end {
			if whole != nil {
				whole.Sum(it.SHA256[:0])
			}
			return n, nil
		}
		it.counted += int64(len(part))
		r.progress.part(int64(len(part)))
	}
}

// part1 reads the next part of a file, and whether it is the last. It asks for
// a byte more than is expected, so that the end shows in the same read.
func (r *reader) part1(c io.Reader, expected int64) (part []byte, end bool, err error) {
	want := int(min(max(expected, 0)+1, partSize))
	if cap(r.buf) < want {
		r.buf = slices.Grow(r.buf[:0], want)
	}
	buf := r.buf[:want]
	n := 0
	for {
		var k int
		k, err = c.Read(buf[n:])
		n += k
		switch {
		case errors.Is(err, io.EOF):
			return buf[:n], true, nil
		case err != nil:
			return nil, false, err
		case n == partSize:
			return buf[:n], false, nil
		case n == len(buf): // it has grown
			r.buf = slices.Grow(r.buf[:n], partSize-n)
			buf = r.buf[:partSize]
		}
	}
}
