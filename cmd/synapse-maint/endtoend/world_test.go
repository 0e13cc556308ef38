package endtoend

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/jackc/pgx/v5"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

const homeserver = "matrix.example.com"

// The program's exit codes, as its help says.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitPart   = 3
)

// binaries is the folder of what is built for this test process.
var binaries = sync.OnceValues(func() (string, error) { return os.MkdirTemp("", "synapse-maint-endtoend-") })

// TestMain lets more tests run at once than there are CPUs: they wait for other
// processes, and some for the pauses between attempts.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(6*runtime.NumCPU())); err != nil {
		panic(err)
	}
	code := m.Run()
	if dir, err := binaries(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

// build makes the program, once for the test process.
var build = sync.OnceValues(func() (string, error) {
	dir, err := binaries()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "synapse-maint")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", bin, "github.com/synapse-maint/synapse-maint/cmd/synapse-maint")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return bin, nil
})

// world is a homeserver: its database, a store for it, and what the program is
// told of both.
type world struct {
	t      *testing.T
	pg     *testbed.PG
	db     string // URL
	name   string // of the database
	folder string // the store's, where it is one
	dir    string // for the test's own files, and HOME
	env    []string
	key    string // the operator's identity file; empty: not encrypted
}

// newWorld makes a small Synapse-shaped database and an archive in a folder.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := emptyWorld(t, testbed.Postgres(t))
	w.useDatabase(testbed.SynapseDatabase(t, w.pg, 0.01))
	w.done("init")
	return w
}

// tiny is a database that Synapse's checks take for one of Synapse's, with a
// foreign key, a sequence, indexes, and equal rows. It restores in no time.
const tiny = `
CREATE TABLE schema_version (version int NOT NULL);
INSERT INTO schema_version VALUES (94);
CREATE TABLE schema_compat_version (compat_version int NOT NULL);
INSERT INTO schema_compat_version VALUES (84);
CREATE TABLE e2e_one_time_keys_json (user_id text NOT NULL, key_id text NOT NULL, key_json text NOT NULL);
CREATE TABLE users (name text PRIMARY KEY, creation_ts bigint);
CREATE TABLE rooms (room_id text PRIMARY KEY);
INSERT INTO rooms SELECT '!r' || i FROM generate_series(1, 50) i;
CREATE TABLE events (event_id text PRIMARY KEY, room_id text NOT NULL REFERENCES rooms, stream_ordering bigint NOT NULL, body text);
INSERT INTO events SELECT '$e' || i, '!r' || 1 + i % 50, i, repeat(md5(i::text), 10) FROM generate_series(1, 5000) i;
CREATE UNIQUE INDEX events_stream ON events (stream_ordering);
CREATE TABLE doubles (n int, said text);
INSERT INTO doubles SELECT i % 7, 'same' FROM generate_series(1, 100) i;
CREATE SEQUENCE events_stream_seq;
SELECT setval('events_stream_seq', 5000);
`

// tinyWorld is like newWorld, with fewer tables.
func tinyWorld(t *testing.T) *world { return tinyWorldOf(t, false) }

func tinyWorldOf(t *testing.T, encrypted bool) *world {
	t.Helper()
	w := emptyWorld(t, testbed.Postgres(t))
	w.useDatabase(tinyDatabase(t, w.pg))
	if encrypted {
		w.encrypt()
	} else {
		w.done("init")
	}
	return w
}

// tinyDatabase returns its URL.
func tinyDatabase(t *testing.T, pg *testbed.PG) string {
	t.Helper()
	dsn := pg.Database(t, testbed.OwnedBySynapse())
	name := dsn[strings.LastIndexByte(dsn, '/')+1:]
	if err := pg.Exec(t.Context(), name, "SET ROLE "+testbed.SynapseRole+";"+tiny); err != nil {
		t.Fatal(err)
	}
	return dsn
}

