package postgres

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs/postgres/pgarchive"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// versions are the servers that the copy is tested with.
var versions = testbed.PostgresVersions()

func parsed(t testing.TB, dsn string) *Config {
	t.Helper()
	c, err := ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func snap(t testing.TB, p *testbed.PG, dsn string, change ...func(*Options)) *Snapshot {
	t.Helper()
	o := Options{Jobs: 2, BinDir: p.BinDir()}
	for _, f := range change {
		f(&o)
	}
	s, err := Snap(t.Context(), parsed(t, dsn), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// pieces copies all ranges at once, as a backup does, and returns the bytes of
// each.
func pieces(t testing.TB, s *Snapshot) [][]byte {
	t.Helper()
	list := make([][]byte, len(s.Ranges()))
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, r := range s.Ranges() {
		wg.Go(func() {
			errs[i] = s.CopyOut(t.Context(), r, func(c synapse.Chunk) error {
				list[i] = append(list[i], c.Data...)
				return nil
			})
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// tableTexts are the rows of all tables.
func tableTexts(t testing.TB, s *Snapshot) [][]byte {
	t.Helper()
	texts := make([][]byte, len(s.Tables()))
	for i, data := range pieces(t, s) { // a table's ranges come in their order
		r := s.Ranges()[i]
		texts[r.Table] = append(texts[r.Table], data...)
	}
	return texts
}

// directory writes a snapshot as a directory archive.
func directory(t testing.TB, s *Snapshot) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, data []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("toc.dat", s.TOC())
	for i, text := range tableTexts(t, s) {
		write(pgarchive.DataFile(s.Tables()[i].DumpID), append(text, pgarchive.Terminator...))
	}
	return dir
}

// program runs one of the server's programs.
func program(t testing.TB, p *testbed.PG, dsn, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(p.BinDir(), name), args...)
	cmd.Env = parsed(t, dsn).Env()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v: %s", name, err, stderr.String())
	}
	return out
}

var noise = regexp.MustCompile(`(?m)^\\(un)?restrict .*$`)

// sameDatabase compares everything that pg_dump says of two databases.
func sameDatabase(t testing.TB, p *testbed.PG, a, b string) {
	t.Helper()
	want := strings.Split(noise.ReplaceAllString(string(program(t, p, a, "pg_dump")), ""), "\n")
	got := strings.Split(noise.ReplaceAllString(string(program(t, p, b, "pg_dump")), ""), "\n")
	for i := range min(len(want), len(got)) {
		if want[i] != got[i] {
			t.Fatalf("line %d of pg_dump differs:\n%.300s\n%.300s", i, want[i], got[i])
		}
	}
	if len(want) != len(got) {
		t.Fatalf("pg_dump has %d lines and then %d", len(want), len(got))
	}
}

func TestWhatPgDumpCanDumpComesBackWithStockPgRestore(t *testing.T) {
	t.Parallel()
	for _, v := range versions {
		t.Run(fmt.Sprint(v), func(t *testing.T) {
			t.Parallel()
			p := testbed.PostgresVersion(t, v)
			dsn := testbed.Zoo(t, p)
			s := snap(t, p, dsn, func(o *Options) { o.PagesPerRange = 64 })
			if s.StreamReason() != "" {
				t.Fatal(s.StreamReason())
			}
			if len(s.Ranges()) < len(s.Tables())+10 {
				t.Errorf("%d ranges of %d tables: nothing was split", len(s.Ranges()), len(s.Tables()))
			}
			dir := directory(t, s)
			target := p.Database(t)
			program(t, p, target, "pg_restore", "--exit-on-error", "-j2", "-d", parsed(t, target).Database(), dir)
			sameDatabase(t, p, dsn, target)
		})
	}
}
