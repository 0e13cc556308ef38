package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/postgres"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// want fails the test where an error does not say all of these.
func want(t *testing.T, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, wanted one that says %q", texts)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not say %q", err, text)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q has several lines", err)
	}
}

func TestRestoreBringsBackThePoint(t *testing.T) {
	t.Parallel()
	for _, mode := range []synapse.Mode{synapse.ModeSwap, synapse.ModeInPlace, synapse.ModeBeside} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			before := w.fingerprint(w.live)
			o := w.options(mode)
			run, err := w.restore(o)
			w.ok(err)
			if run.State != jobs.Done {
				t.Fatalf("run is %s", run.State)
			}
			if mode == synapse.ModeBeside {
				w.same(o.Target, w.state)
				w.same(w.live, before)
				return
			}
			w.same(w.live, w.state)
		})
	}
}

func TestRestoreIntoAServerThatLostItsDatabase(t *testing.T) {
	t.Parallel()
	for _, mode := range []synapse.Mode{synapse.ModeSwap, synapse.ModeInPlace} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.exec("postgres", "DROP DATABASE "+w.live)
			o := w.options(mode)
			o.ConfirmedDrop = false // there is nothing to confirm
			run, err := w.restore(o)
			w.ok(err)
			w.same(w.live, w.state)
			want(t, w.closed(NewUndo, run, nil), "there is no database from before")
		})
	}
}

func TestOneTimeKeysAreNotReissued(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.restore(w.options(synapse.ModeSwap))
	w.ok(err)
	if got := w.fingerprint(w.live); !strings.Contains(got, "e2e_one_time_keys_json 0 ") {
		t.Errorf("the restored database hands out one-time keys again: %s", got)
	}
}

func TestRepeatedRestoreDoesNotDoubleRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for range 2 {
		run, err := w.restore(w.options(synapse.ModeSwap))
		w.ok(err)
		w.same(w.live, w.state)
		w.now = w.now.Add(DefaultKeepOld + time.Hour)
		w.ok(w.closed(NewDrop, run, nil))
	}
	// The same run once more, as a scheduler that lost its answer would.
	id := jobs.RunID{Job: JobName, Homeserver: homeserver, Due: w.now}
	for range 2 {
		job, err := New(w.options(synapse.ModeSwap))
		w.ok(err)
		_, err = w.run(job, id)
		w.ok(err)
		w.same(w.live, w.state)
	}
}

func TestUndoBringsTheOldDatabaseBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.fingerprint(w.live)
	run, err := w.restore(w.options(synapse.ModeSwap))
	w.ok(err)
	w.same(w.live, w.state)
	for range 2 {
		w.ok(w.closed(NewUndo, run, nil))
		w.same(w.live, before)
	}
	fresh, err := w.journal.Open(t.Context(), run.RunID)
	w.ok(err)
	found, err := w.server.Databases(t.Context())
	w.ok(err)
	s, err := Status(fresh, w.now, found)
	w.ok(err)
	if len(s.Leftovers) != 1 || s.Leftovers[0].What != leftNew || s.Leftovers[0].Size <= 0 {
		t.Fatalf("leftovers are %+v", s.Leftovers)
	}
	w.same(s.Leftovers[0].Name, w.state)
	for range 2 {
		w.ok(w.closed(NewDrop, run, nil))
		w.same(w.live, before)
	}
	want(t, w.closed(NewUndo, run, nil), "dropped already")
	if _, err := w.restore(w.options(synapse.ModeSwap)); err != nil {
		t.Fatalf("a new restore after an undone one: %v", err)
	}
	w.same(w.live, w.state)
}

func TestTheOldDatabaseIsKeptAsLongAsPromised(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.fingerprint(w.live)
	run, err := w.restore(w.options(synapse.ModeSwap))
	w.ok(err)
	done, _, err := swapOf(run)
	w.ok(err)
	w.now = w.now.Add(71 * time.Hour)
	want(t, w.closed(NewDrop, run, nil), "is kept until 2026-11-28 12:00 UTC", "--now")
	w.same(done.OldName, before)
	w.ok(w.closed(NewDrop, run, func(c *Closing) { c.Early = true }))
	found, err := w.server.Databases(t.Context())
	w.ok(err)
	for _, f := range found {
		if f.OID == done.OldOID {
			t.Errorf("%s was not dropped", f.Name)
		}
	}
	w.same(w.live, w.state)
}

