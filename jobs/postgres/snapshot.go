package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// Snapshot is a database at one instant. Its tables can't be dropped or altered
// until it is closed. [Snapshot.CopyOut] may be called by several goroutines,
// [Snapshot.Close] when they are done.
type Snapshot struct {
	cfg     *Config // pinned to one server
	opt     Options
	lead    *lead
	program string // pg_dump
	args    []string

	db        synapse.Database
	toc       []byte
	tables    []synapse.Table
	relations []*relation // of the same index
	columns   []copyFrom  // of the same index
	ranges    []synapse.Range
	stream    string

	slots chan struct{} // one token for each worker that may be at work
	mu    sync.Mutex
	idle  []*copier
}

// Snap takes a snapshot of the database and reads its table of contents. A role
// that may not read all of it is an error that names what it may not read.
// Close it.
func Snap(ctx context.Context, c *Config, o Options) (_ *Snapshot, err error) {
	if o.Jobs <= 0 {
		o.Jobs = max(2, runtime.NumCPU())
	}
	if o.PagesPerRange <= 0 {
		o.PagesPerRange = defaultPages
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Snapshot{opt: o, slots: make(chan struct{}, min(o.Jobs, maxCopies))}
	if s.lead, err = openLead(ctx, c); err != nil {
		return nil, err
	}
	s.cfg = s.lead.cfg
	defer func() {
		if err != nil {
			_ = s.Close()
		}
	}()
	if err := s.fill(ctx); err != nil {
		return nil, fmt.Errorf("take a snapshot of %s: %w", c.Database(), s.lead.because(err))
	}
	s.lead.watch()
	return s, nil
}

// fill reads what there is to know, while pg_dump writes the table of contents.
func (s *Snapshot) fill(ctx context.Context) error {
	var err error
	s.program, err = FindTools(s.opt.BinDir).PgDump(ctx, s.lead.version/10000)
	if err != nil {
		return err
	}
	otk, err := s.lead.freeze(ctx)
	if err != nil {
		return err
	}
	s.db.Taken = time.Now().UTC()
	s.args = s.dumpArgs(otk)
	if otk != nil && !s.opt.KeepOneTimeKeys {
		s.db.Emptied = []string{otk.Schema + "." + otk.Name}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	heads := make(chan head, 1)
	go func() { heads <- s.readHead(ctx) }()
	factsErr := s.lead.facts(ctx, &s.db, otk)
	if factsErr != nil {
		cancel()
	}
	h := <-heads
	if factsErr != nil {
		return factsErr
	}
	return s.arrange(h)
}

// Database describes the database.
func (s *Snapshot) Database() synapse.Database { return s.db }

// TOC is the toc.dat of a directory archive; nil where [Snapshot.StreamReason]
// is not empty.
func (s *Snapshot) TOC() []byte { return s.toc }

// Tables are those with rows to copy, the largest first.
func (s *Snapshot) Tables() []synapse.Table { return s.tables }

// Ranges are all that is to be copied, in the order to copy it in.
func (s *Snapshot) Ranges() []synapse.Range { return s.ranges }

// StreamReason says why the tables can't be copied one by one, but only by
// [Snapshot.Stream]; empty where they can.
func (s *Snapshot) StreamReason() string { return s.stream }

// Close ends all connections, and with them the snapshot.
func (s *Snapshot) Close() error {
	s.mu.Lock()
	idle := s.idle
	s.idle = nil
	s.mu.Unlock()
	for _, w := range idle {
		w.close()
	}
	return s.lead.close()
}

// errLost is what a snapshot that is gone says.
type errLost struct{ cause error }

func (e *errLost) Error() string {
	return fmt.Sprintf("the snapshot is lost: %v; run the backup again", e.cause)
}
func (e *errLost) Unwrap() error { return e.cause }

// brief is an error of the server without its severity and code, with what to
// do about those that are known.
func brief(err error) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return err
	}
	hint := ""
	switch {
	case pe.Code == "40001" || pe.Code == "40P01": // a reader meets them on standbys alone
		hint = "; on a standby, turn hot_standby_feedback on or raise max_standby_streaming_delay"
	case pe.Code == "53200":
		hint = "; raise max_locks_per_transaction of the server"
	}
	if hint == "" && pe.Detail != "" {
		hint = " (" + firstLine(pe.Detail) + ")"
	}
	return &plainError{text: pe.Message + hint, err: err}
}
