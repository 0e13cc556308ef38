package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// maxChunk bounds a chunk, in bytes. A worker's memory is a chunk and a gulp;
// and a load holds up to three of them a fetch, stored, decrypted and plain.
// Most ranges (8 MiB of heap) are one chunk or two.
const maxChunk = 8 << 20

// maxCopies is how many ranges are copied at once, whatever the jobs: each has
// a chunk in memory. So many give more than a network takes.
const maxCopies = 8

// CopyOut yields the rows of a range, in chunks of at most 8 MiB that end with
// a row; only a row that is longer is cut ([synapse.Chunk.Open]). The same rows
// make the same chunks. An error may come after chunks: then these are
// worthless, and the range can be copied again if the snapshot still lives.
// The caller may run as many at once as it likes; Options.Jobs are at work, at
// most 8.
func (s *Snapshot) CopyOut(ctx context.Context, r synapse.Range, emit func(synapse.Chunk) error) error {
	if r.Table < 0 || r.Table >= len(s.tables) {
		return fmt.Errorf("copy out table %d: the snapshot has %d tables", r.Table, len(s.tables))
	}
	t := s.tables[r.Table]
	if err := s.copyOut(ctx, r, emit); err != nil {
		var lost *errLost
		if errors.As(err, &lost) {
			return err // it isn't about this table
		}
		return fmt.Errorf("copy out %s.%s: %w", t.Schema, t.Name, err)
	}
	return nil
}

func (s *Snapshot) copyOut(ctx context.Context, r synapse.Range, emit func(synapse.Chunk) error) error {
	ctx, cancel := s.whileAlive(ctx)
	defer cancel()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	w, err := s.copier(ctx)
	if err != nil {
		return s.cause(ctx, err)
	}
	defer func() { s.release(w, err == nil) }()
	err = s.copyRange(ctx, w, r, emit)
	if err != nil {
		return s.cause(ctx, err)
	}
	// A lead that is lost while its tables were copied no longer held its locks.
	return context.Cause(s.lead.alive)
}

// copyRange copies on a worker; or on the lead connection, where somebody waits
// for an exclusive lock: in the queue behind them, the worker would wait for
// the lead, which waits for the worker.
func (s *Snapshot) copyRange(ctx context.Context, w *copier, r synapse.Range, emit func(synapse.Chunk) error) error {
	rel := s.relations[r.Table]
	c := &cutter{buf: w.chunk[:0], max: maxChunk, emit: emit}
	defer func() { w.chunk = c.buf }()
	sql := s.columns[r.Table].copyOut(r, rel.Condition)
	free, err := w.lock(ctx, s, r.Table)
	if err != nil {
		return err
	}
	var rows int64
	if free {
		rows, err = w.run(ctx, sql, c)
	} else {
		s.opt.Log.Warn("another session waits for an exclusive lock: copying one range at a time", "table", rel.Schema+"."+rel.Name)
		rows, err = s.throughLead(ctx, sql, c)
	}
	if err != nil {
		return err
	}
	if rows != c.total || c.mid {
		return fmt.Errorf("%d rows arrived, and the server sent %d", c.total, rows)
	}
	return c.flush()
}

// throughLead copies on the lead connection, which has the lock already.
func (s *Snapshot) throughLead(ctx context.Context, sql string, w io.Writer) (rows int64, err error) {
	s.lead.busy.Lock()
	defer s.lead.busy.Unlock()
	s.lead.stop()
	tag, err := s.lead.conn.PgConn().CopyTo(ctx, w, sql)
	if err != nil {
		s.lead.lose(&errLost{cause: brief(err)}) // the transaction is over, and the locks with it
		return 0, err
	}
	s.lead.watch()
	return tag.RowsAffected(), nil
}

// isGone says whether an error is that the server has gone away: a connection
// that ended, a shutdown, a crash, a start that is not over.
func isGone(err error) bool {
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok {
		return pe.Code == "57P01" || pe.Code == "57P02" || pe.Code == "57P03"
	}
	_, ok := errors.AsType[net.Error](err)
	return ok || pgconn.SafeToRetry(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// cause says why a worker failed. When the server goes away, a worker may
// notice before the lead does.
func (s *Snapshot) cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var taker *takerError
	if errors.As(err, &taker) {
		return taker.error
	}
	var pe *pgconn.PgError
	noSnapshot := errors.As(err, &pe) && (pe.Code == "22023" || pe.Code == "42704")
	if isGone(err) || noSnapshot {
		timer := time.NewTimer(3 * time.Second)
		defer timer.Stop()
		select {
		case <-s.lead.alive.Done():
			return context.Cause(s.lead.alive)
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-timer.C:
		}
		return fmt.Errorf("the connection was lost: %w", brief(err))
	}
	return brief(err)
}

// copier takes an idle worker, or connects one.
func (s *Snapshot) copier(ctx context.Context) (*copier, error) {
	s.mu.Lock()
	if n := len(s.idle); n > 0 {
		w := s.idle[n-1]
		s.idle = s.idle[:n-1]
		s.mu.Unlock()
		return w, nil
	}
	s.mu.Unlock()
	return openCopier(ctx, s)
}

func (s *Snapshot) release(w *copier, good bool) {
	if !good {
		w.abort()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = append(s.idle, w)
}
