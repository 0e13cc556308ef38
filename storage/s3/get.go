package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math"

	sdk "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/synapse-maint/synapse-maint/storage"
)

// Get implements [storage.Store].
func (s *Store) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := s.check(ctx, "get", key); err != nil {
		return nil, err
	}
	if off < 0 {
		return nil, s.fail("get", key, fmt.Errorf("offset %d is negative", off))
	}
	if n == 0 { // S3 has no empty ranges
		if _, err := s.Stat(ctx, key); err != nil {
			return nil, err
		}
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	r := &reader{ctx: ctx, s: s, key: key, off: off, end: math.MaxInt64, whole: off == 0 && n < 0}
	if n > 0 && n < math.MaxInt64-off {
		r.end = off + n
	}
	err := r.open()
	if code(err) == "InvalidRange" { // begins at the end or beyond it
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	if err != nil {
		return nil, s.fail("get", key, err)
	}
	r.size = r.end - r.off
	return r, nil
}

// reader reads a range, and asks for the rest of it when the connection is cut.
type reader struct {
	ctx   context.Context
	s     *Store
	key   string
	off   int64 // of the next byte, in the object
	end   int64 // where to end, in the object
	size  int64 // of the range
	whole bool

	body io.ReadCloser
	tag  string    // of the object that is read
	sum  hash.Hash // of the bytes so far; nil where nothing is to be checked
	want string    // hex SHA-256 that the whole object must have
	cuts int
	err  error // returned again, once it has happened
}

// open asks for the bytes from off to end.
func (r *reader) open() error {
	in := &sdk.GetObjectInput{Bucket: &r.s.config.Bucket, Key: new(r.s.prefix + r.key)}
	resumed := r.tag != ""
	if resumed {
		in.IfMatch = &r.tag
	}
	switch {
	case r.end < math.MaxInt64:
		in.Range = new(fmt.Sprintf("bytes=%d-%d", r.off, r.end-1))
	case r.off > 0:
		in.Range = new(fmt.Sprintf("bytes=%d-", r.off))
	}
	var opts []func(*sdk.Options)
	if r.whole && !resumed {
		opts = append(opts, withChecksum)
	}
	out, err := r.s.client.GetObject(r.ctx, in, opts...)
	if err != nil {
		return err
	}
	r.s.known.Store(true)
	if out.ContentLength == nil {
		_ = out.Body.Close()
		return errors.New("the server does not say how long the object is")
	}
	r.body = out.Body
	if resumed {
		return nil
	}
	r.tag, r.end = value(out.ETag), r.off+*out.ContentLength
	if r.want = hexSum(out.ChecksumSHA256); r.whole && r.want != "" {
		r.sum = sha256.New()
	}
	return nil
}

// Size is how many bytes there are to read in all.
func (r *reader) Size() int64 { return r.size }

func (r *reader) Read(p []byte) (int, error) {
	for r.err == nil {
		n, err := r.readBody(p)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF) && r.off >= r.end:
			r.err = r.verify()
		default:
			r.err = r.resume(err)
		}
		if n > 0 || len(p) == 0 && r.err == nil {
			return n, nil
		}
	}
	return 0, r.err
}

func (r *reader) readBody(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.off >= r.end {
		return 0, io.EOF
	}
	n, err := r.body.Read(p[:min(int64(len(p)), r.end-r.off)])
	r.off += int64(n)
	if r.sum != nil {
		_, _ = r.sum.Write(p[:n]) // never fails
	}
	return n, err
}

// resume asks for the rest after the connection was cut, as often as any
// request is repeated.
func (r *reader) resume(cut error) error {
	r.cuts++
	if err := r.ctx.Err(); err != nil {
		return r.s.fail("get", r.key, err)
	}
	if r.cuts > r.s.config.Retries || r.tag == "" {
		return r.s.fail("get", r.key, fmt.Errorf("cut off at byte %d of %d, %d times: %w", r.off, r.end, r.cuts, cut))
	}
	_ = r.body.Close()
	err := r.open()
	if code(err) == "PreconditionFailed" || code(err) == "NoSuchKey" {
		err = fmt.Errorf("%w while it was read", storage.ErrChanged)
	}
	if err != nil {
		return r.s.fail("get", r.key, err)
	}
	return nil
}

// verify returns io.EOF if the bytes are those that were put.
func (r *reader) verify() error {
	if r.sum == nil {
		return io.EOF
	}
	if got := hex.EncodeToString(r.sum.Sum(nil)); got != r.want {
		return r.s.fail("get", r.key, fmt.Errorf("%w: SHA-256 is %s, the store recorded %s", storage.ErrDamaged, got, r.want))
	}
	return io.EOF
}

func (r *reader) Close() error {
	if r.err == nil {
		r.err = errors.New("closed")
	}
	return r.body.Close()
}