// goOn is what happens in the database while nobody looks.
func (w *world) goOn() {
	w.t.Helper()
	w.sql(w.name, `INSERT INTO users (name, creation_ts) SELECT '@since' || count(*) || ':hs', 1 FROM users`)
}

// emptyWorld is a world without a database and without an archive.
func emptyWorld(t *testing.T, pg *testbed.PG) *world {
	t.Helper()
	w := &world{t: t, pg: pg, dir: t.TempDir()}
	w.folder = filepath.Join(w.dir, "store")
	w.ok(os.Mkdir(w.folder, 0o700))
	w.set("PATH="+pg.BinDir()+":"+os.Getenv("PATH"), "HOME="+w.dir, "XDG_DATA_HOME="+w.dir,
		"SYNAPSE_MAINT_HOMESERVER="+homeserver, "SYNAPSE_MAINT_STORE=file://"+w.folder)
	return w
}

// set adds to the environment; the last of a name holds.
func (w *world) set(env ...string) { w.env = append(w.env[:len(w.env):len(w.env)], env...) }

// with is the same world with another environment.
func (w *world) with(env ...string) *world {
	other := *w
	other.set(env...)
	return &other
}

// useDatabase makes url the homeserver's database.
func (w *world) useDatabase(dsn string) {
	w.t.Helper()
	u, err := url.Parse(dsn)
	w.ok(err)
	w.db, w.name = dsn, strings.TrimPrefix(u.Path, "/")
	w.set("SYNAPSE_MAINT_DATABASE=" + dsn)
}

