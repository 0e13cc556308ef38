package export_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/export"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// What is exported, stock pg_restore -j restores, whatever its version.
func TestStockRestoreReadsExport(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		major       int
		compression string
		suffix      string
	}{
		{15, "", ".gz"},
		{15, "none", ""},
		{15, "gzip", ".gz"},
		{17, "", ".zst"},
		{17, "none", ""},
		{17, "gzip", ".gz"},
	} {
		t.Run(fmt.Sprintf("%d %s", c.major, c.compression), func(t *testing.T) {
			t.Parallel()
			p, url := bed(t, c.major)
			point := takePoint(t, p, url, false)
			dir := filepath.Join(t.TempDir(), "export")
			r, err := export.Export(t.Context(), point.reader(t), point.point, dir, export.Options{Compression: c.compression})
			ok(t, err)
			if r.Rows != 11001 || r.Tables != 4 || r.Path != dir {
				t.Errorf("%+v", r)
			}
			if c.suffix != "" && r.Written > r.Bytes/2 {
				t.Errorf("not compressed: %+v", r)
			}
			for _, table := range point.point.Manifest.Database.Tables {
				if _, err := os.Stat(filepath.Join(dir, fmt.Sprint(table.DumpID)+".dat"+c.suffix)); err != nil {
					t.Error(err)
				}
			}
			mustRestore(t, p, url, r.Path)
		})
	}
}

func mustRestore(t *testing.T, p *testbed.PG, original, path string) {
	t.Helper()
	url := p.Database(t)
	args := []string{"--exit-on-error", "-d", url, path}
	tool(t, p, "pg_restore", append([]string{"-j3"}, args...)...)
	if got, want := dumped(t, p, url), dumped(t, p, original); got != want {
		t.Errorf("the restored database is another: %d bytes dumped, not %d", len(got), len(want))
	}
}

func TestStreamIsExportedAsDump(t *testing.T) {
	t.Parallel()
	p, url := bed(t, 15)
	tool(t, p, "psql", "-q", "-d", url, "-c", "SELECT lo_from_bytea(0, 'a large object')")
	point := takePoint(t, p, url, true)
	dir := filepath.Join(t.TempDir(), "export")
	r, err := export.Export(t.Context(), point.reader(t), point.point, dir, export.Options{})
	ok(t, err)
	if r.Path != filepath.Join(dir, "database.dump") || r.Format != "custom" {
		t.Errorf("%+v", r)
	}
	mustRestore(t, p, url, r.Path)
}

func TestOnlyWeCanReadExport(t *testing.T) {
	t.Parallel()
	p, url := bed(t, 15)
	point := takePoint(t, p, url, false)
	dir := filepath.Join(t.TempDir(), "export")
	ok(t, os.Mkdir(dir, 0o755)) // empty: fine
	_, err := export.Export(t.Context(), point.reader(t), point.point, dir, export.Options{})
	ok(t, err)
	ok(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		ok(t, err)
		info, err := d.Info()
		ok(t, err)
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %s", path, info.Mode())
		}
		if strings.Contains(d.Name(), "maint") || strings.Contains(d.Name(), "partial") {
			t.Errorf("%s stays", path)
		}
		return nil
	}))
}

func TestNothingIsOverwritten(t *testing.T) {
	t.Parallel()
	p, url := bed(t, 15)
	point := takePoint(t, p, url, false)
	for name, c := range map[string]struct {
		prepare func(t *testing.T, dir string)
		want    string
	}{
		"a folder that is not empty": {func(t *testing.T, dir string) {
			ok(t, os.Mkdir(dir, 0o700))
			ok(t, os.WriteFile(filepath.Join(dir, "toc.dat"), []byte("old"), 0o600))
		}, "not empty (it has toc.dat)"},
		"a file": {func(t *testing.T, dir string) {
			ok(t, os.WriteFile(dir, []byte("old"), 0o600))
		}, "there is a file"},
		"somebody's folder beside": {func(t *testing.T, dir string) {
			ok(t, os.Mkdir(dir+".partial", 0o700))
			ok(t, os.WriteFile(filepath.Join(dir+".partial", "letter.txt"), nil, 0o600))
		}, "not the rest of an export"},
		"no parent": {func(t *testing.T, dir string) {
			ok(t, os.Remove(filepath.Dir(dir)))
		}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parent := filepath.Join(t.TempDir(), "parent")
			ok(t, os.Mkdir(parent, 0o700))
			dir := filepath.Join(parent, "export")
			c.prepare(t, dir)
			before := tree(parent)
			_, err := export.Export(t.Context(), point.reader(t), point.point, dir, export.Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if after := tree(parent); after != before {
				t.Errorf("was %s, is %s", before, after)
			}
		})
	}
}

