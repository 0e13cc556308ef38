package restore

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

var keptTill = time.Date(2026, 11, 28, 2, 0, 0, 0, time.UTC)

// runOf is a journal's record with the notes of done steps; a nil note is that
// of a step that was begun.
func runOf(t *testing.T, asked Request, state jobs.State, steps ...any) *jobs.Run {
	t.Helper()
	encoded := func(v any) json.RawMessage {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	run := &jobs.Run{
		RunID:   jobs.RunID{Job: JobName, Homeserver: "hs", Due: time.Date(2026, 11, 25, 2, 0, 0, 0, time.UTC)},
		State:   state,
		Request: encoded(asked),
	}
	for i := 0; i < len(steps); i += 2 {
		rec := jobs.StepRecord{Name: steps[i].(string), State: jobs.Running}
		if steps[i+1] != nil {
			rec.State, rec.Note = jobs.Done, encoded(steps[i+1])
		}
		run.Steps = append(run.Steps, rec)
	}
	return run
}

func TestStatusSaysWhatIsLiveAndWhatToDo(t *testing.T) {
	t.Parallel()
	const run = "20261125t020000z"
	swapReq := Request{Point: "p", Mode: synapse.ModeSwap, Live: "s"}
	inPlace := Request{Point: "p", Mode: synapse.ModeInPlace, Live: "s"}
	beside := Request{Point: "p", Mode: synapse.ModeBeside, Target: "b"}
	made := created{"s_restore_" + run, 20}
	done := synapse.Swap{Live: "s", NewOID: 20, NewName: made.Database, OldOID: 10, OldName: "s_before_" + run}
	end := settled{Database: "s", OID: 20, Kept: &created{done.OldName, 10}, KeptTill: keptTill}
	live := synapse.Found{Name: "s", OID: 10, Size: 1}
	loaded := synapse.Found{Name: made.Database, OID: 20, Size: 2, Run: run}
	after := []synapse.Found{{Name: "s", OID: 20, Size: 2, Run: run}, {Name: done.OldName, OID: 10, Size: 1}}
	stranger := synapse.Found{Name: "other_restore_" + run, OID: 99, Run: "20200101t000000z"}

	for _, c := range []statusCase{
		{
			"half loaded", runOf(t, swapReq, jobs.Failed, prepare, prepared{}, create, made, load, nil),
			[]synapse.Found{live, loaded, stranger},
			"no live database was touched", "loaded, not live: " + made.Database, "resume drop",
		},
		{
			"created, not journalled", runOf(t, swapReq, jobs.Interrupted, prepare, prepared{}, create, nil),
			[]synapse.Found{live, loaded},
			"no live database was touched", "loaded, not live: " + made.Database, "resume drop",
		},
		{
			"rehearsal left", runOf(t, inPlace, jobs.Interrupted, prepare, prepared{}, rehearse, nil),
			[]synapse.Found{live, {Name: "s_rehearsal_" + run, OID: 30, Run: run}},
			"no live database was touched", "throwaway of the rehearsal: s_rehearsal_" + run, "resume drop",
		},
		{
			"live dropped", runOf(t, inPlace, jobs.Interrupted, prepare, prepared{}, rehearse, made, vacate, made, create, made, load, nil),
			[]synapse.Found{loaded},
			"was dropped or is being dropped", "loaded, not live: " + made.Database, "resume drop",
		},
		{
			"swap not journalled", runOf(t, swapReq, jobs.Interrupted, prepare, prepared{}, create, made, load, made, check, made, swap, nil),
			after, "its end is not in the journal", "", "resume",
		},
		{
			"swapped, not settled", runOf(t, swapReq, jobs.Failed, create, made, swap, done, settle, nil),
			after, "has only to be finished", "live before the restore: s_before_" + run, "resume undo",
		},
		{
			"done", runOf(t, swapReq, jobs.Done, create, made, swap, done, settle, end),
			after, "done: s is the restored database", "live before the restore: s_before_" + run, "undo drop",
		},
		{
			"undone", runOf(t, swapReq, jobs.Done, create, made, swap, done, settle, end, undone, end),
			[]synapse.Found{live, loaded},
			"it was undone", "restored, then swapped back: " + made.Database, "drop",
		},
		{
			"a later restore put the result aside", runOf(t, swapReq, jobs.Done, create, made, swap, done, settle, end),
			[]synapse.Found{{Name: "s", OID: 40}, {Name: "s_before_later", OID: 20, Run: run}, {Name: done.OldName, OID: 10}},
			"done", "live before the restore: s_before_" + run, "undo drop",
		},
		{
			"a later restore put aside what was undone", runOf(t, swapReq, jobs.Done, create, made, swap, done, settle, end, undone, end),
			[]synapse.Found{{Name: "s", OID: 40}, {Name: "s_before_later", OID: 10}, loaded},
			"it was undone", "restored, then swapped back: " + made.Database, "drop",
		},
		{
			"dropped", runOf(t, swapReq, jobs.Done, create, made, swap, done, settle, end, dropped, end),
			[]synapse.Found{after[0]},
			"what it left was dropped; s is the restored database", "", "",
		},
		{
			"at work", runOf(t, swapReq, jobs.Running, prepare, prepared{}, create, made, load, nil),
			[]synapse.Found{live, loaded},
			"at work", "loaded, not live: " + made.Database, "",
		},
		{
			"killed before the mark", runOf(t, beside, jobs.Interrupted, prepare, prepared{}, create, nil),
			[]synapse.Found{live, {Name: synapse.NewName(run, "b"), OID: 20, Run: run}},
			"no live database was touched", "loaded, not live: " + synapse.NewName(run, "b"), "resume drop",
		},
		{
			"into a database that was there", runOf(t, beside, jobs.Interrupted, prepare, prepared{}, create, created{"b", 20}, load, nil),
			[]synapse.Found{live, {Name: "b", OID: 20, Run: run, Guest: true}},
			"no live database was touched", leftGuest + ": b", "resume",
		},
		{
			"into a database that was there, dropped", runOf(t, beside, jobs.Interrupted, prepare, prepared{}, create, created{"b", 20}, load, nil, dropped, end),
			[]synapse.Found{live, {Name: "b", OID: 20, Run: run, Guest: true}},
			"it was dropped; b, which was there before it, stays", leftGuest + ": b", "",
		},
		{
			"beside, done", runOf(t, beside, jobs.Done, create, created{"b", 20}, settle, settled{Database: "b", OID: 20}),
			[]synapse.Found{{Name: "b", OID: 20, Run: run}},
			"done: b is the restored database", "", "",
		},
		{
			"server does not answer", runOf(t, swapReq, jobs.Failed, create, made, load, nil),
			nil, "no live database was touched", "", "resume",
		},
	} {
		t.Run(c.name, c.check)
	}
}

type statusCase struct {
	name  string
	run   *jobs.Run
	found []synapse.Found
	says  string
	left  string // what: name
	next  string // the commands' second words
}

func (c statusCase) check(t *testing.T) {
	t.Parallel()
	s, err := Status(c.run, keptTill, c.found)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(s.Says, c.says) {
		t.Errorf("says %q", s.Says)
	}
	var left, next []string
	for _, l := range s.Leftovers {
		left = append(left, l.What+": "+l.Name)
		if l.What == leftOld && has(c.run, settle) && !l.KeptTill.Equal(keptTill) {
			t.Errorf("%s is kept until %v", l.Name, l.KeptTill)
		}
	}
	for _, n := range s.Next {
		var verb string
		if _, err := fmt.Sscanf(n, "restore %s restore-20261125T020000Z:", &verb); err != nil {
			t.Errorf("next is %q: %v", n, err)
		}
		next = append(next, verb)
	}
	if got := strings.Join(left, ", "); got != c.left {
		t.Errorf("leftovers are %q, not %q", got, c.left)
	}
	if got := strings.Join(next, " "); got != c.next {
		t.Errorf("next are %q, not %q", got, c.next)
	}
}

func TestStandingText(t *testing.T) {
	t.Parallel()
	s := Standing{
		Run: "restore-20261125T020000Z", Request: Request{Mode: synapse.ModeSwap, Point: "p"}, State: jobs.Failed, Step: load,
		Error: "load: connection refused", Says: "unfinished; no live database was touched",
		Next: []string{"restore resume restore-20261125T020000Z: go on where it stopped"},
		Leftovers: []Leftover{
			{Name: "s_restore_x", What: leftLoaded, Size: 3 << 20},
			{Name: "s_before_x", What: leftOld, Size: -1, KeptTill: keptTill},
			{Name: "s_before_y", What: leftOld, Size: -1, KeptTill: keptTill, over: true},
		},
	}
	const want = `restore-20261125T020000Z: unfinished; no live database was touched
  point    p, swap
  state    failed, next step load
  error    load: connection refused
  left     s_restore_x, loaded, not live, 3.0 MiB
  left     s_before_x, live before the restore, kept until 2026-11-28 02:00 UTC
  left     s_before_y, live before the restore, kept until 2026-11-28 02:00 UTC, which is over
  next     restore resume restore-20261125T020000Z: go on where it stopped
`
	if got := s.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