// encrypt makes an operator's key and an encrypted archive.
func (w *world) encrypt() (secret string) {
	w.t.Helper()
	id, err := age.GenerateX25519Identity()
	w.ok(err)
	w.key = filepath.Join(w.dir, "operator.key")
	w.ok(os.WriteFile(w.key, []byte(id.String()+"\n"), 0o600))
	w.done("init", "--recipient", id.Recipient().String())
	return id.String()
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// process is the program at work.
type process struct {
	*exec.Cmd
	out, err bytes.Buffer
}

func (w *world) command(args ...string) *process {
	w.t.Helper()
	bin, err := build()
	w.ok(err)
	p := &process{Cmd: exec.Command(bin, args...)}
	p.Env = w.env
	p.Stdout, p.Stderr = &p.out, &p.err
	return p
}

func (w *world) start(args ...string) *process {
	w.t.Helper()
	p := w.command(args...)
	w.ok(p.Start())
	w.t.Cleanup(func() { _ = p.Process.Kill() }) // it has ended, unless the test failed
	return p
}

// end waits for the process; -1 is one that a signal ended.
func (w *world) end(p *process) int {
	w.t.Helper()
	var exit *exec.ExitError
	if err := p.Wait(); err != nil && !errors.As(err, &exit) {
		w.t.Fatal(err)
	}
	return p.ProcessState.ExitCode()
}

// done runs the program, which has to succeed, and returns what it printed.
func (w *world) done(args ...string) string {
	w.t.Helper()
	p := w.start(args...)
	if code := w.end(p); code != exitDone {
		w.t.Fatalf("%v: exit code %d: %s%s", args, code, p.err.String(), p.out.String())
	}
	return p.out.String()
}

// fails runs the program, which has to end with the code and to say why in one
// line, with all of the texts. It returns that line.
func (w *world) fails(code int, texts []string, args ...string) string {
	w.t.Helper()
	p := w.start(append([]string{"--log-level", "off"}, args...)...)
	return w.failed(p, code, texts)
}

// failed waits for a program that was started without a log.
func (w *world) failed(p *process, code int, texts []string) string {
	w.t.Helper()
	got, said := w.end(p), p.err.String()
	if got != code {
		w.t.Errorf("%v: exit code %d, want %d: %s%s", p.Args[1:], got, code, said, p.out.String())
	}
	var lines []string
	for line := range strings.Lines(said) {
		if !strings.Contains(line, "synapse-maint: warning:") && !strings.HasSuffix(line, " so far\n") { // the progress, every ten seconds
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 || !strings.HasPrefix(lines[0], "synapse-maint: ") {
		w.t.Errorf("%v: not one line that says why: %s", p.Args[1:], said)
	}
	for _, text := range texts {
		if !strings.Contains(said, text) {
			w.t.Errorf("%v: does not say %q: %s", p.Args[1:], text, said)
		}
	}
	return said
}

// restore are the arguments of a restore that asks nothing.
func (w *world) restore(args ...string) []string {
	all := append([]string{"restore", "--yes"}, args...)
	if w.key != "" {
		all = append(all, "--identity", w.key)
	}
	return all
}

// points are the IDs of the recovery points, newest last. Each has to be sound
// as far as a list can tell.
func (w *world) points() (ids []string) {
	w.t.Helper()
	var all []struct{ ID, Error string }
	w.ok(json.Unmarshal([]byte(w.done("--log-level", "off", "list", "-o", "json")), &all))
	for _, p := range all {
		if p.Error != "" {
			w.t.Errorf("listed: %s: %s", p.ID, p.Error)
		}
		ids = append(ids, p.ID)
	}
	return ids
}

// sql runs statements as the superuser in a database of the server.
func (w *world) sql(database, statements string) {
	w.t.Helper()
	w.ok(w.pg.Exec(context.WithoutCancel(w.t.Context()), database, statements))
}

// query returns one text.
func (w *world) query(database, statement string) (text string) {
	w.t.Helper()
	text, err := w.ask(database, statement)
	w.ok(err)
	return text
}

func (w *world) ask(database, statement string) (text string, err error) {
	c, err := pgx.Connect(w.t.Context(), w.pg.URL(database))
	if err != nil {
		return "", err
	}
	defer c.Close(context.WithoutCancel(w.t.Context())) //nolint:errcheck // read only
	err = c.QueryRow(w.t.Context(), statement).Scan(&text)
	return text, err
}

// sums is a checksum of all rows of every table, one-time keys aside, which
// recovery points leave out, and of what the schema has.
const sums = `
	SELECT count(*) || ' tables, ' || md5(string_agg(t || x::text, ',' ORDER BY t)) || ', ' ||
		(SELECT count(*) || ' indexes, valid: ' || bool_and(indisvalid) FROM pg_index i JOIN pg_class c ON c.oid = indrelid WHERE relnamespace = 'public'::regnamespace) || ', ' ||
		(SELECT count(*) || ' constraints' FROM pg_constraint WHERE connamespace = 'public'::regnamespace) || ', ' ||
		(SELECT coalesce(md5(string_agg(sequencename || coalesce(last_value, -1), ',' ORDER BY sequencename)), '') FROM pg_sequences) || ', ' ||
		(SELECT count(*) || ' schemas' FROM pg_namespace WHERE nspname !~ '^pg_')
	FROM (SELECT relname AS t, (xpath('/row/x/text()', query_to_xml(format(
			'SELECT json_build_object(''n'', count(*), ''h'', sum(hashtextextended(r::text, 0)::numeric))::text AS x FROM %I.%I r', nspname, relname), false, true, '')))[1]::text AS x
		FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
		WHERE relkind = 'r' AND nspname = 'public' AND relname <> 'e2e_one_time_keys_json') s`

func (w *world) fingerprint(database string) string {
	w.t.Helper()
	return w.query(database, sums)
}

// databases are the server's databases whose names begin like the live one's,
// or with another prefix, without the live one.
func (w *world) databases() string {
	w.t.Helper()
	return w.query("postgres", `SELECT coalesce(string_agg(datname, ' ' ORDER BY datname), '') FROM pg_database WHERE datname LIKE '`+w.name+`\_%'`)
}

// waitFor waits until something is so.
func (w *world) waitFor(what string, so func() bool) {
	w.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(30 * time.Second); !so(); {
		select {
		case <-tick.C:
		case <-end:
			w.t.Fatalf("after 30 s: not %s", what)
		}
	}
}
