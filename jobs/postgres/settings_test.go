package postgres

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// unsettable are settings that Synapse's role may not set on a database, one of
// them not even shown to it and one of an extension, or that no server knows any
// more, among one that it may.
func unsettable() []synapse.Setting {
	return []synapse.Setting{
		{Name: "log_min_duration_statement", Value: "1s"},
		{Name: "operator_precedence_warning", Value: "on"},
		{Name: "session_preload_libraries", Value: "auto_explain"},
		{Name: "synapse.note", Value: "kept"},
		{Name: "work_mem", Value: "7MB"},
		{Role: "postgres", Name: "statement_timeout", Value: "5min"},
	}
}

const (
	forbiddenSettings = "log_min_duration_statement, session_preload_libraries, statement_timeout of role postgres, synapse.note"
	refusedSettings   = "log_min_duration_statement, operator_precedence_warning, session_preload_libraries, synapse.note, statement_timeout of role postgres"
)

// A superuser has set what the role that restores may not: the plan says so, the
// rest is restored, and the report names what is not.
func TestSettingsThatARoleMayNotSetEndNoLoad(t *testing.T) {
	t.Parallel()
	p, _ := server(t)
	s := NewServer(config(t, p.SynapseURL("postgres")), Options{BinDir: p.BinDir()})
	c := config(t, p.Database(t, testbed.OwnedBySynapse()))
	must(t, execute(t.Context(), connected(t, c), "CREATE TABLE t AS SELECT 1 AS n"))
	src := dumpOf(t, c, filepath.Join(p.BinDir(), "pg_dump"))
	src.dump.Settings = unsettable()
	for _, way := range []string{"rows", "stream"} {
		t.Run(way, func(t *testing.T) {
			q := src.request(t, "run-1", c.Database()+way, 1<<20)
			if way == "stream" {
				archive := program(t, p, p.URL(c.Database()), "pg_dump", "-Fc")
				q = synapse.LoadRequest{Run: q.Run, Database: q.Database, Dump: src.dump, Stream: func(_ context.Context, yield func([]byte) error) error { return yield(archive) }}
			}
			in := inspected(t, s, synapse.Request{Mode: synapse.ModeBeside, Target: q.Database, Dump: src.dump, TOC: q.TOC})
			said := strings.Join(in.Warnings, "; ")
			for _, want := range []string{
				"the server does not know every setting of the database, and the restored one goes without: operator_precedence_warning",
				"role synapse may not set every setting of the database, and the restored one may go without: " + forbiddenSettings + "; restore as a superuser",
			} {
				if !strings.Contains(said, want) {
					t.Errorf("the plan warns %q, not %q", said, want)
				}
			}
			created(t, p, s, q.Run, q.Database, src.dump)
			rep, err := s.Load(t.Context(), q)
			must(t, err)
			i := slices.IndexFunc(rep.Findings, func(f synapse.Finding) bool { return f.Name == "the database's settings are set" })
			if i < 0 || rep.Findings[i].OK || rep.Findings[i].Serious || !strings.HasPrefix(rep.Findings[i].Detail, "not "+refusedSettings+": ") {
				t.Errorf("findings %+v", rep.Findings)
			}
			if got := assigned(t, s, q.Database); got != "work_mem=7MB" {
				t.Errorf("it has %q", got)
			}
		})
	}
}

// The same on the live database: it is no reason not to swap.
func TestSettingsThatARoleMayNotSetEndNoSwap(t *testing.T) {
	t.Parallel()
	p, super := server(t)
	s := NewServer(config(t, p.SynapseURL("postgres")), Options{BinDir: p.BinDir()})
	const live = "settings_live"
	like := synapse.Database{Encoding: "UTF8", Collate: "C", CType: "C"}
	for _, name := range []string{live, "settings_new"} {
		created(t, p, s, "run-1", name, like)
	}
	_, err := assign(t.Context(), connected(t, super.cfg), live, unsettable())
	must(t, err)
	admin := connected(t, s.cfg)
	old, _, err := databaseNamed(t.Context(), admin, live)
	must(t, err)
	fresh, _, err := databaseNamed(t.Context(), admin, "settings_new")
	must(t, err)
	must(t, execute(t.Context(), admin, mark{run: "run-1", done: true}.statement("settings_new")))
	in := inspected(t, s, synapse.Request{Mode: synapse.ModeSwap, Live: live, Target: "settings_none", Dump: like})
	if said := strings.Join(in.Warnings, "; "); !strings.Contains(said, "may go without: "+forbiddenSettings) {
		t.Errorf("the plan warns %q", said)
	}
	sw, err := s.Swap(t.Context(), synapse.SwapRequest{Run: "run-1", Live: live, New: "settings_new", NewOID: fresh.OID, OldOID: old.OID})
	must(t, err)
	if got := assigned(t, s, live); sw.OldOID != old.OID || got != "work_mem=7MB" {
		t.Errorf("%+v, and it has %q", sw, got)
	}
}

func assigned(t *testing.T, s *Server, database string) string {
	t.Helper()
	c := connected(t, s.cfg)
	row, _, err := databaseNamed(t.Context(), c, database)
	must(t, err)
	d, err := properties(t.Context(), c, row.OID)
	must(t, err)
	var list []string
	for _, s := range d.Settings {
		list = append(list, s.String()+"="+s.Value)
	}
	return strings.Join(list, ", ")
}
