// Package mem keeps objects in memory. It is for tests: what it holds is gone
// with the process.
//
// It imports storage and the standard library only.
package mem

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
)

// Store is a [storage.Store] in memory, with object lock. Use [New].
type Store struct {
	mu      sync.Mutex
	puts    int // counts them, for tags
	objects map[string]object
}

type object struct {
	storage.Object
	body   []byte
	retain time.Time
}

// New returns an empty store.
func New() *Store { return &Store{objects: map[string]object{}} }

// String is how errors name the store.
func (s *Store) String() string { return "mem" }

// Put implements [storage.Store].
func (s *Store) Put(ctx context.Context, key string, body []byte, opt storage.PutOptions) (storage.Object, error) {
	if err := check(ctx, "put", key); err != nil {
		return storage.Object{}, err
	}
	if len(body) > storage.MaxObject {
		return storage.Object{}, fail("put", key, fmt.Errorf("larger than %d bytes", storage.MaxObject))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, there := s.objects[key]
	switch {
	case opt.IfAbsent && there:
		return storage.Object{}, fail("put", key, fs.ErrExist)
	case opt.IfMatch != "" && (!there || old.Tag != opt.IfMatch):
		return storage.Object{}, fail("put", key, storage.ErrChanged)
	}
	s.puts++
	sum := sha256.Sum256(body)
	o := storage.Object{
		Key: key, Size: int64(len(body)), Tag: strconv.Itoa(s.puts),
		Modified: time.Now(), SHA256: hex.EncodeToString(sum[:]),
	}
	s.objects[key] = object{o, bytes.Clone(body), opt.RetainUntil}
	return o, nil
}

// Get implements [storage.Store].
func (s *Store) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := check(ctx, "get", key); err != nil {
		return nil, err
	}
	if off < 0 {
		return nil, fail("get", key, fmt.Errorf("offset %d is negative", off))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[key]
	if !ok {
		return nil, fail("get", key, fs.ErrNotExist)
	}
	body := o.body[min(off, o.Size):]
	if n >= 0 {
		body = body[:min(n, int64(len(body)))]
	}
	return &reader{ctx, bytes.NewReader(body)}, nil
}

// reader stops when its context ends.
type reader struct {
	ctx  context.Context
	body *bytes.Reader
}

func (r *reader) Size() int64 { return r.body.Size() }

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.body.Read(p)
}

func (r *reader) Close() error { return nil }

// Stat implements [storage.Store].
func (s *Store) Stat(ctx context.Context, key string) (storage.Object, error) {
	if err := check(ctx, "stat", key); err != nil {
		return storage.Object{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[key]
	if !ok {
		return storage.Object{}, fail("stat", key, fs.ErrNotExist)
	}
	return o.Object, nil
}

// List implements [storage.Store]. It yields what there was when it began.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		if err := storage.CheckPrefix(prefix); err != nil {
			yield(storage.Object{}, fmt.Errorf("list: %w", err))
			return
		}
		s.mu.Lock()
		all := maps.Clone(s.objects)
		s.mu.Unlock()
		for _, key := range slices.Sorted(maps.Keys(all)) {
			if !strings.HasPrefix(key, prefix) {
				continue
			}
			if err := ctx.Err(); err != nil {
				yield(storage.Object{}, fail("list", prefix, err))
				return
			}
			o := all[key].Object
			o.SHA256 = ""
			if !yield(o, nil) {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(storage.Object{}, fail("list", prefix, err))
		}
	}
}

// Retain implements [storage.Retainer].
func (s *Store) Retain(ctx context.Context, key string, until time.Time) error {
	if err := check(ctx, "lock", key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[key]
	if !ok {
		return fail("lock", key, fs.ErrNotExist)
	}
	if until.After(o.retain) {
		o.retain = until
		s.objects[key] = o
	}
	return nil
}

// RetainedUntil returns until when the object can't be deleted.
func (s *Store) RetainedUntil(key string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.objects[key].retain
}

// Delete implements [storage.Store]. A retained object can't be deleted.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := check(ctx, "delete", key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if until := s.objects[key].retain; time.Now().Before(until) {
		return fail("delete", key, fmt.Errorf("%w: retained until %s", fs.ErrPermission, until.UTC().Format(time.RFC3339)))
	}
	delete(s.objects, key)
	return nil
}

func check(ctx context.Context, op, key string) error {
	if err := storage.CheckKey(key); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if err := ctx.Err(); err != nil {
		return fail(op, key, err)
	}
	return nil
}

func fail(op, key string, err error) error { return fmt.Errorf("%s mem:%s: %w", op, key, err) }
