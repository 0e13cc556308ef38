package storetest

import (
	"context"
	"errors"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
)

// Op is an operation of a store.
type Op string

// The operations.
const (
	Put    Op = "put"
	Get    Op = "get"
	Stat   Op = "stat"
	List   Op = "list"
	Delete Op = "delete"
	Retain Op = "retain" // of stores that can
)

// Call is one call of a store.
type Call struct {
	Op   Op
	Key  string // the prefix, of a list
	N    int    // which one of all calls, from 1
	OfOp int    // which one of its operation, from 1
}

// Fault is what goes wrong in a call. The zero value is nothing.
type Fault struct {
	// Hook runs before the call, and may wait or end something.
	Hook func(ctx context.Context)
	// Err fails the call; a list fails at its begin.
	Err error
	// Late carries the call out before it fails with Err: the answer is lost.
	Late bool
	// Drop acknowledges a put that stores nothing.
	Drop bool
	// Truncate acknowledges a put that stores only the first bytes; Cut ends a
	// get early, with io.ErrUnexpectedEOF. Both happen after Bytes bytes.
	Truncate, Cut bool
	Bytes         int64
	// Corrupt changes a bit of the first byte that a get reads.
	Corrupt bool
}

// Faulty returns s with faults: rule is asked at each call, one at a time.
func Faulty(s storage.Store, rule func(Call) Fault) *FaultyStore {
	return &FaultyStore{store: s, rule: rule, counts: map[Op]int{}}
}

// FailNth is a rule that fails the nth call, from 1, and all after it, as for a
// process that has lost its store.
func FailNth(n int, err error) func(Call) Fault {
	return func(c Call) Fault {
		if c.N >= n {
			return Fault{Err: err}
		}
		return Fault{}
	}
}

// FaultyStore is made by [Faulty]. It counts the calls, too.
type FaultyStore struct {
	store storage.Store
	rule  func(Call) Fault

	mu     sync.Mutex
	counts map[Op]int
}

// Count returns how many calls of these operations there were; of none: of all.
func (s *FaultyStore) Count(ops ...Op) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(ops) == 0 {
		ops = []Op{Put, Get, Stat, List, Delete, Retain}
	}
	n := 0
	for _, op := range ops {
		n += s.counts[op]
	}
	return n
}

// fault counts the call and asks the rule.
func (s *FaultyStore) fault(ctx context.Context, op Op, key string) Fault {
	f := s.ask(op, key)
	if f.Hook != nil {
		f.Hook(ctx)
	}
	return f
}

func (s *FaultyStore) ask(op Op, key string) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[op]++
	n := 0
	for _, c := range s.counts {
		n += c
	}
	return s.rule(Call{Op: op, Key: key, N: n, OfOp: s.counts[op]})
}

// Put implements [storage.Store].
func (s *FaultyStore) Put(ctx context.Context, key string, body []byte, opt storage.PutOptions) (storage.Object, error) {
	f := s.fault(ctx, Put, key)
	switch {
	case f.Err != nil && !f.Late:
		return storage.Object{}, f.Err
	case f.Drop:
		return storage.Object{Key: key, Size: int64(len(body)), Tag: "dropped", SHA256: hexSHA256(string(body))}, nil
	}
	stored := body
	if f.Truncate {
		stored, opt.SHA256 = body[:min(f.Bytes, int64(len(body)))], ""
	}
	o, err := s.store.Put(ctx, key, stored, opt)
	if f.Err != nil {
		return storage.Object{}, f.Err
	}
	if f.Truncate && err == nil { // the answer tells what was sent
		o.Size, o.SHA256 = int64(len(body)), hexSHA256(string(body))
	}
	return o, err
}

// Get implements [storage.Store].
func (s *FaultyStore) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	f := s.fault(ctx, Get, key)
	if f.Err != nil {
		return nil, f.Err
	}
	r, err := s.store.Get(ctx, key, off, n)
	if err != nil || !f.Cut && !f.Corrupt {
		return r, err
	}
	left := int64(-1)
	if f.Cut {
		left = f.Bytes
	}
	return &faultyReader{r, left, f.Corrupt}, nil
}

type faultyReader struct {
	io.ReadCloser
	left    int64 // until the cut; below zero: no cut
	corrupt bool  // the next byte
}

func (r *faultyReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	if r.left > 0 {
		p = p[:min(int64(len(p)), r.left)]
	}
	n, err := r.ReadCloser.Read(p)
	if r.left > 0 {
		r.left -= int64(n)
	}
	if r.corrupt && n > 0 {
		p[0] ^= 1
		r.corrupt = false
	}
	return n, err
}

// Stat implements [storage.Store].
func (s *FaultyStore) Stat(ctx context.Context, key string) (storage.Object, error) {
	if f := s.fault(ctx, Stat, key); f.Err != nil {
		return storage.Object{}, f.Err
	}
	return s.store.Stat(ctx, key)
}

// List implements [storage.Store]. It counts as one call however long it is.
func (s *FaultyStore) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		if f := s.fault(ctx, List, prefix); f.Err != nil {
			yield(storage.Object{}, f.Err)
			return
		}
		s.store.List(ctx, prefix)(yield)
	}
}

// Retain implements [storage.Retainer] where the store does.
func (s *FaultyStore) Retain(ctx context.Context, key string, until time.Time) error {
	if f := s.fault(ctx, Retain, key); f.Err != nil {
		return f.Err
	}
	r, ok := s.store.(storage.Retainer)
	if !ok {
		return errors.ErrUnsupported
	}
	return r.Retain(ctx, key, until)
}

// Delete implements [storage.Store].
func (s *FaultyStore) Delete(ctx context.Context, key string) error {
	f := s.fault(ctx, Delete, key)
	if f.Err != nil && !f.Late {
		return f.Err
	}
	if err := s.store.Delete(ctx, key); err != nil {
		return err
	}
	return f.Err
}
