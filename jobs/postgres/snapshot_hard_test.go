package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// filled makes a database with these statements.
func filled(t testing.TB, p *testbed.PG, sql string) string {
	t.Helper()
	dsn := p.Database(t)
	if err := p.Exec(t.Context(), parsed(t, dsn).Database(), sql); err != nil {
		t.Fatal(err)
	}
	return dsn
}

// as is a database's URL for another role, which is made.
func as(t testing.TB, p *testbed.PG, dsn, role, attributes string) string {
	t.Helper()
	role += "_" + parsed(t, dsn).Database()
	must(t, p.Exec(t.Context(), "postgres", fmt.Sprintf("CREATE ROLE %s LOGIN PASSWORD 'se/cret:%%@' %s", role, attributes)))
	t.Cleanup(func() {
		db := parsed(t, dsn).Database()
		ctx := context.Background() //nolint:usetesting // the test's own has ended
		_ = p.Exec(ctx, db, "DROP OWNED BY "+role)
		_ = p.Exec(ctx, "postgres", "DROP ROLE "+role)
	})
	u, err := url.Parse(dsn)
	must(t, err)
	u.User = url.UserPassword(role, "se/cret:%@")
	return u.String()
}

// refused takes a snapshot that must fail, with all of these words in one line.
func refused(t testing.TB, dsn string, o Options, words ...string) {
	t.Helper()
	s, err := Snap(t.Context(), parsed(t, dsn), o)
	if err == nil {
		_ = s.Close()
		t.Fatal("a snapshot was taken")
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("no %q in: %v", w, err)
		}
	}
	if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "se/cret") {
		t.Errorf("not one line without secrets: %v", err)
	}
}

// rangeOf is the only range of a table.
func rangeOf(t testing.TB, s *Snapshot, table string) synapse.Range {
	t.Helper()
	for _, r := range s.Ranges() {
		if s.Tables()[r.Table].Name == table {
			return r
		}
	}
	t.Fatalf("no table %s", table)
	return synapse.Range{}
}

