package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

func connected(t testing.TB, c *Config) *pgx.Conn {
	t.Helper()
	conn, err := c.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func config(t testing.TB, url string) *Config {
	t.Helper()
	c, err := ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// server is a test's PostgreSQL and what is tested on it.
func server(t testing.TB) (*testbed.PG, *Server) {
	t.Helper()
	p := testbed.Postgres(t)
	return p, NewServer(config(t, p.URL("postgres")), Options{BinDir: p.BinDir()})
}

// varied is a dump of a database of many kinds of objects, and its text.
func varied(t testing.TB, p *testbed.PG) (*source, string) {
	t.Helper()
	script, err := os.ReadFile("testdata/load.sql")
	if err != nil {
		t.Fatal(err)
	}
	c := config(t, p.Database(t))
	must(t, execute(t.Context(), connected(t, c), string(script)))
	pgDump := filepath.Join(p.BinDir(), "pg_dump")
	return dumpOf(t, c, pgDump), textOf(t, c, pgDump)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// textOf is a database as pg_dump writes it, line by line in no order: parallel
// loads change the order of rows.
func textOf(t testing.TB, c *Config, pgDump string, args ...string) string {
	t.Helper()
	cmd := exec.Command(pgDump, args...)
	cmd.Env = c.Env()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("pg_dump: %v: %s", err, stderr.String())
	}
	lines := slices.DeleteFunc(strings.Split(string(out), "\n"), restrict.MatchString)
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// created makes a database for a run; it is dropped at the end.
func created(t testing.TB, p *testbed.PG, s *Server, run, name string, d synapse.Database) uint32 {
	t.Helper()
	oid, err := s.Create(t.Context(), run, name, d, "")
	must(t, err)
	t.Cleanup(func() {
		_ = p.Exec(context.Background(), "postgres", "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)")
	})
	return oid
}

func same(t testing.TB, what, got, want string) {
	t.Helper()
	if got == want {
		return
	}
	have := strings.Split(got, "\n")
	for _, line := range strings.Split(want, "\n") {
		if !slices.Contains(have, line) {
			t.Errorf("%s lacks: %q", what, line)
		}
	}
	t.Fatalf("%s differs from its source", what)
}

func sound(t testing.TB, rep synapse.LoadReport) {
	t.Helper()
	if bad := rep.Bad(); len(bad) > 0 {
		t.Fatalf("findings: %+v", bad)
	}
}

func TestLoadBringsBackWhatPgDumpWrote(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	src, want := varied(t, p)
	oid := created(t, p, s, "run-1", "load_varied", src.dump)
	q := src.request(t, "run-1", "load_varied", 4<<10)
	q.Jobs = 3
	rep, err := s.Load(t.Context(), q)
	must(t, err)
	sound(t, rep)
	if rep.OID != oid || rep.Rows == 0 || rep.Indexes < 5 {
		t.Errorf("report %+v", rep)
	}
	same(t, "the loaded database", textOf(t, s.cfg.With("load_varied"), filepath.Join(p.BinDir(), "pg_dump")), want)

	again, err := s.Load(t.Context(), q) // it is complete: only checked
	must(t, err)
	sound(t, again)
}

func TestWhatPgDumpCanDumpComesBackWithOurLoad(t *testing.T) {
	t.Parallel()
	for _, v := range versions {
		t.Run(fmt.Sprint(v), func(t *testing.T) {
			t.Parallel()
			p := testbed.PostgresVersion(t, v)
			s := NewServer(config(t, p.URL("postgres")), Options{BinDir: p.BinDir()})
			pgDump := filepath.Join(p.BinDir(), "pg_dump")
			zoo := config(t, testbed.Zoo(t, p))
			src := dumpOf(t, zoo, pgDump)
			into := zoo.Database() + "_back"
			in, err := s.Inspect(t.Context(), synapse.Request{Run: "run-1", Mode: synapse.ModeBeside, Target: into, Dump: src.dump, TOC: src.toc})
			must(t, err)
			if len(in.Problems) > 0 {
				t.Fatalf("the plan refuses: %q", in.Problems)
			}
			created(t, p, s, "run-1", into, src.dump)
			rep, err := s.Load(t.Context(), src.request(t, "run-1", into, 4<<10))
			must(t, err)
			sound(t, rep)
			same(t, "the zoo", textOf(t, s.cfg.With(into), pgDump), textOf(t, zoo, pgDump))
		})
	}
}

// Incident: restoring over a live database doubled rows in tables without a
// unique index and set sequences back.
func TestLoadRefusesADatabaseThatIsNotEmpty(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	src, _ := varied(t, p)
	c := config(t, p.Database(t))
	must(t, execute(t.Context(), connected(t, c), "CREATE TABLE precious (x int)"))
	before := textOf(t, c, filepath.Join(p.BinDir(), "pg_dump"))
	_, err := s.Load(t.Context(), src.request(t, "run-1", c.Database(), 1<<20))
	if err == nil || !strings.Contains(err.Error(), "not empty (table public.precious") {
		t.Fatalf("got %v", err)
	}
	same(t, "the refused database", textOf(t, c, filepath.Join(p.BinDir(), "pg_dump")), before)
	if _, err := s.Create(t.Context(), "run-1", c.Database(), src.dump, ""); err == nil {
		t.Error("Create adopted a database that is not empty")
	}
}

// Incident: a dump cut short was loaded, and "restore complete" printed.
func TestLoadRefusesAPartWithFewerRowsThanPromised(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	src, _ := varied(t, p)
	created(t, p, s, "run-1", "load_short", src.dump)
	q := src.request(t, "run-1", "load_short", 2<<10)
	whole := q.Fetch
	q.Fetch = func(ctx context.Context, table, part int, yield func([]byte) error) error {
		if q.Tables[table].Name != "plain" || part != 3 {
			return whole(ctx, table, part, yield)
		}
		var all []byte
		must(t, whole(ctx, table, part, func(b []byte) error { all = append(all, b...); return nil }))
		return yield(all[:bytes.IndexByte(all, '\n')+1])
	}
	_, err := s.Load(t.Context(), q)
	if err == nil || !strings.Contains(err.Error(), "copy part 4 of") || !strings.Contains(err.Error(), "it has 1 rows, the recovery point says") {
		t.Fatalf("got %v", err)
	}
}

func TestLoadSaysWhichTablesHaveNoRowsInThePoint(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	src, _ := varied(t, p)
	created(t, p, s, "run-1", "load_rowless", src.dump)
	q := src.request(t, "run-1", "load_rowless", 1<<20)
	q.Tables = slices.DeleteFunc(q.Tables, func(lt synapse.LoadTable) bool { return lt.Name == "unlogged" })
	for i := range q.Tables { // the parts move with their table
		q.Tables[i].Parts, q.Tables[i].Rows = nil, 0
	}
	rep, err := s.Load(t.Context(), q)
	must(t, err)
	bad := rep.Bad()
	if len(bad) == 0 || bad[0].Detail != "no rows of public.unlogged" {
		t.Fatalf("findings: %+v", bad)
	}
}

func TestLoadOfSelectedTablesBringsWhatTheyNeed(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	src, _ := varied(t, p)
	created(t, p, s, "run-1", "load_only", src.dump)
	q := src.request(t, "run-1", "load_only", 2<<10)
	q.Only = []string{"public.plain"}
	rep, err := s.Load(t.Context(), q)
	must(t, err)
	sound(t, rep)
	c := connected(t, s.cfg.With("load_only"))
	tables, err := names(t.Context(), c, "SELECT tablename::text FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')")
	must(t, err)
	if !slices.Equal(tables, []string{"plain"}) {
		t.Errorf("tables %v", tables)
	}
	var rows, indexes int
	var next int64
	must(t, c.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM plain), (SELECT count(*) FROM pg_indexes WHERE tablename = 'plain'), nextval('plain_id_seq')`).
		Scan(&rows, &indexes, &next))
	if rows != 3000 || indexes != 4 || next != 3001 {
		t.Errorf("%d rows, %d indexes, next id %d", rows, indexes, next)
	}

	q.Run, q.Only = "run-2", []string{"plan"}
	if _, err := s.Load(t.Context(), q); err == nil || !strings.Contains(err.Error(), "no table plan") {
		t.Errorf("got %v", err)
	}
}

// Incident: element-hq/element-meta#2155: a database rolled back handed out
// one-time keys again, and messages became undecryptable.
func TestLoadEmptiesOneTimeKeys(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	c := config(t, testbed.SynapseDatabase(t, p, 0.01))
	must(t, p.Exec(t.Context(), c.Database(), "INSERT INTO e2e_one_time_keys_json VALUES ('@a:b', 'D', 'signed_curve25519', 'k', 1, '{}')"))
	src := dumpOf(t, config(t, p.URL(c.Database())), filepath.Join(p.BinDir(), "pg_dump"))
	for _, keep := range []bool{false, true} {
		name := fmt.Sprintf("load_keys_%v", keep)
		created(t, p, s, name, name, src.dump)
		q := src.request(t, name, name, 1<<20)
		q.KeepOTK = keep
		rep, err := s.Load(t.Context(), q)
		must(t, err)
		sound(t, rep)
		var n int
		must(t, connected(t, s.cfg.With(name)).QueryRow(t.Context(), "SELECT count(*) FROM e2e_one_time_keys_json").Scan(&n))
		if (n > 0) != keep {
			t.Errorf("%d one-time keys, kept: %v", n, keep)
		}
		for _, f := range rep.Findings {
			if !f.OK {
				t.Errorf("finding %+v", f)
			}
		}
	}
}

func TestLoadOfAStream(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	c := config(t, p.Database(t))
	must(t, execute(t.Context(), connected(t, c), `CREATE TABLE a (id int PRIMARY KEY, t text); INSERT INTO a SELECT i, repeat('x', 100) FROM generate_series(1, 5000) i; SELECT lo_from_bytea(4711, 'large')`))
	pgDump := filepath.Join(p.BinDir(), "pg_dump")
	cmd := exec.Command(pgDump, "-Fc", "-Z0")
	cmd.Env = c.Env()
	archive, err := cmd.Output()
	must(t, err)
	d := dumpOf(t, c, pgDump).dump
	created(t, p, s, "run-1", "load_stream", d)
	q := synapse.LoadRequest{Run: "run-1", Database: "load_stream", Dump: d}
	feed := func(n int) func(context.Context, func([]byte) error) error {
		return func(_ context.Context, yield func([]byte) error) error {
			for i := 0; i < n; i += 1 << 16 {
				if err := yield(archive[i:min(i+1<<16, n)]); err != nil {
					return err
				}
			}
			if n < len(archive) {
				return errCut
			}
			return nil
		}
	}
	q.Stream = feed(len(archive) - 1000)
	if _, err := s.Load(t.Context(), q); !errors.Is(err, errCut) {
		t.Fatalf("got %v, want the store's error", err)
	}
	q.Stream = feed(len(archive))
	rep, err := s.Load(t.Context(), q)
	must(t, err)
	sound(t, rep)
	same(t, "the streamed database", textOf(t, s.cfg.With("load_stream"), pgDump), textOf(t, c, pgDump))
}