func TestSwapIsRefusedWhileSynapseRuns(t *testing.T) {
	t.Parallel()
	for _, mode := range []synapse.Mode{synapse.ModeSwap, synapse.ModeInPlace} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			before := w.fingerprint(w.live)
			c, err := pgx.Connect(t.Context(), w.pg.URL(w.live))
			w.ok(err)
			defer c.Close(context.WithoutCancel(t.Context())) //nolint:errcheck // may be ended
			_, err = w.restore(w.options(mode))
			want(t, err, "session")
			w.same(w.live, before)
			o := w.options(mode)
			o.Terminate = true
			_, err = w.restore(o)
			w.ok(err)
			w.same(w.live, w.state)
		})
	}
}

func TestInPlaceNeedsAConfirmation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.fingerprint(w.live)
	o := w.options(synapse.ModeInPlace)
	o.ConfirmedDrop = false
	_, err := w.restore(o)
	want(t, err, "drops the live database "+w.live, "confirm")
	w.same(w.live, before)
}

func TestATargetThatIsNotEmptyIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.options(synapse.ModeBeside)
	w.exec("postgres", "CREATE DATABASE "+o.Target)
	w.exec(o.Target, "CREATE TABLE somebodys (n int); INSERT INTO somebodys VALUES (1)")
	w.refuses(o, o.Target, "somebodys")
}

// What is restored into a template is in every database that is made later. The
// plan is asked alone, because the server is that of other tests, too.
func TestTheServersOwnDatabasesAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.options(synapse.ModeBeside)
	w.exec("postgres", "CREATE DATABASE "+o.Target+" IS_TEMPLATE true")
	for name, why := range map[string]string{
		o.Target: o.Target + " is a template", "template1": "template1 is a template", "template0": "template0 is a template",
		"postgres": "postgres is the one that servers are administered from",
	} {
		o.Target = name
		j, err := New(o)
		w.ok(err)
		b, err := j.Blueprint(t.Context(), &jobs.Run{RunID: jobs.RunID{Job: JobName, Homeserver: homeserver, Due: w.now}})
		w.ok(err)
		want(t, b.Refusal(), why, "--target-database")
	}
	w.exec("postgres", "ALTER DATABASE "+w.live+"_beside IS_TEMPLATE false")
}

func TestWrongCollationIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.options(synapse.ModeBeside)
	w.exec("postgres", "CREATE DATABASE "+o.Target+" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'")
	w.refuses(o, "C.UTF-8")
}

func TestALocaleThatSynapseRefusesIsRefusedBeforeTheLoad(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var info synapse.Database
	w.ok(json.Unmarshal(w.point.Manifest.Database.Info, &info))
	info.Collate, info.CType, info.Schema = "C.UTF-8", "C.UTF-8", &synapse.Schema{Version: 94, Compat: 84}
	raw, err := json.Marshal(info)
	w.ok(err)
	w.point.Manifest.Database.Info = raw
	w.refuses(w.options(synapse.ModeSwap), "C.UTF-8", "allow_unsafe_locale")
}

func TestAnOlderServerIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var info synapse.Database
	w.ok(json.Unmarshal(w.point.Manifest.Database.Info, &info))
	info.Version = 990000
	raw, err := json.Marshal(info)
	w.ok(err)
	w.point.Manifest.Database.Info = raw
	w.refuses(w.options(synapse.ModeSwap), "99")
}

func TestAMissingRoleIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.options(synapse.ModeSwap)
	o.Owner = "nobody_of_this_name"
	w.refuses(o, "nobody_of_this_name")
}

func TestSomeTablesBeside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.options(synapse.ModeBeside)
	o.Tables = []string{"rooms", "public.doubles"}
	_, err := w.restore(o)
	w.ok(err)
	got := w.fingerprint(o.Target)
	if !strings.Contains(got, "rooms 50 ") || !strings.Contains(got, "doubles 100 ") || strings.Contains(got, "events") {
		t.Errorf("the tables are not those that were asked for: %s", got)
	}
	o.Tables, o.Target = []string{"roms"}, w.live+"_other"
	_, err = w.restore(o)
	want(t, err, "no table roms")
}

func TestARestoreAsSynapsesOwnRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, err := postgres.ParseConfig(w.pg.SynapseURL(w.live))
	w.ok(err)
	w.server = postgres.NewServer(c, postgres.Options{Jobs: 2, BinDir: w.pg.BinDir()})
	before := w.fingerprint(w.live)
	run, err := w.restore(w.options(synapse.ModeSwap))
	w.ok(err)
	w.same(w.live, w.state)
	w.ok(w.closed(NewUndo, run, nil))
	w.same(w.live, before)
	w.ok(w.closed(NewDrop, run, nil))
	_, err = w.restore(w.options(synapse.ModeInPlace))
	w.ok(err)
	w.same(w.live, w.state)
}

// A dry run is the blueprint of a run that is never begun.
func TestADryRunTouchesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := fmt.Sprint(w.databases(), w.keys())
	job, err := New(w.options(synapse.ModeSwap))
	w.ok(err)
	id, _, err := job.ID(t.Context(), w.journal)
	w.ok(err)
	b, err := job.Blueprint(t.Context(), &jobs.Run{RunID: id})
	w.ok(err)
	w.ok(b.Refusal())
	if b.Destroys() != "restore replaces the live database "+w.live {
		t.Error("a swap is said to replace nothing")
	}
	for _, text := range []string{w.point.ID, w.live, "1 h 0 min ago", "never verified", "newer than the point", "rename " + w.live + " aside"} {
		if !strings.Contains(b.String(), text) {
			t.Errorf("the plan does not say %q:\n%s", text, b)
		}
	}
	if after := fmt.Sprint(w.databases(), w.keys()); after != before {
		t.Errorf("a dry run left %s, before it was %s", after, before)
	}
}

// The server notices late that a session has ended: an inspection just before
// must not look like a Synapse that runs.
func TestAnInspectionIsNotInTheWayOfTheNext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.unused(w.live)
	job, err := New(w.options(synapse.ModeSwap))
	w.ok(err)
	for range 20 {
		b, err := job.Blueprint(t.Context(), &jobs.Run{RunID: jobs.RunID{Job: JobName, Homeserver: homeserver, Due: w.now}})
		w.ok(err)
		w.ok(b.Refusal())
	}
}

func (w *world) databases() (names []string) {
	w.t.Helper()
	found, err := w.server.Databases(w.t.Context())
	w.ok(err)
	for _, f := range found {
		if strings.HasPrefix(f.Name, w.live) {
			names = append(names, f.Name)
		}
	}
	return names
}

func (w *world) keys() (keys []string) {
	w.t.Helper()
	for o, err := range w.store.List(w.t.Context(), "") {
		w.ok(err)
		keys = append(keys, o.Key)
	}
	return keys
}

func TestAnUnfinishedRunOfAnotherRequestIsMentioned(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, err := pgx.Connect(t.Context(), w.pg.URL(w.live))
	w.ok(err)
	_, err = w.restore(w.options(synapse.ModeSwap)) // refused: the session above
	want(t, err, "session")
	w.ok(c.Close(t.Context()))

	job, err := New(w.options(synapse.ModeBeside))
	w.ok(err)
	_, others, err := job.ID(t.Context(), w.journal)
	w.ok(err)
	if len(others) != 1 {
		t.Fatalf("%d other unfinished runs", len(others))
	}
	again, err := New(w.options(synapse.ModeSwap))
	w.ok(err)
	id, others, err := again.ID(t.Context(), w.journal)
	w.ok(err)
	if len(others) != 0 || id.String() == "" {
		t.Errorf("the same request is run %s beside %d others", id, len(others))
	}
	if _, err := Find(t.Context(), w.journal, homeserver, id.Slot()); err != nil {
		t.Error(err)
	}
	if _, err := Find(t.Context(), w.journal, homeserver, "restore-20200101T000000Z"); err == nil {
		t.Error("a run that never was is found")
	}
}

var errKilled = errors.New("killed")
