package restore

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// mortal stands between a restore and what it works with, counts every call,
// every piece of a part that is fetched and every save of the journal, and kills
// the restore before one of them: from then on nothing works any more, as for a
// process that is gone. As every call is followed by a save, death before the
// save is death after the call.
type mortal struct {
	Server
	jobs.Journal
	mu    sync.Mutex
	at    int // instants until death
	count int
	where string // of death
}

// live is an instant at which the process may be killed.
func (m *mortal) live(where string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count++
	if m.where == "" && m.count >= m.at {
		m.where = where
	}
	if m.where != "" {
		return errKilled
	}
	return nil
}

func between[T any](m *mortal, where string, do func() (T, error)) (T, error) {
	var none T
	if err := m.live(where); err != nil {
		return none, err
	}
	return do()
}

func (m *mortal) Create(ctx context.Context, run, name string, like synapse.Database, owner string) (uint32, error) {
	return between(m, "create", func() (uint32, error) { return m.Server.Create(ctx, run, name, like, owner) })
}

func (m *mortal) Load(ctx context.Context, q synapse.LoadRequest) (synapse.LoadReport, error) {
	if fetch := q.Fetch; fetch != nil {
		q.Fetch = func(ctx context.Context, table, part int, yield func([]byte) error) error {
			return fetch(ctx, table, part, func(b []byte) error {
				if err := m.live("fetch"); err != nil {
					return err
				}
				return yield(b)
			})
		}
	}
	return between(m, "load", func() (synapse.LoadReport, error) { return m.Server.Load(ctx, q) })
}

func (m *mortal) Swap(ctx context.Context, q synapse.SwapRequest) (synapse.Swap, error) {
	return between(m, "swap", func() (synapse.Swap, error) { return m.Server.Swap(ctx, q) })
}

func (m *mortal) Undo(ctx context.Context, s synapse.Swap, terminate bool) error {
	_, err := between(m, "undo", func() (any, error) { return nil, m.Server.Undo(ctx, s, terminate) })
	return err
}

func (m *mortal) Drop(ctx context.Context, name string, oid uint32) error {
	_, err := between(m, "drop", func() (any, error) { return nil, m.Server.Drop(ctx, name, oid) })
	return err
}

func (m *mortal) Vacate(ctx context.Context, name string, oid uint32, terminate bool) error {
	_, err := between(m, "vacate", func() (any, error) { return nil, m.Server.Vacate(ctx, name, oid, terminate) })
	return err
}

func (m *mortal) Save(ctx context.Context, run *jobs.Run) error {
	_, err := between(m, "save", func() (any, error) { return nil, m.Journal.Save(ctx, run) })
	return err
}

// A restore that was killed at any instant, and then begun again, ends as if
// nothing had happened; until then the live database is the old one, the new
// one, or (in-place) absent, and never half of anything.
func TestARestoreKilledAnywhereIsResumed(t *testing.T) {
	t.Parallel()
	for _, mode := range []synapse.Mode{synapse.ModeSwap, synapse.ModeInPlace, synapse.ModeBeside} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			old := w.fingerprint(w.live)
			for at := 1; ; at++ {
				if !w.killAt(mode, at, old) {
					t.Logf("killed at %d instants", at-1)
					return
				}
			}
		})
	}
}

// killAt kills a restore at one instant and resumes it. It says whether the
// restore was so long that it died.
func (w *world) killAt(mode synapse.Mode, at int, old string) (died bool) {
	w.t.Helper()
	before := w.fingerprint(w.live)
	m := &mortal{Server: w.server, Journal: w.journal, at: at}
	o := w.options(mode)
	o.Server = m
	healthy := w.journal
	w.journal = m
	run, err := w.restore(o)
	w.journal = healthy
	if m.where == "" {
		w.ok(err)
		return false
	}
	if err == nil {
		w.t.Fatalf("killed at %d (%s), the restore claims success", at, m.where)
	}
	w.liveIsWhole(mode, before, m.where)

	w.now = w.now.Add(time.Second)
	resume := w.options(mode)
	resume.ConfirmedDrop = slices.Contains(w.databases(), w.live) // nobody is asked about one that is gone
	again, err := w.restore(resume)
	if err != nil {
		w.t.Fatalf("resume after death at %d (%s): %v", at, m.where, err)
	}
	if run != nil && run.Tag != "" && run.RunID != again.RunID {
		w.t.Errorf("death at %d (%s): run %s was not resumed, %s was begun", at, m.where, run.RunID, again.RunID)
	}
	target := w.live
	if mode == synapse.ModeBeside {
		target = o.Target
	}
	w.same(target, w.state)
	w.reset(mode, again, before)
	return true
}

// liveIsWhole looks at the live database after a death.
func (w *world) liveIsWhole(mode synapse.Mode, before, where string) {
	w.t.Helper()
	for _, name := range w.databases() {
		if name != w.live {
			continue
		}
		if now := w.fingerprint(w.live); now != before && now != w.state {
			w.t.Fatalf("death at %s left half a live database", where)
		}
		return
	}
	if mode != synapse.ModeInPlace {
		w.t.Fatalf("death at %s left no live database", where)
	}
}

// reset makes the world what it was before the restore.
func (w *world) reset(mode synapse.Mode, run *jobs.Run, before string) {
	w.t.Helper()
	switch mode {
	case synapse.ModeSwap:
		w.ok(w.closed(NewUndo, run, nil))
		w.ok(w.closed(NewDrop, run, nil))
		w.same(w.live, before)
	case synapse.ModeBeside:
		w.exec("postgres", "DROP DATABASE "+w.live+"_beside")
	case synapse.ModeInPlace: // what was restored is the next one's live database
	}
	for _, name := range w.databases() {
		if name != w.live {
			w.t.Errorf("database %s is left", name)
		}
	}
}

// An undo that was killed is repeated; so is a drop.
func TestUndoAndDropKilledAnywhereAreRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.fingerprint(w.live)
	for at := 1; ; at++ {
		run, err := w.restore(w.options(synapse.ModeSwap))
		w.ok(err)
		died := false
		for _, end := range []func(Closing) jobs.Job{NewUndo, NewDrop} {
			m := &mortal{Server: w.server, Journal: w.journal, at: at}
			healthy := w.journal
			w.journal = m
			err := w.closed(end, run, func(c *Closing) { c.Server = m })
			w.journal = healthy
			if m.where != "" {
				died = true
				if !errors.Is(err, errKilled) {
					t.Fatalf("killed at %d (%s): %v", at, m.where, err)
				}
			}
			w.ok(w.closed(end, run, nil))
			w.same(w.live, before)
		}
		if got := w.databases(); len(got) != 1 {
			t.Fatalf("killed at %d: databases are %v", at, got)
		}
		if !died {
			return
		}
		w.now = w.now.Add(10 * time.Second)
	}
}
