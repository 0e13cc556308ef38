package postgres

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// What pg_dump leaves to be computed again is computed as the source did it:
// generated columns, indexes on expressions and materialized views whose
// functions ask for the time zone, or for a setting of their own.
func TestWhatIsComputedInALoadIsAsItWas(t *testing.T) {
	t.Parallel()
	p, err := testbed.StartPostgres(t.Context(), testbed.PGOptions{Settings: map[string]string{"timezone": "Asia/Tokyo"}})
	must(t, err)
	t.Cleanup(p.Close)
	s := NewServer(config(t, p.URL("postgres")), Options{BinDir: p.BinDir()})
	for i, zone := range []string{"", " SET timezone = 'America/New_York'"} {
		c := config(t, p.Database(t))
		set := "ALTER DATABASE " + c.Database()
		must(t, execute(t.Context(), connected(t, s.cfg), set+" SET app.salt = E's\\\\ \\t3'; "+set+" SET datestyle = 'SQL, DMY'"))
		if zone != "" {
			must(t, execute(t.Context(), connected(t, s.cfg), set+zone))
		}
		must(t, execute(t.Context(), connected(t, c.unstyled()), `
			CREATE FUNCTION day(timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT $1::date || coalesce(current_setting('app.salt', true), '') $$;
			CREATE TABLE t (at timestamptz, day text GENERATED ALWAYS AS (day(at)) STORED);
			INSERT INTO t VALUES ('2026-01-01 20:00+00'), ('2026-01-01 02:00+00');
			CREATE INDEX ON t (day(at)); CREATE MATERIALIZED VIEW v AS SELECT day(at) FROM t`))
		src := dumpOf(t, c, filepath.Join(p.BinDir(), "pg_dump"))
		archive := program(t, p, p.URL(c.Database()), "pg_dump", "-Fc")
		rows := src.request(t, "", "", 1<<20)
		stream := synapse.LoadRequest{Dump: src.dump, Stream: func(_ context.Context, yield func([]byte) error) error { return yield(archive) }}
		for way, q := range map[string]synapse.LoadRequest{"rows": rows, "stream": stream} {
			t.Run(fmt.Sprint(way, i), func(t *testing.T) {
				q.Run, q.Database = "run-1", c.Database()+way
				created(t, p, s, q.Run, q.Database, src.dump)
				rep, err := s.Load(t.Context(), q)
				must(t, err)
				sound(t, rep)
				const computed = "SET enable_seqscan = off; SELECT (SELECT string_agg(day, ',') FROM t) || (SELECT string_agg(day, ',') FROM v) || (SELECT count(*) FROM t WHERE day(at) = (SELECT min(day) FROM t))"
				same(t, "what is computed", string(program(t, p, p.URL(q.Database), "psql", "-Atc", computed)), string(program(t, p, p.URL(c.Database()), "psql", "-Atc", computed)))
			})
		}
	}
}