func textOfTable(t testing.TB, s *Snapshot, table string) string {
	t.Helper()
	var b bytes.Buffer
	err := s.CopyOut(t.Context(), rangeOf(t, s, table), func(c synapse.Chunk) error {
		b.Write(c.Data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Named before hours of work.
func TestTablesThatTheRoleMayNotReadAreNamed(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	dsn := filled(t, p, `CREATE TABLE open (id int); CREATE TABLE closed (id int); CREATE SEQUENCE shut; CREATE SCHEMA s; CREATE TABLE s.deep (id int)`)
	role := as(t, p, dsn, "curious", "")
	name := parsed(t, role).User()
	must(t, p.Exec(t.Context(), parsed(t, dsn).Database(), "GRANT SELECT ON open TO "+name+"; GRANT SELECT ON s.deep TO "+name))
	refused(t, role, Options{BinDir: p.BinDir()}, "role "+name+" may not read", "public.closed", "public.shut", "s.deep", "grant it SELECT")
}

func TestRowsThatPoliciesHideAreNamed(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	dsn := filled(t, p, `CREATE TABLE secret (id int); ALTER TABLE secret ENABLE ROW LEVEL SECURITY`)
	role := as(t, p, dsn, "blind", "IN ROLE pg_read_all_data")
	refused(t, role, Options{BinDir: p.BinDir()}, "row-level security", "public.secret", "BYPASSRLS")
	snap(t, p, as(t, p, dsn, "seeing", "BYPASSRLS IN ROLE pg_read_all_data"))
}

func TestOneTimeKeysAreLeftOut(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	dsn := filled(t, p, `CREATE SCHEMA "Syn"; SET search_path = "Syn"; CREATE TABLE schema_version (version int); INSERT INTO schema_version VALUES (88);
		CREATE TABLE schema_compat_version (compat_version int); INSERT INTO schema_compat_version VALUES (84);
		CREATE TABLE e2e_one_time_keys_json (k text); INSERT INTO e2e_one_time_keys_json VALUES ('k')`)
	s := snap(t, p, dsn)
	for _, table := range s.Tables() {
		if table.Name == synapse.OneTimeKeysTable {
			t.Error("they are among the tables")
		}
	}
	if len(s.Tables()) != 2 || !bytes.Contains(s.TOC(), []byte("CREATE TABLE \"Syn\".e2e_one_time_keys_json")) {
		t.Errorf("%d tables", len(s.Tables()))
	}
	if d := s.Database(); d.Schema == nil || *d.Schema != (synapse.Schema{Version: 88, Compat: 84}) {
		t.Errorf("schema %+v", d.Schema)
	}
	all := snap(t, p, dsn, func(o *Options) { o.KeepOneTimeKeys = true })
	if got := textOfTable(t, all, synapse.OneTimeKeysTable); got != "k\n" {
		t.Errorf("kept: %q", got)
	}
}

func TestLargeObjectsAreStreamed(t *testing.T) {
	t.Parallel()
	for _, v := range versions {
		p := testbed.PostgresVersion(t, v)
		dsn := filled(t, p, `CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 1000); SELECT lo_from_bytea(4242, 'large')`)
		s := snap(t, p, dsn)
		if !strings.Contains(s.StreamReason(), "large objects") || len(s.Tables()) != 0 {
			t.Fatalf("reason %q, %d tables", s.StreamReason(), len(s.Tables()))
		}
		streamsBack(t, p, s, dsn)
	}
}

// streamsBack restores a stream with stock pg_restore.
func streamsBack(t *testing.T, p *testbed.PG, s *Snapshot, dsn string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "stream")
	f, err := os.Create(file)
	must(t, err)
	must(t, s.Stream(t.Context(), func(b []byte) error {
		_, err := f.Write(b)
		return err
	}))
	must(t, f.Close())
	target := p.Database(t)
	program(t, p, target, "pg_restore", "--exit-on-error", "-d", parsed(t, target).Database(), file)
	sameDatabase(t, p, dsn, target)
}

func TestOtherEncodingsAreStreamed(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	dsn := p.Database(t, testbed.With("ENCODING 'LATIN1'"))
	must(t, p.Exec(t.Context(), parsed(t, dsn).Database(), "CREATE TABLE t (a text); INSERT INTO t VALUES ('ä')"))
	if s := snap(t, p, dsn); !strings.Contains(s.StreamReason(), "LATIN1") {
		t.Errorf("reason %q", s.StreamReason())
	}
}

// standIn writes a pg_dump of the test's own: a shell script that has the real
// one as $real.
func standIn(t testing.TB, p *testbed.PG, script string) string {
	t.Helper()
	dir := t.TempDir()
	text := "#!/bin/sh\nreal=" + filepath.Join(p.BinDir(), "pg_dump") + "\n" + script
	must(t, os.WriteFile(filepath.Join(dir, "pg_dump"), []byte(text), 0o700)) //nolint:gosec // it is a program
	return dir
}

func TestAnArchiveVersionOfTheFutureIsStreamed(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	dsn := filled(t, p, `CREATE TABLE t (id int); INSERT INTO t VALUES (1)`)
	dir := standIn(t, p, `[ "$1" = --version ] && { echo "pg_dump (PostgreSQL) 19.0"; exit; }
printf 'PGDMP\001\021\000\004\010\001'; $real "$@" | tail -c +12`)
	s := snap(t, p, dsn, func(o *Options) { o.BinDir = dir })
	if !strings.Contains(s.StreamReason(), "1.17") {
		t.Errorf("reason %q", s.StreamReason())
	}
}

func TestAPgDumpThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	dsn := filled(t, p, `CREATE TABLE t (id int)`)
	version := `[ "$1" = --version ] && { exec $real "$@"; }` + "\n"
	for _, c := range []struct{ script, want string }{
		{`echo "pg_dump: error: something broke" >&2; exit 1`, "something broke"},
		{`exit 0`, "it ends there"},
		{`echo "this is not an archive"`, "PGDMP"},
		{`$real "$@" | head -c 300; echo "pg_dump: error: cut" >&2; exit 1`, "cut"},
	} {
		refused(t, dsn, Options{BinDir: standIn(t, p, version+c.script)}, "take a snapshot of", c.want)
	}
	s := snap(t, p, filled(t, p, "SELECT lo_from_bytea(1, 'x')"), func(o *Options) {
		o.BinDir = standIn(t, p, version+`$real "$@"; [ -e "$0.fail" ] && { echo "pg_dump: error: late" >&2; exit 1; }; :`)
		must(t, os.WriteFile(filepath.Join(o.BinDir, "pg_dump.fail"), nil, 0o600))
	})
	if err := s.Stream(t.Context(), func([]byte) error { return nil }); err == nil || !strings.Contains(err.Error(), "late") {
		t.Errorf("a stream that fails at its end: %v", err)
	}
}

// Rows of an extension's own table are the user's where the extension says so.
func TestConfigurationOfAnExtensionIsFiltered(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	dsn := filled(t, p, `CREATE EXTENSION citext; CREATE TABLE config (id int, own bool); CREATE TABLE fixed (id int);
		INSERT INTO config SELECT g, g % 2 = 0 FROM generate_series(1, 6) g; INSERT INTO fixed VALUES (1);
		ALTER EXTENSION citext ADD TABLE config; ALTER EXTENSION citext ADD TABLE fixed;
		UPDATE pg_extension SET extconfig = ARRAY['config'::regclass::oid], extcondition = ARRAY['WHERE own'] WHERE extname = 'citext'`)
	s := snap(t, p, dsn)
	if len(s.Tables()) != 1 {
		t.Fatalf("%d tables", len(s.Tables()))
	}
	if got := textOfTable(t, s, "config"); got != "2\tt\n4\tt\n6\tt\n" {
		t.Errorf("got %q", got)
	}
}

func TestCancelEndsACopyAndItsQuery(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	dsn := filled(t, p, `CREATE TABLE t (id int, body text); INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 50000) g`)
	s := snap(t, p, dsn, func(o *Options) { o.PagesPerRange = 1 << 20 })
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("enough")
	err := s.CopyOut(ctx, rangeOf(t, s, "t"), func(synapse.Chunk) error { cancel(stop); return nil })
	if !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	full := fmt.Errorf("put a pack: %w", syscall.ENOSPC) // to errors.As, a net.Error like that of a lost connection
	err = s.CopyOut(t.Context(), rangeOf(t, s, "t"), func(synapse.Chunk) error { return full })
	if !errors.Is(err, full) || strings.Contains(err.Error(), "connection") {
		t.Errorf("got %v", err)
	}
	waitFor(t, connected(t, parsed(t, dsn)), "SELECT count(*) = 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'synapse-maint' AND pid <> pg_backend_pid()")
}