// A check refuses what an export would refuse, and writes nothing.
func TestCheckSaysWhatWouldFail(t *testing.T) {
	t.Parallel()
	p, url := bed(t, 15)
	point := takePoint(t, p, url, false)
	parent := t.TempDir()
	ok(t, os.MkdirAll(filepath.Join(parent, "full", "x"), 0o700))
	ok(t, os.WriteFile(filepath.Join(parent, "file"), nil, 0o600))
	before := tree(parent)
	for dir, want := range map[string]string{
		"full":        "not empty (it has x)",
		"file":        "file is a file: choose another folder",
		"file/export": "file is a file: choose another folder",
		"new/export":  "",
	} {
		err := export.Check(t.Context(), point.reader(t), point.point, filepath.Join(parent, dir), export.Options{})
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", dir, err, want)
		}
	}
	if err := export.Reachable(parent, 1<<60); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("no room: %v", err)
	}
	if after := tree(parent); after != before {
		t.Errorf("was %s, is %s", before, after)
	}
}

// tree is what is in a folder.
func tree(dir string) (names string) {
	filepath.WalkDir(dir, func(path string, _ fs.DirEntry, _ error) error { //nolint:errcheck // an absent one has nothing
		names += strings.TrimPrefix(path, dir) + " "
		return nil
	})
	return names
}

// An export that fails or is interrupted leaves nothing that looks like one.
func TestHalfExportIsNeverMistakenForAWhole(t *testing.T) {
	t.Parallel()
	p, url := bed(t, 15)
	point := takePoint(t, p, url, false)
	gone := errors.New("503 slow down")
	for n := 1; ; n++ {
		faulty := storetest.Faulty(point.store, storetest.FailNth(n, gone))
		parent := t.TempDir()
		err := exportFrom(t, faulty, point.point, filepath.Join(parent, "export"))
		if err != nil && tree(parent) != " " {
			t.Errorf("call %d: %s stays", n, tree(parent))
		}
		if n > faulty.Count() {
			ok(t, err)
			if n < 8 {
				t.Errorf("only %d calls: is anything tested?", n)
			}
			return
		}
		if !errors.Is(err, gone) {
			t.Errorf("call %d: error %v", n, err)
		}
	}
}

func exportFrom(t *testing.T, s storage.Store, point archive.Point, dir string) error {
	t.Helper()
	a, err := archive.Open(t.Context(), s)
	if err != nil {
		return err
	}
	r, err := a.Reader(t.Context(), archive.ReaderOptions{})
	if err != nil {
		return err
	}
	_, err = export.Export(t.Context(), r, point, dir, export.Options{})
	return err
}

func TestKilledExportIsReplaced(t *testing.T) {
	t.Parallel()
	p, url := bed(t, 15)
	point := takePoint(t, p, url, false)
	for _, left := range [][]string{
		{".synapse-maint-export", "3360.dat.gz", "toc.dat"}, // while it wrote
		{"3360.dat.gz", "3361.dat", "toc.dat"},              // while it was removed
		nil,                                                 // before it wrote
	} {
		dir := filepath.Join(t.TempDir(), "export")
		ok(t, os.Mkdir(dir+".partial", 0o700))
		for _, name := range left {
			ok(t, os.WriteFile(filepath.Join(dir+".partial", name), nil, 0o600))
		}
		_, err := export.Export(t.Context(), point.reader(t), point.point, dir, export.Options{})
		ok(t, err)
		mustRestore(t, p, url, dir)
		if _, err := os.Stat(dir + ".partial"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: the rest of the killed one: %v", left, err)
		}
	}
}

func TestTwoExportsToOneFolder(t *testing.T) {
	t.Parallel()
	p, url := bed(t, 15)
	point := takePoint(t, p, url, false)
	dir := filepath.Join(t.TempDir(), "export")
	var second error
	_, err := export.Export(t.Context(), point.reader(t), point.point, dir, export.Options{
		Jobs: 1, Progress: func(pr jobs.Progress) {
			if pr.What == "public.rooms" {
				_, second = export.Export(context.WithoutCancel(t.Context()), point.reader(t), point.point, dir, export.Options{})
			}
		},
	})
	ok(t, err)
	if !errors.Is(second, jobs.ErrLocked) {
		t.Errorf("the second: %v", second)
	}
	mustRestore(t, p, url, dir)
}

