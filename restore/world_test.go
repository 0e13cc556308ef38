package restore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/journal"
	"github.com/synapse-maint/synapse-maint/jobs/postgres"
	"github.com/synapse-maint/synapse-maint/jobs/postgres/pgarchive"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

const homeserver = "matrix.example.org"

// world is a homeserver's database on a real server, an archive with a recovery
// point of it, and what restores run with.
type world struct {
	t       *testing.T
	pg      *testbed.PG
	live    string // database's name
	store   storage.Store
	archive *archive.Archive
	point   archive.Point
	server  Server
	journal jobs.Journal
	now     time.Time
	state   string // fingerprint of what the point holds
}

// schema is a little of Synapse's: enough for what a restore has to know of it,
// in several parts of a table, with a foreign key and a sequence.
const schema = `
CREATE TABLE schema_version (version int NOT NULL);
INSERT INTO schema_version VALUES (94);
CREATE TABLE schema_compat_version (compat_version int NOT NULL);
INSERT INTO schema_compat_version VALUES (84);
CREATE TABLE e2e_one_time_keys_json (user_id text NOT NULL, key_id text NOT NULL, key_json text NOT NULL);
INSERT INTO e2e_one_time_keys_json VALUES ('@a:hs', 'signed_curve25519:AAAA', '{}');
CREATE TABLE rooms (room_id text PRIMARY KEY);
INSERT INTO rooms SELECT '!r' || i FROM generate_series(1, 50) i;
CREATE TABLE events (event_id text PRIMARY KEY, room_id text NOT NULL REFERENCES rooms, stream_ordering bigint NOT NULL, body text);
INSERT INTO events SELECT '$e' || i, '!r' || 1 + i % 50, i, repeat(md5(i::text), 10) FROM generate_series(1, 2000) i;
CREATE UNIQUE INDEX events_stream ON events (stream_ordering);
CREATE TABLE doubles (n int, said text);
INSERT INTO doubles SELECT i % 7, 'same' FROM generate_series(1, 100) i;
CREATE SEQUENCE events_stream_seq;
SELECT setval('events_stream_seq', 2000);
`

// newWorld makes a live database, takes a recovery point of it, and then lets
// time go on: the live database changes.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, pg: testbed.Postgres(t), store: mem.New(), now: time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)}
	w.live = nameOf(t, w.pg.Database(t, testbed.OwnedBySynapse()))
	w.exec(w.live, "SET ROLE "+testbed.SynapseRole+";"+schema)
	w.server = postgres.NewServer(w.config(w.live), postgres.Options{Jobs: 2, BinDir: w.pg.BinDir()})
	w.journal = journal.New(w.store)
	var err error
	w.archive, err = archive.Init(t.Context(), w.store, archive.InitOptions{Homeserver: homeserver, Program: "test"})
	w.ok(err)
	w.exec(w.live, "TRUNCATE e2e_one_time_keys_json") // what a restore leaves of it
	w.state = w.fingerprint(w.live)
	w.exec(w.live, "INSERT INTO e2e_one_time_keys_json VALUES ('@a:hs', 'signed_curve25519:AAAA', '{}')")
	w.point = w.take()
	w.exec(w.live, "INSERT INTO events SELECT '$n' || i, '!r1', 2000 + i, 'new' FROM generate_series(1, 10) i; DELETE FROM doubles WHERE n = 3")
	t.Cleanup(w.sweep)
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func nameOf(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(u.Path, "/")
}

func (w *world) config(database string) *postgres.Config {
	w.t.Helper()
	c, err := postgres.ParseConfig(w.pg.URL(database))
	w.ok(err)
	return c
}

func (w *world) exec(database, sql string) {
	w.t.Helper()
	w.ok(w.pg.Exec(w.t.Context(), database, sql))
}

