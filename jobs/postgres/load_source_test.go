package postgres

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// source is a dump to load from: a directory archive that stock pg_dump wrote.
type source struct {
	dump synapse.Database
	toc  []byte
	rows map[int][]byte // COPY text, by the dump ID of the TABLE DATA entry
}

// dumpOf lets pg_dump dump a database.
func dumpOf(t testing.TB, c *Config, pgDump string, args ...string) *source {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "dump")
	cmd := exec.Command(pgDump, append([]string{"-Fd", "-Z0", "-f", dir}, args...)...)
	cmd.Env = c.Env()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("pg_dump: %v: %s", err, out)
	}
	conn := connected(t, c)
	db, _, err := databaseNamed(t.Context(), conn, c.Database())
	if err != nil {
		t.Fatal(err)
	}
	d, err := properties(t.Context(), conn, db.OID)
	if err != nil {
		t.Fatal(err)
	}
	d.Version = serverVersion(conn)
	err = conn.QueryRow(t.Context(), `SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database WHERE datname = $1`, d.Name).
		Scan(&d.Encoding, &d.Collate, &d.CType)
	if err != nil {
		t.Fatal(err)
	}
	return readDump(t, dir, d)
}

func readDump(t testing.TB, dir string, d synapse.Database) *source {
	t.Helper()
	toc, err := os.ReadFile(filepath.Join(dir, "toc.dat"))
	if err != nil {
		t.Fatal(err)
	}
	s := &source{dump: d, toc: toc, rows: map[int][]byte{}}
	files, err := filepath.Glob(filepath.Join(dir, "*.dat"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		var id int
		if n, _ := fmt.Sscanf(filepath.Base(f), "%d.dat", &id); n != 1 {
			continue
		}
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		s.rows[id] = bytes.TrimSuffix(data, []byte("\\.\n\n\n"))
	}
	return s
}

// request cuts the rows into parts of about size bytes.
func (s *source) request(t testing.TB, run, database string, size int) synapse.LoadRequest {
	t.Helper()
	o, err := newOutline(s.toc, nil, nil, renamed{})
	if err != nil {
		t.Fatal(err)
	}
	q := synapse.LoadRequest{Run: run, Database: database, Dump: s.dump, TOC: s.toc}
	var parts [][][]byte
	for _, e := range o.entries {
		if e.Desc != "TABLE DATA" {
			continue
		}
		lt := synapse.LoadTable{Table: synapse.Table{DumpID: e.ID, Schema: e.Namespace, Name: e.Tag, Copy: e.Copy}}
		cut := cutRows(s.rows[e.ID], size)
		for _, c := range cut {
			n := int64(bytes.Count(c, []byte("\n")))
			lt.Parts = append(lt.Parts, synapse.Part{Rows: n, Bytes: int64(len(c))})
			lt.Rows += n
		}
		q.Tables = append(q.Tables, lt)
		parts = append(parts, cut)
	}
	q.Fetch = func(_ context.Context, table, part int, yield func([]byte) error) error {
		data := parts[table][part]
		half := len(data) / 2 // a part may come in pieces that end anywhere
		for _, piece := range [][]byte{data[:half], data[half:]} {
			if err := yield(piece); err != nil {
				return err
			}
		}
		return nil
	}
	return q
}

func cutRows(data []byte, size int) (parts [][]byte) {
	for len(data) > 0 {
		n := len(data)
		if n > size {
			if i := bytes.IndexByte(data[size:], '\n'); i >= 0 {
				n = size + i + 1
			}
		}
		parts, data = append(parts, data[:n]), data[n:]
	}
	return parts
}
