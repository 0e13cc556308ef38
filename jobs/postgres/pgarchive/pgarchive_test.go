package pgarchive_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs/postgres/pgarchive"
)

var update = flag.Bool("update", false, "write the golden files anew, with real pg_dumps")

var versions = []int{15, 17}

// golden are the table of contents that a pg_dump wrote into a directory, and
// the beginning of the custom archive that it wrote of the same database.
func golden(t testing.TB, major int) (toc, custom []byte) {
	t.Helper()
	name := filepath.Join("testdata", fmt.Sprintf("pg_dump%d", major))
	if *update {
		toc, custom = dump(t, major, goldenSQL)
		write(t, name+".toc.dat", toc)
		write(t, name+".custom", custom)
	}
	return read(t, name+".toc.dat"), read(t, name+".custom")
}

const goldenSQL = `CREATE TYPE mood AS ENUM ('sad', 'so so');
	CREATE TABLE t (id int PRIMARY KEY, "odd ""name"" ü" text, m mood);
	CREATE TABLE nothing ();
	INSERT INTO t VALUES (1, 'x', 'sad');
	CREATE INDEX ON t ("odd ""name"" ü");
	CREATE SEQUENCE s; CREATE VIEW v AS SELECT id FROM t; COMMENT ON TABLE t IS ''; GRANT SELECT ON t TO PUBLIC;
	CREATE MATERIALIZED VIEW mv AS SELECT id FROM t`

// dump lets a pg_dump write both formats.
func dump(t testing.TB, major int, sql string) (toc, custom []byte) {
	t.Helper()
	p := testbed.PostgresVersion(t, major)
	dsn := p.Database(t, testbed.Named("golden"))
	if err := p.Exec(t.Context(), "golden", sql); err != nil {
		t.Fatal(err)
	}
	return both(t, p, dsn)
}

func both(t testing.TB, p *testbed.PG, dsn string) (toc, custom []byte) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "dump")
	program := filepath.Join(p.BinDir(), "pg_dump")
	if out, err := exec.CommandContext(t.Context(), program, "-Fd", "-Z0", "-f", dir, dsn).CombinedOutput(); err != nil {
		t.Fatalf("pg_dump: %v: %s", err, out)
	}
	custom, err := exec.CommandContext(t.Context(), program, "-Fc", "-Z0", dsn).Output()
	if err != nil {
		t.Fatal(err)
	}
	return read(t, filepath.Join(dir, "toc.dat")), custom
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func write(t testing.TB, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(name, data, 0o644); err != nil { //nolint:gosec // a test's data
		t.Fatal(err)
	}
}