// sweep drops what the restores left, so that the shared server stays small.
func (w *world) sweep() {
	ctx := context.Background() //nolint:usetesting // the test's own has ended
	found, err := w.server.Databases(ctx)
	if err != nil {
		w.t.Errorf("sweep: %v", err)
	}
	for _, f := range found {
		if strings.HasPrefix(f.Name, w.live) {
			if err := w.pg.Exec(ctx, "postgres", `DROP DATABASE IF EXISTS "`+f.Name+`" WITH (FORCE)`); err != nil {
				w.t.Errorf("sweep: %v", err)
			}
		}
	}
}

// take takes a recovery point of the live database: what stock pg_dump writes,
// in small blobs, some of which end within a row.
func (w *world) take() archive.Point {
	w.t.Helper()
	ctx := w.t.Context()
	folder := filepath.Join(w.t.TempDir(), "dump")
	dump := exec.CommandContext(ctx, filepath.Join(w.pg.BinDir(), "pg_dump"), "-Fd", "-Z0", "--exclude-table-data=e2e_one_time_keys_json", "-f", folder)
	dump.Env = w.config(w.live).Env()
	if out, err := dump.CombinedOutput(); err != nil {
		w.t.Fatalf("pg_dump: %v: %s", err, out)
	}
	toc, err := os.ReadFile(filepath.Join(folder, "toc.dat"))
	w.ok(err)
	outline, err := pgarchive.Parse(toc)
	w.ok(err)
	writer, err := w.archive.Writer(ctx, archive.WriterOptions{PackSize: 2 << 10})
	w.ok(err)
	add := func(data []byte) archive.Blob {
		id, _, err := writer.Add(ctx, data)
		w.ok(err)
		return archive.Blob{ID: id, Size: int64(len(data))}
	}
	db := &archive.Database{TOC: []archive.Blob{add(toc)}, Info: w.info()}
	for _, e := range outline.Entries {
		if e.Desc != "TABLE DATA" {
			continue
		}
		rows, err := os.ReadFile(filepath.Join(folder, pgarchive.DataFile(e.ID)))
		w.ok(err)
		t := archive.Table{DumpID: e.ID, Schema: e.Namespace, Name: e.Tag, Copy: e.Copy}
		for piece := range slices.Chunk(bytes.TrimSuffix(rows, []byte("\\.\n\n\n")), 50_000) {
			b := add(piece)
			b.Rows, b.Open = int64(bytes.Count(piece, []byte("\n"))), !bytes.HasSuffix(piece, []byte("\n"))
			t.Rows, t.Bytes, t.Blobs = t.Rows+b.Rows, t.Bytes+b.Size, append(t.Blobs, b)
		}
		db.Tables = append(db.Tables, t)
	}
	_, err = writer.Close(ctx)
	w.ok(err)
	id, err := w.archive.Commit(ctx, &archive.Manifest{
		Homeserver: homeserver, Started: w.now, Taken: w.now.Add(-time.Hour), Finished: w.now, Database: db,
	})
	w.ok(err)
	point, err := w.archive.Find(ctx, id)
	w.ok(err)
	return point
}

