package backup_test

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/backup"
	"github.com/synapse-maint/synapse-maint/jobs/export"
	"github.com/synapse-maint/synapse-maint/jobs/postgres"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/dir"
	"github.com/synapse-maint/synapse-maint/storage/mem"
	"github.com/synapse-maint/synapse-maint/storage/s3"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// snap returns a source of snapshots of a real database.
func snap(t *testing.T, url string) func(context.Context) (backup.Snapshot, error) {
	t.Helper()
	c, err := postgres.ParseConfig(url)
	ok(t, err)
	return func(ctx context.Context) (backup.Snapshot, error) {
		return postgres.Snap(ctx, c, postgres.Options{Jobs: 2})
	}
}

// takeReal runs a backup of a real database.
func takeReal(ctx context.Context, s storage.Store, k keys, source func(context.Context) (backup.Snapshot, error), hour int) (*jobs.Run, error) {
	a, err := archive.Open(ctx, s, k.job...)
	if err != nil {
		return nil, err
	}
	return runner(s).Run(ctx, backup.New(backup.Options{Archive: a, Source: source, Jobs: 2}), id(hour))
}

func openStores(t *testing.T) map[string]storage.Store {
	t.Helper()
	server := testbed.S3(t)
	u, err := url.Parse(server.URL(server.Bucket(t)))
	ok(t, err)
	conf, err := s3.ParseURL(u)
	ok(t, err)
	bucket, err := s3.Open(t.Context(), conf)
	ok(t, err)
	folder, err := dir.Create(t.TempDir() + "/store")
	ok(t, err)
	return map[string]storage.Store{"mem": mem.New(), "dir": folder, "s3": bucket}
}

// Two nights of a Synapse database: the second stores little, and stock
// pg_restore makes of each what was there.
func TestSynapseDatabaseTwice(t *testing.T) {
	p := testbed.Postgres(t)
	db := testbed.SynapseDatabase(t, p, 0.03)
	type archived struct {
		storage.Store
		keys
		nights []backup.Result
	}
	all := map[string]*archived{}
	for kind, s := range openStores(t) {
		k := keys{}
		if kind != "dir" {
			k = newKeys(t)
		}
		all[kind] = &archived{Store: storage.Sub(s, server), keys: k}
		initArchive(t, all[kind], k)
	}
	for night := range 2 {
		want := dumped(t, p, db)
		for kind, s := range all {
			run, err := takeReal(t.Context(), s, s.keys, snap(t, db), night)
			ok(t, err)
			r, err := backup.ResultOf(run)
			ok(t, err)
			s.nights = append(s.nights, r)
			if got := restored(t, p, s, s.keys, r.Point); got != want {
				t.Errorf("%s, night %d: the restored database is another: %d bytes dumped, not %d", kind, night, len(got), len(want))
			}
		}
		ok(t, testbed.GrowSynapse(t.Context(), db, 1))
	}
	for kind, s := range all {
		points(t, s, s.keys)
		// So small a database has few ranges that nothing was added to.
		if a, b := s.nights[0], s.nights[1]; b.Rows <= a.Rows || b.Tables != a.Tables || b.New > a.New*6/10 || len(b.Warnings) > 0 {
			t.Errorf("%s: first %+v, second %+v", kind, a, b)
		}
	}
}

// dumped is a database as one text, without what a backup leaves out: two are
// equal if these are.
func dumped(t *testing.T, p *testbed.PG, url string) string {
	t.Helper()
	text := tool(t, p, "pg_dump", "--no-owner", "--exclude-table-data=e2e_one_time_keys_json", url)
	var keep strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "\\restrict") && !strings.HasPrefix(line, "\\unrestrict") { // random
			keep.WriteString(line)
		}
	}
	return keep.String()
}

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

// restored exports a point and restores it with stock pg_restore.
func restored(t *testing.T, p *testbed.PG, s storage.Store, k keys, id string) string {
	t.Helper()
	a, err := archive.Open(t.Context(), s, k.owner...)
	ok(t, err)
	point, err := a.Find(t.Context(), id)
	ok(t, err)
	r, err := a.Reader(t.Context(), archive.ReaderOptions{})
	ok(t, err)
	done, err := export.Export(t.Context(), r, point, filepath.Join(t.TempDir(), "export"), export.Options{})
	ok(t, err)
	copied := p.Database(t)
	tool(t, p, "pg_restore", "--exit-on-error", "--no-owner", "-j2", "-d", copied, done.Path)
	return dumped(t, p, copied)
}

// A server that is gone in the middle: a clear failure, no point, and the next
// run works.
func TestServerKilledDuringBackup(t *testing.T) {
	p, err := testbed.StartPostgres(t.Context(), testbed.PGOptions{})
	ok(t, err)
	defer p.Close()
	db := testbed.SynapseDatabase(t, p, 0.01)
	s := mem.New()
	initArchive(t, s, keys{})
	source := snap(t, db)
	killing := func(ctx context.Context) (backup.Snapshot, error) {
		snap, err := source(ctx)
		if err != nil {
			return nil, err
		}
		return &fatal{Snapshot: snap, after: len(snap.Ranges()) / 2, strike: func() { p.Kill(t) }}, nil
	}
	run, err := takeReal(t.Context(), s, keys{}, killing, 2)
	if err == nil || run.State != jobs.Failed || strings.Contains(err.Error(), "\n") {
		t.Fatalf("%+v, %v", run, err)
	}
	if strings.Contains(err.Error(), p.Password()) {
		t.Error("the password is in the error")
	}
	p.Start(t)
	_, err = takeReal(t.Context(), s, keys{}, source, 2)
	ok(t, err)
	if list := points(t, s, keys{}); len(list) != 1 {
		t.Errorf("%d points", len(list))
	}
}

// fatal strikes before one of the ranges.
type fatal struct {
	backup.Snapshot
	after  int
	strike func()
}

func (f *fatal) Ranges() []synapse.Range { return f.Snapshot.Ranges() }

func (f *fatal) CopyOut(ctx context.Context, r synapse.Range, emit func(synapse.Chunk) error) error {
	if r == f.Ranges()[f.after] {
		f.strike()
	}
	return f.Snapshot.CopyOut(ctx, r, emit)
}

// The store failing at random calls of a real backup.
func TestStoreFailsDuringRealBackup(t *testing.T) {
	p := testbed.Postgres(t)
	db := testbed.SynapseDatabase(t, p, 0.01)
	gone := errors.New("503 slow down")
	for _, n := range []int{1, 2, 3, 5, 8, 12, 16, 20, 24} {
		s := mem.New()
		initArchive(t, s, keys{})
		_, err := takeReal(t.Context(), storetest.Faulty(s, storetest.FailNth(n, gone)), keys{}, snap(t, db), 2)
		if err != nil && !errors.Is(err, gone) {
			t.Errorf("call %d: %v", n, err)
		}
		points(t, s, keys{})
		ok(t, s.Delete(t.Context(), "locks/"+server+".json"))
		_, err = takeReal(t.Context(), s, keys{}, snap(t, db), 2)
		ok(t, err)
		if len(points(t, s, keys{})) != 1 {
			t.Errorf("call %d: %d points at the end", n, len(points(t, s, keys{})))
		}
	}
}