func parse(t testing.TB, data []byte) *pgarchive.Archive {
	t.Helper()
	a, err := pgarchive.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// same proves that both are written as pg_dump writes a toc.dat, byte for byte.
func same(t *testing.T, toc, custom []byte) {
	t.Helper()
	want := parse(t, toc)
	if got := want.Directory(); !bytes.Equal(got, toc) {
		t.Errorf("toc.dat comes back as %d bytes, not the %d", len(got), len(toc))
	}
	a := parse(t, custom)
	a.Created = want.Created
	if got := a.Directory(); !bytes.Equal(got, toc) {
		t.Errorf("the custom archive makes a toc.dat of %d bytes, pg_dump one of %d", len(got), len(toc))
	}
}

func TestWritesWhatPgDumpWrites(t *testing.T) {
	for _, v := range versions {
		t.Run(fmt.Sprint(v), func(t *testing.T) {
			toc, custom := golden(t, v)
			same(t, toc, custom)
		})
	}
}

func TestWritesWhatPgDumpWritesOfEverything(t *testing.T) {
	t.Parallel()
	for _, v := range versions {
		t.Run(fmt.Sprint(v), func(t *testing.T) {
			t.Parallel()
			p := testbed.PostgresVersion(t, v)
			toc, custom := both(t, p, testbed.Zoo(t, p))
			same(t, toc, custom)
		})
	}
}

func TestEntriesSayWhatIsInTheArchive(t *testing.T) {
	for _, v := range versions {
		toc, _ := golden(t, v)
		a := parse(t, toc)
		if a.DumpMajor() != v || a.Database != "golden" || !strings.HasPrefix(a.ServerVersion, fmt.Sprint(v)) {
			t.Errorf("dump of %s, server %s, by pg_dump %d", a.Database, a.ServerVersion, a.DumpMajor())
		}
		i := slices.IndexFunc(a.Entries, func(e pgarchive.Entry) bool { return e.Desc == pgarchive.TableData && e.Tag == "t" })
		if i < 0 {
			t.Fatal("no rows of table t")
		}
		e := a.Entries[i]
		if e.Copy != "COPY public.t (id, \"odd \"\"name\"\" ü\", m) FROM stdin;\n" || !e.HadDumper || e.Section != pgarchive.Data ||
			e.Namespace != "public" || e.Owner != "postgres" || e.OID == 0 || e.File != pgarchive.DataFile(e.ID) || len(e.Deps) != 1 {
			t.Errorf("%+v", e)
		}
	}
}

func TestStockPgRestoreListsWhatIsWritten(t *testing.T) {
	_, custom := golden(t, 15)
	a := parse(t, custom)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "toc.dat"), a.Directory())
	out, err := exec.CommandContext(t.Context(), filepath.Join(testbed.PostgresVersion(t, 15).BinDir(), "pg_restore"), "-l", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("%d; 0 %d TABLE DATA public t postgres\n", entry(a, "TABLE DATA", "t").ID, entry(a, "TABLE DATA", "t").OID); !strings.Contains(string(out), want) {
		t.Errorf("no %q in\n%s", want, out)
	}
}

func entry(a *pgarchive.Archive, desc, tag string) pgarchive.Entry {
	i := slices.IndexFunc(a.Entries, func(e pgarchive.Entry) bool { return e.Desc == desc && e.Tag == tag })
	return a.Entries[i]
}

func TestUnknownVersionsAreRefused(t *testing.T) {
	toc, _ := golden(t, 17)
	for _, v := range []struct{ major, minor byte }{{1, 17}, {2, 0}, {1, 11}, {0, 14}} {
		data := slices.Clone(toc)
		data[5], data[6] = v.major, v.minor
		if _, err := pgarchive.Parse(data); !errors.Is(err, pgarchive.ErrVersion) {
			t.Errorf("version %d.%d: %v", v.major, v.minor, err)
		}
	}
}

func TestACutArchiveIsDamagedWhereverItIsCut(t *testing.T) {
	for _, v := range versions {
		toc, _ := golden(t, v)
		for n := range len(toc) {
			if _, err := pgarchive.Parse(toc[:n]); !errors.Is(err, pgarchive.ErrFormat) {
				t.Fatalf("pg_dump %d, cut at byte %d of %d: %v", v, n, len(toc), err)
			}
		}
	}
}

func TestALengthThatLiesCostsNoMemory(t *testing.T) {
	toc, _ := golden(t, 15)
	data := slices.Clone(toc)
	i := bytes.Index(data, []byte("golden"))
	copy(data[i-4:], []byte{0xff, 0xff, 0xff, 0x7f}) // 2 GiB
	allocated := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := pgarchive.Parse(data); !errors.Is(err, pgarchive.ErrFormat) {
				b.Fatal(err)
			}
		}
	}).AllocedBytesPerOp()
	if allocated > 1<<20 {
		t.Errorf("%d bytes were allocated for %d", allocated, len(data))
	}
}

func FuzzParse(f *testing.F) {
	for _, v := range versions {
		toc, custom := golden(f, v)
		f.Add(toc)
		f.Add(custom)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := pgarchive.Parse(data)
		if err != nil {
			if !errors.Is(err, pgarchive.ErrFormat) && !errors.Is(err, pgarchive.ErrVersion) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		once := a.Directory()
		b, err := pgarchive.Parse(once)
		if err != nil {
			t.Fatalf("what was written can't be read: %v", err)
		}
		if !bytes.Equal(once, b.Directory()) {
			t.Fatal("written again, it is something else")
		}
	})
}
