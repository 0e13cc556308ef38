package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
)

// fetching is a part on its way from the store: what Fetch yields can be read
// from it. It holds no more than Fetch itself does, and begins to fetch at
// once: while a part is copied, the next one is under way.
type fetching struct {
	*io.PipeReader
	err   error         // why Fetch ended, once done is closed
	begun chan struct{} // closed when the first bytes are there, or Fetch has ended
	done  chan struct{}
}

// fetchError is of reading a part, not of the server.
type fetchError struct{ error }

func (e *fetchError) Unwrap() error { return e.error }

// errFetch is all that the server (and its log) hears of a failed fetch.
var errFetch = errors.New("the part could not be read from the store")

func (w *worker) fetch(ctx context.Context, p piece) *fetching {
	r, pw := io.Pipe()
	f := &fetching{PipeReader: r, begun: make(chan struct{}), done: make(chan struct{})}
	begin := sync.OnceFunc(func() { close(f.begun) })
	go func() {
		defer close(f.done)
		defer begin()
		f.err = w.l.q.Fetch(ctx, p.table.index, p.part, func(data []byte) error {
			begin()
			_, err := pw.Write(data)
			if err == nil {
				w.progress(int64(len(data)))
			}
			return err
		})
		if f.err != nil {
			_ = pw.CloseWithError(errFetch)
			return
		}
		_ = pw.Close()
	}()
	return f
}

// stop ends the fetch, if it is still going on, and waits for its end.
func (f *fetching) stop() {
	_ = f.CloseWithError(io.ErrClosedPipe)
	<-f.done
}

// copyParts copies a part, and goes on with others as long as there are any:
// each is fetched while the one before is copied. It begins to fetch when that
// one has begun to arrive, not earlier: fetches wait for memory, and one that
// holds some must never wait for one that has none.
func (w *worker) copyParts(ctx context.Context, p piece) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	f := w.fetch(ctx, p)
	for ok := true; ok; {
		var next piece
		var nextFetch *fetching
		<-f.begun
		if next, ok = w.q.ahead(); ok {
			nextFetch = w.fetch(ctx, next)
		}
		err := w.copyPart(ctx, p, f)
		f.stop()
		if err != nil {
			cancel()
			if ok {
				nextFetch.stop()
			}
			return err
		}
		w.q.end(p)
		p, f = next, nextFetch
	}
	return nil
}

// copyPart copies one part, and notes it, in one transaction.
func (w *worker) copyPart(ctx context.Context, p piece, f *fetching) error {
	t := p.table
	fail := func(err error) error {
		return fmt.Errorf("copy part %d of %d into %s.%s: %w", p.part+1, len(t.Parts), t.Schema, t.Name, err)
	}
	c := w.conn.PgConn()
	note := fmt.Sprintf("BEGIN; INSERT INTO %s.part VALUES (%d, %d)", bookkeeping, t.DumpID, p.part)
	if err := executeRaw(ctx, c, note); err != nil {
		return fail(err)
	}
	tag, err := c.CopyFrom(ctx, f, t.Copy)
	if err != nil {
		f.stop()
		if f.err != nil && !errors.Is(f.err, io.ErrClosedPipe) {
			return fail(&fetchError{f.err})
		}
		return fail(err)
	}
	if got, want := tag.RowsAffected(), t.Parts[p.part].Rows; got != want {
		return fail(fmt.Errorf("it has %d rows, the recovery point says %d", got, want))
	}
	if err := executeRaw(ctx, c, "COMMIT"); err != nil {
		return fail(err)
	}
	return nil
}
