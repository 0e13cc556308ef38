package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"
)

// Sub returns the part of s below prefix as a store of its own: its keys,
// also those in results, are relative to prefix. An empty prefix returns s.
// A prefix that is no valid key makes every call fail.
func Sub(s Store, prefix string) Store {
	if prefix == "" {
		return s
	}
	prefix = strings.TrimSuffix(prefix, "/")
	if outer, ok := s.(*sub); ok {
		return &sub{outer.Store, outer.prefix + prefix + "/"}
	}
	return &sub{s, prefix + "/"}
}

type sub struct {
	Store
	prefix string // ends in a slash
}

func (s *sub) relative(o Object) Object {
	o.Key = strings.TrimPrefix(o.Key, s.prefix)
	return o
}

func (s *sub) Put(ctx context.Context, key string, body []byte, opt PutOptions) (Object, error) {
	o, err := s.Store.Put(ctx, s.prefix+key, body, opt)
	return s.relative(o), err
}

func (s *sub) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	return s.Store.Get(ctx, s.prefix+key, off, n)
}

func (s *sub) Stat(ctx context.Context, key string) (Object, error) {
	o, err := s.Store.Stat(ctx, s.prefix+key)
	return s.relative(o), err
}

func (s *sub) List(ctx context.Context, prefix string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for o, err := range s.Store.List(ctx, s.prefix+prefix) {
			if !yield(s.relative(o), err) {
				return
			}
		}
	}
}

// Retain implements [Retainer] where the store does.
func (s *sub) Retain(ctx context.Context, key string, until time.Time) error {
	r, ok := s.Store.(Retainer)
	if !ok {
		return fmt.Errorf("lock %s%s: %w", s.prefix, key, errors.ErrUnsupported)
	}
	return r.Retain(ctx, s.prefix+key, until)
}

func (s *sub) Delete(ctx context.Context, key string) error {
	return s.Store.Delete(ctx, s.prefix+key)
}
