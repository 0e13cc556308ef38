package restore

import (
	"testing"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// swapped restores, and returns the run as it was and as it was before its swap:
// what one who waits for the lock has seen of it.
func (w *world) swapped() (run, before *jobs.Run, done synapse.Swap) {
	w.t.Helper()
	run, err := w.restore(w.options(synapse.ModeSwap))
	w.ok(err)
	done, _, err = swapOf(run)
	w.ok(err)
	early := *run
	for i, s := range run.Steps {
		if s.Name == swap {
			early.Steps = run.Steps[:i]
		}
	}
	return run, &early, done
}

// A drop of a half-loaded database that has to wait for the lock finds a swap
// that was done meanwhile: what was live before stays, whatever was said of it.
func TestADropThatWaitedDropsWhatItWasAskedFor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := w.fingerprint(w.live)
	run, before, done := w.swapped()
	for _, now := range []bool{false, true} {
		err := w.closed(NewDrop, run, func(c *Closing) { c.Run, c.Early = before, now })
		want(t, err, "it has swapped meanwhile, and "+done.OldName+" (live before the restore) is kept until", "for restore undo; --now drops it earlier")
	}
	w.same(done.OldName, old)
	w.ok(w.closed(NewUndo, run, func(c *Closing) { c.Run = before }))
	w.same(w.live, old)
}

// What the record calls dropped and the server has can be undone.
func TestUndoLooksAtTheServer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	old := w.fingerprint(w.live)
	run, _, done := w.swapped()
	w.ok(Closing{Journal: w.journal, Run: run}.close(t.Context(), dropped, closing{}))
	fresh, err := w.journal.Open(t.Context(), run.RunID)
	w.ok(err)
	s, err := Status(fresh, w.now, w.found())
	w.ok(err)
	if len(s.Next) != 2 || s.Next[0] != "restore undo "+run.String()+": bring the database that was live before back" {
		t.Errorf("%s proposes %q", s.Says, s.Next)
	}
	w.ok(w.closed(NewUndo, run, nil))
	w.same(w.live, old)
	w.ok(w.closed(NewDrop, run, nil))
	for _, f := range w.found() {
		if f.OID == done.NewOID {
			t.Errorf("%s was not dropped", f.Name)
		}
	}
	want(t, w.closed(NewUndo, run, nil), "dropped already")
}
