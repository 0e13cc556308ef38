package journal_test

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
)

// gate is a store that can stop answering, or answer a put that it has done
// late, or with an error.
type gate struct {
	storage.Store
	mu   sync.Mutex
	shut chan struct{} // nil: open
	lose bool
	late time.Duration
}

func (g *gate) block() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.shut)
	g.shut = nil
}

func (g *gate) loseAnswer() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lose = true
}

// answerLate lets the next put that is done wait for its answer.
func (g *gate) answerLate(by time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.late = by
}

func (g *gate) lateness() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	by := g.late
	g.late = 0
	return by
}

func (g *gate) wait(ctx context.Context) (lose bool, err error) {
	g.mu.Lock()
	shut := g.shut
	lose, g.lose = g.lose, false
	g.mu.Unlock()
	if shut == nil {
		return lose, nil
	}
	select {
	case <-shut:
		return lose, nil
	case <-ctx.Done():
		return lose, ctx.Err()
	}
}

func (g *gate) Put(ctx context.Context, key string, body []byte, opt storage.PutOptions) (storage.Object, error) {
	lose, err := g.wait(ctx)
	if err != nil {
		return storage.Object{}, err
	}
	o, err := g.Store.Put(ctx, key, body, opt)
	if lose && err == nil {
		return storage.Object{}, errors.New("connection reset by peer")
	}
	if err == nil {
		time.Sleep(g.lateness()) // in a synctest bubble
	}
	return o, err
}

func (g *gate) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if _, err := g.wait(ctx); err != nil {
		return nil, err
	}
	return g.Store.Get(ctx, key, off, n)
}
