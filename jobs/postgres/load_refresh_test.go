package postgres

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// pg_dump knows no dependency through a function, and writes the views in the
// order of their names: a_later before b_first, which it reads.
func TestMaterializedViewsThatReadEachOtherThroughFunctions(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	c := config(t, p.Database(t))
	must(t, execute(t.Context(), connected(t, c), `
		CREATE TABLE t (i int); INSERT INTO t VALUES (1), (2);
		CREATE MATERIALIZED VIEW b_first AS SELECT sum(i) AS n FROM t;
		CREATE FUNCTION total() RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT n FROM public.b_first); END $$;
		CREATE MATERIALIZED VIEW a_later AS SELECT total() AS n;
		CREATE FUNCTION one() RETURNS int LANGUAGE sql AS 'SELECT 1';
		CREATE MATERIALIZED VIEW never AS SELECT one() AS n;
		CREATE UNIQUE INDEX ON never (n);
		CREATE OR REPLACE FUNCTION one() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE 'not here'; END $$`))
	pgDump := filepath.Join(p.BinDir(), "pg_dump")
	src := dumpOf(t, c, pgDump)
	created(t, p, s, "run-1", "load_refreshed", src.dump)
	rep, err := s.Load(t.Context(), src.request(t, "run-1", "load_refreshed", 1<<20))
	must(t, err)
	sound(t, rep)
	var n int
	must(t, connected(t, s.cfg.With("load_refreshed")).QueryRow(t.Context(), "SELECT n FROM a_later").Scan(&n))
	if n != 3 {
		t.Errorf("a_later has %d, not 3", n)
	}
	at := slices.IndexFunc(rep.Findings, func(f synapse.Finding) bool { return f.Name == "materialized views are filled" })
	if at < 0 || rep.Findings[at].Detail != "not public.never (not here): REFRESH MATERIALIZED VIEW later" {
		t.Errorf("findings %+v", rep.Findings)
	}
}
