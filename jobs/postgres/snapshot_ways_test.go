package postgres

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

func TestSnapshotSaysWhatTheDatabaseIs(t *testing.T) {
	t.Parallel()
	for _, v := range versions {
		p := testbed.PostgresVersion(t, v)
		clauses := "LOCALE_PROVIDER icu ICU_LOCALE 'en-US' CONNECTION LIMIT 33"
		dsn := p.Database(t, testbed.With(clauses))
		name := parsed(t, dsn).Database()
		role := parsed(t, as(t, p, dsn, "guest", "")).User()
		must(t, p.Exec(t.Context(), name, fmt.Sprintf(`ALTER DATABASE %[1]s SET work_mem = '5MB'; ALTER DATABASE %[1]s SET search_path = "$user", public;
			ALTER ROLE %[2]s IN DATABASE %[1]s SET statement_timeout = '7min'; GRANT CREATE ON DATABASE %[1]s TO %[2]s`, name, role)))
		d := snap(t, p, dsn).Database()
		if d.Name != name || d.Owner != testbed.Superuser || d.Version/10000 != v || d.Encoding != "UTF8" || d.Collate != "C" || d.CType != "C" ||
			d.Provider != "icu" || d.Locale != "en-US" || d.ConnectionLimit != 33 || d.Schema != nil || d.Size < 1<<20 || !strings.Contains(d.LSN, "/") || time.Since(d.Taken) > time.Minute {
			t.Errorf("%+v", d)
		}
		want := []synapse.Setting{{Name: "search_path", Value: `"$user", public`}, {Name: "work_mem", Value: "5MB"}, {Role: role, Name: "statement_timeout", Value: "7min"}}
		if !slices.Equal(d.Settings, want) {
			t.Errorf("settings %+v", d.Settings)
		}
		if !slices.Contains(d.Grants, role+"=C/postgres") {
			t.Errorf("grants %v", d.Grants)
		}
		plain := snap(t, p, p.Database(t)).Database()
		if plain.Provider != "libc" || plain.Locale != "" || plain.ConnectionLimit != -1 || plain.Grants != nil || len(plain.Settings) > 0 {
			t.Errorf("%+v", plain)
		}
	}
}

// What is set for the database or the role of a backup says nothing of what is
// in the database: names came in it, and SQL that no restore could run.
func TestTheEncodingOfASessionIsNotThatOfTheDump(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	dsn := filled(t, p, `CREATE TABLE "größe" (a text DEFAULT '🦒'); INSERT INTO "größe" VALUES ('ä'), ('🦒'); CREATE INDEX ON "größe" (a) WHERE a = 'ß'`)
	set := func(sql string) {
		must(t, p.Exec(t.Context(), "postgres", "ALTER DATABASE "+parsed(t, dsn).Database()+sql))
	}
	set(" SET client_encoding = 'LATIN1'")
	dir := directory(t, snap(t, p, dsn))
	set(" RESET client_encoding")
	target := p.Database(t)
	program(t, p, target, "pg_restore", "--exit-on-error", "-d", parsed(t, target).Database(), dir)
	sameDatabase(t, p, dsn, target)
}

// The same bytes night after night are what makes a full backup cheap.
func TestOnlyRangesThatChangedAreOther(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	dsn := filled(t, p, `CREATE TABLE t (id int, body text) WITH (autovacuum_enabled = false); INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 200000) g; ANALYZE t`)
	small := func(o *Options) { o.PagesPerRange = 128 }
	first := snap(t, p, dsn, small)
	before := pieces(t, first)
	if !slices.EqualFunc(before, pieces(t, snap(t, p, dsn, small)), bytes.Equal) {
		t.Fatal("nothing changed, and the bytes are other")
	}
	must(t, first.Close())
	must(t, p.Exec(t.Context(), parsed(t, dsn).Database(), "INSERT INTO t SELECT g, md5(g::text) FROM generate_series(200001, 201000) g"))
	second := snap(t, p, dsn, small)
	known := map[string]bool{}
	for _, b := range before {
		known[string(b)] = true
	}
	changed := 0
	for _, b := range pieces(t, second) {
		if !known[string(b)] {
			changed += len(b)
		}
	}
	if limit := 1000*41 + 2*16*8192; changed == 0 || changed > limit {
		t.Errorf("%d bytes changed, more than %d, where 41 kB were added", changed, limit)
	}
}

func TestCopyOverASocket(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	dsn := filled(t, p, bigTable)
	u := url.URL{Scheme: "postgres", User: url.UserPassword(testbed.Superuser, p.Password()), Path: "/" + parsed(t, dsn).Database()}
	u.RawQuery = url.Values{"host": {p.Dir()}, "port": {fmt.Sprint(p.Port())}}.Encode()
	want := pieces(t, snap(t, p, dsn))
	if !slices.EqualFunc(want, pieces(t, snap(t, p, u.String())), bytes.Equal) {
		t.Error("the bytes are other")
	}
}

