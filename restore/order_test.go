package restore

import (
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// Of several swaps the newest is undone first: who asks for an older one is told
// which, and status proposes no other order.
func TestUndoOfTheOlderSwapNamesTheNewer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.fingerprint(w.live)
	var all []*jobs.Run
	for range 3 {
		w.now = w.now.Add(time.Minute)
		run, err := w.restore(w.options(synapse.ModeSwap))
		w.ok(err)
		all = append(all, run)
	}
	names := []string{all[0].String(), all[1].String(), all[2].String()}
	want(t, w.closed(NewUndo, all[0], nil), "undo "+names[0]+": the newer "+names[2]+" came after it: first restore undo "+names[2]+", then restore undo "+names[1])
	w.proposes(all[0], "the newer "+names[2]+" came after it", "undo "+names[2], "undo "+names[1], "undo "+names[0])
	w.proposes(all[2], "is the restored database", "undo "+names[2])
	for i := len(all) - 1; i >= 0; i-- {
		w.ok(w.closed(NewUndo, all[i], nil))
		w.ok(w.closed(NewUndo, all[i], nil))
	}
	w.same(w.live, before)
}

// Where no command brings the database from before a restore back, and it is
// still there, whoever asks is told how, and not only how to drop it.
func TestUndoThatIsBlockedNamesWhatIsStillThere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.fingerprint(w.live)
	first, err := w.restore(w.options(synapse.ModeSwap))
	w.ok(err)
	w.now = w.now.Add(time.Minute)
	_, err = w.restore(w.options(synapse.ModeInPlace))
	w.ok(err)
	old := derived(w.live, "before", slot(first.RunID))
	hint := old + " is still there: to go back to it, rename " + w.live + " aside and it to " + w.live + " by hand"
	want(t, w.closed(NewUndo, first, nil), "kept none to go back to; "+hint)
	later, err := Later(t.Context(), w.journal, first)
	w.ok(err)
	s, err := Status(first, w.now, w.found(), later...)
	w.ok(err)
	if !strings.Contains(s.Says, hint) {
		t.Errorf("status says %s", s.Says)
	}
	w.exec("postgres", "ALTER DATABASE "+w.live+" RENAME TO "+w.live+"_aside")
	w.exec("postgres", "ALTER DATABASE "+old+" RENAME TO "+w.live)
	w.same(w.live, before)
	want(t, w.closed(NewUndo, first, nil), "kept none to go back to")
	w.exec("postgres", "DROP DATABASE "+w.live+"_aside")
}

// proposes looks what status says of a run, and which undos it proposes.
func (w *world) proposes(run *jobs.Run, says string, undos ...string) {
	w.t.Helper()
	later, err := Later(w.t.Context(), w.journal, run)
	w.ok(err)
	s, err := Status(run, keptTill, nil, later...)
	w.ok(err)
	if !strings.Contains(s.Says, says) {
		w.t.Errorf("%s: says %q, not %q", run, s.Says, says)
	}
	var got []string
	for _, n := range s.Next {
		command, _, _ := strings.Cut(strings.TrimPrefix(n, "restore "), ":")
		got = append(got, command)
	}
	if strings.Join(got, ", ") != strings.Join(undos, ", ") {
		w.t.Errorf("%s: proposes %v, want %v", run, got, undos)
	}
}

// Where there is no way back, none is proposed.
func TestNoWayBackIsSaid(t *testing.T) {
	t.Parallel()
	at := func(minute int, steps ...any) *jobs.Run {
		run := runOf(t, Request{Point: "p", Mode: synapse.ModeSwap, Live: "s"}, jobs.Done, steps...)
		run.Due = run.Due.Add(time.Duration(minute) * time.Minute)
		return run
	}
	kept, replaced := synapse.Swap{Live: "s", NewOID: 30, OldOID: 20}, synapse.Swap{Live: "s", NewOID: 30}
	for name, c := range map[string]struct {
		later *jobs.Run
		says  string
		first string
	}{
		"in-place":   {at(1, swap, replaced, settle, settled{}), "replaced the database, and kept none to go back to", ""},
		"dropped":    {at(1, swap, kept, settle, settled{}, dropped, closing{}), "what was live before that was dropped", ""},
		"unfinished": {at(1, swap, nil), "has not ended", "restore resume restore-20261125T020100Z"},
		"undoable":   {at(1, swap, kept, settle, settled{}), "came after it", "restore undo restore-20261125T020100Z"},
	} {
		got := inTheWay([]*jobs.Run{c.later})
		if !strings.Contains(got.says, c.says) || strings.Join(got.first, ", ") != c.first {
			t.Errorf("%s: %s, %v", name, got.says, got.first)
		}
		s, err := Status(at(0, swap, synapse.Swap{OldOID: 10}, settle, settled{}), keptTill, nil, c.later)
		if err != nil || (len(s.Next) > 0) != (c.first != "") {
			t.Errorf("%s: %v, proposes %v", name, err, s.Next)
		}
	}
}
