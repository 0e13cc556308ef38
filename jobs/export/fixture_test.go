package export_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

const server = "matrix.example.org"

const end = "\\.\n\n\n" // of pg_dump's table files

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tool runs a program of a server's own version, and returns what it prints.
func tool(t *testing.T, p *testbed.PG, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(p.BinDir(), name), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, errs.String())
	}
	return out.String()
}

// taken is a recovery point of a real database, as stock pg_dump sees it.
type taken struct {
	store storage.Store
	arch  *archive.Archive
	point archive.Point
}

func (p *taken) reader(t *testing.T) *archive.Reader {
	t.Helper()
	r, err := p.arch.Reader(t.Context(), archive.ReaderOptions{})
	ok(t, err)
	return r
}

// takePoint makes a point of a database: stock pg_dump's own files, cut into
// blobs at arbitrary places.
func takePoint(t *testing.T, p *testbed.PG, url string, stream bool) *taken {
	t.Helper()
	s := mem.New()
	a, err := archive.Init(t.Context(), s, archive.InitOptions{Homeserver: server})
	ok(t, err)
	w, err := a.Writer(t.Context(), archive.WriterOptions{PackSize: 100_000})
	ok(t, err)
	m := &archive.Manifest{Homeserver: server, Taken: time.Date(2026, 11, 25, 2, 0, 0, 0, time.UTC)}
	m.Database = &archive.Database{}
	m.Database.Info, err = json.Marshal(synapse.Database{Name: "synapse", Version: p.Major() * 10000})
	ok(t, err)
	path := filepath.Join(t.TempDir(), "dump")
	if stream {
		tool(t, p, "pg_dump", "-Fc", "-Z0", "-f", path, url)
		m.Database.Stream = add(t, w, read(t, path))
	} else {
		tool(t, p, "pg_dump", "-Fd", "-Z0", "-f", path, url)
		m.Database.TOC = add(t, w, read(t, filepath.Join(path, "toc.dat")))
		m.Database.Tables = tables(t, p, w, path)
	}
	_, err = w.Close(t.Context())
	ok(t, err)
	_, err = a.Commit(t.Context(), m)
	ok(t, err)
	point, err := a.Find(t.Context(), "latest")
	ok(t, err)
	return &taken{s, a, point}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	ok(t, err)
	return b
}

// listed is a line of pg_restore -l: "3360; 0 16385 TABLE DATA public events postgres".
var listed = regexp.MustCompile(`(?m)^(\d+); \d+ \d+ TABLE DATA (\S+) (\S+) `)

func tables(t *testing.T, p *testbed.PG, w *archive.Writer, dump string) (all []archive.Table) {
	t.Helper()
	for _, m := range listed.FindAllStringSubmatch(tool(t, p, "pg_restore", "-l", dump), -1) {
		id, err := strconv.Atoi(m[1])
		ok(t, err)
		text, found := bytes.CutSuffix(read(t, filepath.Join(dump, m[1]+".dat")), []byte(end))
		if !found {
			t.Fatalf("%s.dat does not end as expected", m[1])
		}
		table := archive.Table{DumpID: id, Schema: m[2], Name: m[3], Bytes: int64(len(text)), Blobs: add(t, w, text)}
		table.Rows = int64(bytes.Count(text, []byte("\n")))
		all = append(all, table)
	}
	return all
}

func add(t *testing.T, w *archive.Writer, data []byte) (list []archive.Blob) {
	t.Helper()
	for len(data) > 0 {
		piece := data[:min(30_001, len(data))]
		data = data[len(piece):]
		id, _, err := w.Add(t.Context(), piece)
		ok(t, err)
		list = append(list, archive.Blob{ID: id, Size: int64(len(piece))})
	}
	return list
}

// dumped is a database as one text: two are equal if these are.
func dumped(t *testing.T, p *testbed.PG, url string) string {
	t.Helper()
	text := tool(t, p, "pg_dump", "--inserts", "--no-owner", url)
	var keep []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "\\restrict") && !strings.HasPrefix(line, "\\unrestrict") { // random
			keep = append(keep, line)
		}
	}
	return strings.Join(keep, "")
}

// bed has a server and a database with a few tables; one is empty, one has no
// columns.
func bed(t *testing.T, major int) (*testbed.PG, string) {
	t.Helper()
	p := testbed.PostgresVersion(t, major)
	url := p.Database(t)
	tool(t, p, "psql", "-q", "-d", url, "-c", `
		CREATE TABLE events (id bigint PRIMARY KEY, body text);
		INSERT INTO events SELECT n, repeat(md5(n::text), 1 + n % 9) || E'\t\\.\n' FROM generate_series(1, 8000) n;
		CREATE TABLE rooms (name text UNIQUE, n int GENERATED ALWAYS AS (length(name)) STORED);
		INSERT INTO rooms SELECT 'room ' || n FROM generate_series(1, 3000) n;
		CREATE TABLE empty (x int);
		CREATE TABLE no_columns ();
		INSERT INTO no_columns DEFAULT VALUES;`)
	return p, url
}