func TestCopyOverTLS(t *testing.T) {
	t.Parallel()
	p := own(t)
	cert, key := certificate(t)
	dollar := func(s string) string { return "$pem$" + s + "$pem$" }
	must(t, p.Exec(t.Context(), "postgres", "COPY (SELECT string_to_table("+dollar(cert)+", E'\\n')) TO '"+p.Dir()+"/data/server.crt'"))
	must(t, p.Exec(t.Context(), "postgres", "COPY (SELECT string_to_table("+dollar(key)+", E'\\n')) TO '"+p.Dir()+"/data/server.key'"))
	must(t, os.Chmod(filepath.Join(p.Dir(), "data/server.key"), 0o600))
	must(t, p.Exec(t.Context(), "postgres", "ALTER SYSTEM SET ssl = on"))
	p.Restart(t)
	root := filepath.Join(t.TempDir(), "root.crt")
	must(t, os.WriteFile(root, []byte(cert), 0o600))
	dsn := filled(t, p, bigTable)
	want := pieces(t, snap(t, p, dsn+"?sslmode=disable"))
	s := snap(t, p, dsn+"?sslmode=verify-full&sslrootcert="+root)
	if !slices.EqualFunc(want, pieces(t, s), bytes.Equal) {
		t.Error("the bytes are other")
	}
	waitFor(t, connected(t, parsed(t, dsn)), "SELECT count(*) > 1 FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE ssl AND datname = current_database() AND pid <> pg_backend_pid()")
	_, err := parsed(t, dsn+"?sslmode=verify-full").Connect(t.Context())
	if err == nil || !strings.Contains(err.Error(), "sslrootcert") {
		t.Errorf("an unknown authority: %v", err)
	}
}

// certificate is a self-signed one for 127.0.0.1.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	must(t, err)
	keyDER, err := x509.MarshalECPrivateKey(private)
	must(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}))
}

// Everybody on the machine can read arguments.
func TestThePasswordIsInNoArgument(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	dsn := filled(t, p, `CREATE TABLE t (id int)`)
	version := `[ "$1" = --version ] && { exec $real "$@"; }` + "\n"
	dir := standIn(t, p, version+`tr '\0' '\n' </proc/$$/cmdline >"$0.args"; [ -n "$PGPASSWORD" ] && echo set >>"$0.args"; exec $real "$@"`)
	snap(t, p, dsn, func(o *Options) { o.BinDir = dir })
	args, err := os.ReadFile(filepath.Join(dir, "pg_dump.args"))
	must(t, err)
	if !strings.Contains(string(args), "--snapshot=") || !strings.HasSuffix(string(args), "set\n") || strings.Contains(string(args), p.Password()) {
		t.Errorf("arguments %q", strings.ReplaceAll(string(args), p.Password(), "PASSWORD"))
	}
}

// A 38 MB database killed at 128 MiB: what a copy needs depends on neither
// rows nor tables.
func TestMemoryDoesNotGrowWithTheTable(t *testing.T) {
	p := testbed.Postgres(t)
	dsn := filled(t, p, `CREATE TABLE t (id int, body text); ALTER TABLE t ALTER body SET STORAGE EXTERNAL;
		INSERT INTO t SELECT g, repeat('x', 900) FROM generate_series(1, 60000) g; INSERT INTO t SELECT g, repeat('0123456789', 10000000) FROM generate_series(1, 2) g`)
	s := snap(t, p, dsn)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 3 {
		total := 0
		for _, r := range s.Ranges() {
			must(t, s.CopyOut(t.Context(), r, func(c synapse.Chunk) error { total += len(c.Data); return nil }))
		}
		if total < 250e6 {
			t.Fatalf("%d bytes", total)
		}
	}
	runtime.ReadMemStats(&after)
	// One worker: a chunk that grew by doubling, a gulp.
	if got := after.TotalAlloc - before.TotalAlloc; got > 72<<20 {
		t.Errorf("%d MiB were allocated", got>>20)
	}
}

func TestCopyFromAHotStandby(t *testing.T) {
	t.Parallel()
	p := own(t)
	dsn := filled(t, p, `CREATE TABLE t (id int); INSERT INTO t SELECT generate_series(1, 1000); CREATE UNLOGGED TABLE u (id int)`)
	standby := standbyOf(t, p)
	c := parsed(t, strings.Replace(dsn, fmt.Sprintf(":%d/", p.Port()), fmt.Sprintf(":%d/", standby), 1))
	s, err := Snap(t.Context(), c, Options{BinDir: p.BinDir()})
	must(t, err)
	defer func() { _ = s.Close() }()
	if got := textOfTable(t, s, "t"); strings.Count(got, "\n") != 1000 {
		t.Errorf("%d rows", strings.Count(got, "\n"))
	}
	if len(s.Tables()) != 1 || !strings.Contains(s.Database().LSN, "/") {
		t.Errorf("%d tables, at %s", len(s.Tables()), s.Database().LSN)
	}
}

// standbyOf starts a replica and returns its port.
func standbyOf(t *testing.T, p *testbed.PG) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	must(t, l.Close())
	dir := filepath.Join(p.Dir(), "standby")
	as := func(name string, args ...string) {
		cmd := exec.CommandContext(context.WithoutCancel(t.Context()), filepath.Join(p.BinDir(), name), args...)
		cmd.Env = append(parsed(t, p.URL("postgres")).Env(), "PGOPTIONS=")
		cmd.Dir = p.Dir()
		if info, err := os.Stat(p.Dir()); err == nil {
			st := info.Sys().(*syscall.Stat_t)
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: st.Uid, Gid: st.Gid}}
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	as("pg_basebackup", "-D", dir, "-R", "-X", "stream", "-c", "fast", "--no-sync")
	as("pg_ctl", "-D", dir, "-w", "-l", filepath.Join(p.Dir(), "standby.log"), "-o", fmt.Sprintf("-p %d -c unix_socket_directories=%s", port, p.Dir()), "start")
	t.Cleanup(func() { as("pg_ctl", "-D", dir, "-m", "immediate", "stop") })
	return port
}
