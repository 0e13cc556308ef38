package postgres

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// Incident: element-hq/element-meta#2155, by the other way: pg_restore brings
// all that is in a stream, and one may hold one-time keys.
func TestAStreamWithOneTimeKeysLeavesNone(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	c := config(t, p.URL(config(t, testbed.SynapseDatabase(t, p, 0.01)).Database()))
	must(t, p.Exec(t.Context(), c.Database(), `INSERT INTO e2e_one_time_keys_json VALUES ('@a:b', 'D', 'signed_curve25519', 'k', 1, '{}');
		SELECT lo_from_bytea(4711, 'large')`))
	pgDump := filepath.Join(p.BinDir(), "pg_dump")
	cmd := exec.Command(pgDump, "-Fc", "-Z0")
	cmd.Env = c.Env()
	archive, err := cmd.Output()
	must(t, err)
	d := dumpOf(t, c, pgDump).dump
	for _, keep := range []bool{false, true} {
		name := fmt.Sprintf("load_stream_keys_%v", keep)
		created(t, p, s, name, name, d)
		rep, err := s.Load(t.Context(), synapse.LoadRequest{
			Run: name, Database: name, Dump: d, KeepOTK: keep,
			Stream: func(_ context.Context, yield func([]byte) error) error { return yield(archive) },
		})
		must(t, err)
		sound(t, rep)
		var n int
		must(t, connected(t, s.cfg.With(name)).QueryRow(t.Context(), "SELECT count(*) FROM e2e_one_time_keys_json").Scan(&n))
		if (n > 0) != keep {
			t.Errorf("%d one-time keys, kept: %v", n, keep)
		}
	}
}

// What one stream brings back is complete and checked, whatever made it one: an
// encoding that is not UTF8, or a partition by the hash of an enum, whose rows
// pg_dump loads through the root since March 2023.
func TestDatabasesThatAreStreamsComeBack(t *testing.T) {
	t.Parallel()
	for _, v := range versions {
		p := testbed.PostgresVersion(t, v)
		for name, c := range map[string]struct{ options, sql, all, reason string }{
			"latin1": {"ENCODING 'LATIN1'", `CREATE TABLE "tä" ("ö" int PRIMARY KEY, s text); INSERT INTO "tä" VALUES (1, 'ä'), (2, 'ÿ')`, `SELECT string_agg(s, '') FROM "tä"`, "LATIN1"},
			"ascii":  {"ENCODING 'SQL_ASCII'", `CREATE TABLE t (a text); INSERT INTO t VALUES ('ä')`, `SELECT a FROM t`, "SQL_ASCII"},
			"enum": {"ENCODING 'UTF8'", `CREATE TYPE en AS ENUM ('open', 'closed', 'lost', 'new'); CREATE TABLE hp (e en, n int) PARTITION BY HASH (e);
				CREATE TABLE "hp.0" PARTITION OF hp FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE hp1 PARTITION OF hp FOR VALUES WITH (MODULUS 2, REMAINDER 1);
				INSERT INTO hp SELECT (enum_range(NULL::en))[1 + i % 4], i FROM generate_series(1, 1000) i`, `SELECT md5(string_agg(e::text || n, ',' ORDER BY n)) FROM hp`, "partition"},
		} {
			t.Run(fmt.Sprintf("%d/%s", v, name), func(t *testing.T) {
				t.Parallel()
				dsn := p.Database(t, testbed.With(c.options))
				from := connected(t, parsed(t, dsn))
				must(t, execute(t.Context(), from, c.sql))
				snapshot := snap(t, p, dsn)
				if !strings.Contains(snapshot.StreamReason(), c.reason) {
					t.Fatalf("reason %q", snapshot.StreamReason())
				}
				s := NewServer(parsed(t, p.URL("postgres")), Options{BinDir: p.BinDir()})
				into := parsed(t, dsn).Database() + "_back"
				created(t, p, s, "run-1", into, snapshot.Database())
				rep, err := s.Load(t.Context(), synapse.LoadRequest{Run: "run-1", Database: into, Dump: snapshot.Database(), Stream: snapshot.Stream})
				must(t, err)
				sound(t, rep)
				var want, got string
				must(t, from.QueryRow(t.Context(), c.all).Scan(&want))
				must(t, connected(t, parsed(t, p.URL(into))).QueryRow(t.Context(), c.all).Scan(&got))
				if got != want {
					t.Errorf("%s is %q, not %q", c.all, got, want)
				}
			})
		}
	}
}
