package postgres

import (
	"context"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

func TestMarksAreReadAsTheyWereWritten(t *testing.T) {
	t.Parallel()
	const run = "20261125t020000z"
	for comment, m := range map[string]mark{
		"synapse-maint restore " + run:                                                {run: run},
		"synapse-maint restored " + run:                                               {run: run, done: true},
		"synapse-maint restore " + run + " into a database that was there":            {run: run, guest: true},
		"for\nyou\nsynapse-maint restored " + run + " into a database that was there": {theirs: "for\nyou", run: run, done: true, guest: true},
	} {
		if got := parseMark(comment); got != m {
			t.Errorf("%q is read as %+v", comment, got)
		}
		if got := m.String(); got != comment {
			t.Errorf("%+v is written as %q", m, got)
		}
	}
	for _, comment := range []string{"", "for you", "synapse-maint restore x\nand more", "a synapse-maint restore"} {
		if got := parseMark(comment); got != (mark{theirs: comment}) {
			t.Errorf("%q is read as %+v", comment, got)
		}
	}
	if m := parseMark("for you"); m.of("") {
		t.Error("what bears no mark is nobody's")
	}
}

func TestNewNamesSayTheRun(t *testing.T) {
	t.Parallel()
	name := synapse.NewName("20261125t020000z", "synapse")
	if run, ok := synapse.RunOfNew(name); !ok || run != "20261125t020000z" || name == synapse.NewName("20261125t020000z", "other") || len(name) > 63 {
		t.Errorf("%s is that of %q", name, run)
	}
	if run, ok := synapse.RunOfNew("synapse"); ok {
		t.Errorf("synapse is that of %q", run)
	}
}

// Killed between making a database and marking it, a run finds it again.
func TestCreateGoesOnWithWhatItMade(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	must(t, p.Exec(t.Context(), "postgres", createStatement(synapse.NewName("run-1", "create_again"), plainC, 150000)))
	created(t, p, s, "run-1", "create_again", plainC)
	c := connected(t, s.cfg)
	if r, ok, err := databaseNamed(t.Context(), c, "create_again"); err != nil || !ok || !r.Mark.of("run-1") || r.Mark.guest {
		t.Errorf("%+v, %t, %v", r, ok, err)
	}
	if _, ok, _ := databaseNamed(t.Context(), c, synapse.NewName("run-1", "create_again")); ok {
		t.Error("it is there under its first name, too")
	}
}

// What a plain role may not do to others' databases is said, not tried.
func TestOthersDatabasesAreLeftAlone(t *testing.T) {
	t.Parallel()
	p, super := server(t)
	must(t, p.Exec(t.Context(), "postgres", "CREATE DATABASE others TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' ENCODING 'UTF8'"))
	t.Cleanup(func() { _ = p.Exec(context.Background(), "postgres", "DROP DATABASE others") })
	s := NewServer(config(t, p.SynapseURL("postgres")), Options{BinDir: p.BinDir()})
	hasProblem(t, inspected(t, s, asked("run-1", "inspect_absent", "others", plainC)),
		`database others belongs to postgres, for whom role synapse may not act: GRANT "postgres" TO "synapse", or name another database`)

	oid := created(t, p, super, "run-1", "others_made", plainC)
	wantError(t, s.Drop(t.Context(), "others_made", oid), "it belongs to postgres, and role "+testbed.SynapseRole+" may not act for it: GRANT")
	oid, err := super.Create(t.Context(), "run-1", "others", plainC, "")
	must(t, err)
	wantError(t, super.Drop(t.Context(), "others", oid), "no restore made it or put it aside; nothing was dropped")
}

func wantError(t *testing.T, err error, text string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("%v, want one that says %q", err, text)
	}
}