// info describes the live database as a backup does.
func (w *world) info() json.RawMessage {
	w.t.Helper()
	ctx := w.t.Context()
	c, err := pgx.Connect(ctx, w.pg.URL(w.live))
	w.ok(err)
	defer c.Close(ctx) //nolint:errcheck // read only
	d := synapse.Database{
		Name: w.live, Provider: "libc", ConnectionLimit: -1, Taken: w.now.Add(-time.Hour),
		Schema: &synapse.Schema{Version: 94, Compat: 84},
	}
	w.ok(c.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, pg_get_userbyid(datdba), pg_encoding_to_char(encoding), datcollate, datctype,
		pg_database_size(oid) FROM pg_database WHERE datname = current_database()`).Scan(&d.Version, &d.Owner, &d.Encoding, &d.Collate, &d.CType, &d.Size))
	raw, err := json.Marshal(d)
	w.ok(err)
	return raw
}

// options of a restore of the world's point.
func (w *world) options(mode synapse.Mode) Options {
	w.t.Helper()
	reader, err := w.archive.Reader(w.t.Context(), archive.ReaderOptions{})
	w.ok(err)
	o := Options{
		Request: Request{Mode: mode, Live: w.live}, Archive: w.archive, Reader: reader, Recovery: w.point,
		Server: w.server, Jobs: 2, ConfirmedDrop: true, Now: func() time.Time { return w.now },
	}
	if mode == synapse.ModeBeside {
		o.Live, o.Target = "", w.live+"_beside"
	}
	return o
}

// restore runs a restore as the command does: the unfinished run of the same
// request, or a new one.
func (w *world) restore(o Options) (*jobs.Run, error) {
	w.t.Helper()
	job, err := New(o)
	w.ok(err)
	job.partBytes = 128 << 10
	id, _, err := job.ID(w.t.Context(), w.journal)
	w.ok(err)
	return w.run(job, id)
}

func (w *world) run(job jobs.Job, id jobs.RunID) (*jobs.Run, error) {
	runner := jobs.Runner{Journal: w.journal, Locker: journal.NewLocker(w.store, journal.Options{}), Now: func() time.Time { return w.now }}
	return runner.Run(w.t.Context(), job, id)
}

// closed runs undo or drop.
func (w *world) closed(make func(Closing) jobs.Job, run *jobs.Run, change func(*Closing)) error {
	w.t.Helper()
	fresh, err := w.journal.Open(w.t.Context(), run.RunID)
	w.ok(err)
	c := Closing{Server: w.server, Journal: w.journal, Run: fresh, Now: func() time.Time { return w.now }}
	if change != nil {
		change(&c)
	}
	job := make(c)
	w.now = w.now.Add(time.Second)
	_, err = w.run(job, jobs.RunID{Job: job.Name(), Homeserver: homeserver, Due: w.now})
	return err
}

// fingerprint is all of a database that a restore has to bring back: rows,
// however they lie, sequences, indexes, constraints, owner.
func (w *world) fingerprint(database string) string {
	w.t.Helper()
	ctx := w.t.Context()
	c, err := pgx.Connect(ctx, w.pg.URL(database))
	w.ok(err)
	defer c.Close(ctx) //nolint:errcheck // read only
	query := func(sql string) []string {
		rows, err := c.Query(ctx, sql)
		w.ok(err)
		list, err := pgx.CollectRows(rows, pgx.RowTo[string])
		w.ok(err)
		return list
	}
	out := query(`SELECT tablename || ' of ' || tableowner FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`)
	for _, t := range query(`SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1`) {
		out = append(out, query(fmt.Sprintf(`SELECT '%s ' || count(*) || ' ' || coalesce(md5(string_agg(r::text, E'\n' ORDER BY r::text)), '') FROM %q r`, t, t))...)
	}
	out = append(out, query(`SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1`)...)
	out = append(out, query(`SELECT conname || ' ' || convalidated || ' ' || pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace ORDER BY 1`)...)
	out = append(out, query(`SELECT sequencename || ' ' || coalesce(last_value, 0) FROM pg_sequences ORDER BY 1`)...)
	out = append(out, query(`SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1`)...)
	out = append(out, query(`SELECT pg_get_userbyid(datdba) || ' ' || datcollate || ' ' || datctype || ' ' || pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()`)...)
	w.ok(c.Close(ctx))
	w.unused(database)
	return strings.Join(out, "\n")
}

// unused waits until the server has noticed that nobody is connected any more.
func (w *world) unused(database string) {
	w.t.Helper()
	w.exec("postgres", fmt.Sprintf(`DO $$ BEGIN FOR i IN 1..1000 LOOP
		PERFORM pg_stat_clear_snapshot();
		EXIT WHEN NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = '%s');
		PERFORM pg_sleep(0.01); END LOOP; END $$`, database))
}

// same fails the test where a database is not what the fingerprint says.
func (w *world) same(database, want string) {
	w.t.Helper()
	got := w.fingerprint(database)
	if got == want {
		return
	}
	g, l := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(g), len(l)) {
		a, b := "(nothing)", "(nothing)"
		if i < len(g) {
			a = g[i]
		}
		if i < len(l) {
			b = l[i]
		}
		if a != b {
			w.t.Fatalf("database %s: got %s, want %s", database, a, b)
		}
	}
}
