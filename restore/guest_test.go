package restore

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// theirs makes an empty database as an operator would, and says what is set on it.
func (w *world) theirs(name string) (facts func() string) {
	w.t.Helper()
	w.exec("postgres", `CREATE DATABASE "`+name+`" TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' ENCODING 'UTF8'`)
	w.exec("postgres", `COMMENT ON DATABASE "`+name+`" IS 'for the auditors'; ALTER DATABASE "`+name+`" SET work_mem = '7MB';
		GRANT CONNECT ON DATABASE "`+name+`" TO pg_monitor`)
	return func() string {
		c, err := pgx.Connect(w.t.Context(), w.pg.URL("postgres"))
		w.ok(err)
		defer c.Close(w.t.Context()) //nolint:errcheck // read only
		var text string
		w.ok(c.QueryRow(w.t.Context(), `SELECT concat_ws(' ', oid, split_part(shobj_description(oid, 'pg_database'), E'\n', 1), datacl,
			(SELECT setconfig FROM pg_db_role_setting WHERE setdatabase = d.oid)) FROM pg_database d WHERE datname = $1`, name).Scan(&text))
		return text
	}
}

// A database that was there before the restore is never dropped by it, nor is
// what was set on it changed.
func TestADatabaseThatWasThereIsLeftToItsOwner(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.options(synapse.ModeBeside)
	facts := w.theirs(o.Target)
	before := facts()
	run, err := w.restore(o)
	w.ok(err)
	if got := facts(); got != before || run.State != jobs.Done {
		t.Errorf("%s: it was %s and is %s", run.State, before, got)
	}
	want(t, w.closed(NewDrop, run, nil), "it left nothing; "+o.Target+" is what it was asked for")

	w.spoil("events", w.flip)
	o.Target += "_half"
	facts = w.theirs(o.Target)
	before = facts()
	run, err = w.restore(o)
	want(t, err, "public.events")
	s, err := Status(run, w.now, w.found())
	w.ok(err)
	if text := s.String(); !strings.Contains(text, leftGuest) || strings.Contains(text, "restore drop") {
		t.Errorf("status says %s", text)
	}
	w.ok(w.closed(NewDrop, run, nil))
	w.ok(w.closed(NewDrop, run, nil)) // twice is fine
	if got := facts(); got != before {
		t.Errorf("it was %s and is %s", before, got)
	}
}

// found is what the server has.
func (w *world) found() []synapse.Found {
	w.t.Helper()
	all, err := w.server.Databases(w.t.Context())
	w.ok(err)
	return all
}

// A run that was killed between making a database and marking it knows it by its
// name, to go on with it and to drop it.
func TestADatabaseIsTheRunsBeforeItBearsItsMark(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	o := w.options(synapse.ModeBeside)
	j, err := New(o)
	w.ok(err)
	id, _, err := j.ID(t.Context(), w.journal)
	w.ok(err)
	fresh := synapse.NewName(slot(id), o.Target)
	w.exec("postgres", `CREATE DATABASE "`+fresh+`" TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' ENCODING 'UTF8'`)
	run := runOf(t, j.Request, jobs.Interrupted, prepare, prepared{}, create, nil)
	run.RunID = id
	w.ok(w.journal.Save(t.Context(), run))
	s, err := Status(run, w.now, w.found())
	w.ok(err)
	if len(s.Leftovers) != 1 || s.Leftovers[0].Name != fresh {
		t.Errorf("leftovers are %v", s.Leftovers)
	}
	w.ok(w.closed(NewDrop, run, nil))
	for _, f := range w.found() {
		if f.Name == fresh || f.Name == o.Target {
			t.Errorf("%s is there", f.Name)
		}
	}
}