func TestInterruptedExportLeavesNothing(t *testing.T) {
	t.Parallel()
	p, url := bed(t, 15)
	point := takePoint(t, p, url, false)
	parent := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	_, err := export.Export(ctx, point.reader(t), point.point, filepath.Join(parent, "export"), export.Options{
		Jobs: 1, Progress: func(pr jobs.Progress) {
			if pr.What == "public.rooms" {
				cancel()
			}
		},
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if tree(parent) != " " {
		t.Errorf("%s stays", tree(parent))
	}
}

// A damaged blob names its table; the others can be had.
func TestDamagedTableIsNamed(t *testing.T) {
	t.Parallel()
	p, url := bed(t, 15)
	point := takePoint(t, p, url, false)
	damage(t, point, "events")
	dir := filepath.Join(t.TempDir(), "export")
	_, err := export.Export(t.Context(), point.reader(t), point.point, dir, export.Options{})
	if !errors.Is(err, archive.ErrCorrupt) || !strings.Contains(err.Error(), "public.events") {
		t.Fatalf("error %v", err)
	}
	r, err := export.Export(t.Context(), point.reader(t), point.point, dir, export.Options{SkipDamaged: true})
	if !errors.Is(err, jobs.ErrIncomplete) || fmt.Sprint(r.Damaged) != "[public.events]" {
		t.Fatalf("%+v, %v", r, err)
	}
	copied := p.Database(t)
	tool(t, p, "pg_restore", "--exit-on-error", "-j2", "-d", copied, dir)
	if n := tool(t, p, "psql", "-At", "-d", copied, "-c", "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM rooms)"); n != "0|3000\n" {
		t.Errorf("rows: %s", n)
	}
}

// damage changes a byte of a pack that only one table needs.
func damage(t *testing.T, point *taken, table string) {
	t.Helper()
	for o, err := range point.store.List(t.Context(), "packs/") {
		ok(t, err)
		body, err := storage.ReadAll(t.Context(), point.store, o.Key)
		ok(t, err)
		good := append([]byte(nil), body...)
		body[len(body)/2] ^= 1
		_, err = point.store.Put(t.Context(), o.Key, body, storage.PutOptions{})
		ok(t, err)
		r := point.reader(t)
		bad := map[string]bool{}
		for _, c := range point.point.Manifest.Database.Tables {
			for _, b := range c.Blobs {
				if _, err := r.Blob(t.Context(), b.ID); err != nil {
					bad[c.Name] = true
				}
			}
		}
		if len(bad) == 1 && bad[table] {
			return
		}
		_, err = point.store.Put(t.Context(), o.Key, good, storage.PutOptions{})
		ok(t, err)
	}
	t.Fatal("no pack is that table's alone")
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	p, url := bed(t, 15)
	point := takePoint(t, p, url, false)
	small := filepath.Join(t.TempDir(), "small")
	ok(t, os.Mkdir(small, 0o700))
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=64k", "none", small).CombinedOutput(); err != nil {
		t.Fatalf("a small file system, for which this test has to be root: %v: %s", err, out)
	}
	t.Cleanup(func() { exec.Command("umount", small).Run() }) //nolint:errcheck // the folder is temporary
	for _, compression := range []string{"none", "gzip"} {
		_, err := export.Export(t.Context(), point.reader(t), point.point, filepath.Join(small, "export"), export.Options{Compression: compression})
		if !errors.Is(err, syscall.ENOSPC) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v", compression, err)
		}
		if tree(small) != " " {
			t.Errorf("%s: %s stays", compression, tree(small))
		}
	}
}

func TestZstdIsRefusedForOldRestore(t *testing.T) {
	t.Parallel()
	p, url := bed(t, 15)
	point := takePoint(t, p, url, false)
	dir := filepath.Join(t.TempDir(), "export")
	o := export.Options{Compression: "zstd"}
	_, err := export.Export(t.Context(), point.reader(t), point.point, dir, o)
	for _, err := range []error{err, export.Check(t.Context(), point.reader(t), point.point, dir, o)} {
		if err == nil || !strings.Contains(err.Error(), "pg_restore 16") {
			t.Errorf("error %v", err)
		}
	}
}
