package postgres

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// Statistics are no reason to refuse a complete database: a partition on a
// server that does not answer, or a function that fails when ANALYZE calls it.
func TestWhatCantBeAnalysedIsAFinding(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	c := config(t, p.Database(t))
	must(t, execute(t.Context(), connected(t, c), `
		CREATE EXTENSION postgres_fdw;
		CREATE SERVER gone FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '1', connect_timeout '2');
		CREATE TABLE parts (id int, v text) PARTITION BY RANGE (id);
		CREATE TABLE near PARTITION OF parts FOR VALUES FROM (0) TO (1000);
		CREATE FOREIGN TABLE far PARTITION OF parts FOR VALUES FROM (1000) TO (2000) SERVER gone;
		CREATE TABLE parent (id int); INSERT INTO parent VALUES (1);
		CREATE FOREIGN TABLE child () INHERITS (parent) SERVER gone;
		INSERT INTO parts SELECT i, i FROM generate_series(1, 500) i;
		CREATE FUNCTION later(i int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN IF i > 400 THEN RAISE 'not now'; END IF; RETURN i; END $$;
		CREATE TABLE expressed (id int); INSERT INTO expressed SELECT generate_series(1, 300);
		CREATE STATISTICS on_later ON (later(id)), (id + 1) FROM expressed; INSERT INTO expressed VALUES (500)`))
	pgDump := filepath.Join(p.BinDir(), "pg_dump")
	src := dumpOf(t, c, pgDump)
	created(t, p, s, "run-1", "load_unanalysed", src.dump)
	rep, err := s.Load(t.Context(), src.request(t, "run-1", "load_unanalysed", 1<<20))
	must(t, err)
	at := slices.IndexFunc(rep.Findings, func(f synapse.Finding) bool { return f.Name == "statistics are gathered" })
	if at < 0 {
		t.Fatalf("no finding of %+v", rep.Findings)
	}
	f := rep.Findings[at]
	for _, want := range []string{"parts (some of it is on another server)", "parent", "expressed (not now)"} {
		if f.OK || f.Serious || !strings.Contains(f.Detail, want) {
			t.Errorf("%+v does not say %s", f, want)
		}
	}
	if strings.Contains(f.Detail, "near") {
		t.Errorf("%s: near is here", f.Detail)
	}
	same(t, "the database", textOf(t, s.cfg.With("load_unanalysed"), pgDump), textOf(t, c, pgDump))
}
