package copies_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/copies"
	"github.com/synapse-maint/synapse-maint/jobs/journal"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

const server = "matrix.example.org"

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// world is an archive with points of which each has a pack of its own, and
// another store to copy them to.
type world struct {
	t        *testing.T
	from, to storage.Store
	alien    bool // the other archive has other keys
	archive  *archive.Archive
	runner   *jobs.Runner
	ids      []string   // of the points, oldest first
	packs    [][]string // keys of the objects that each has
	log      bytes.Buffer
	progress []jobs.Progress
}

func newWorld(t *testing.T, points int) *world {
	t.Helper()
	w := &world{t: t, from: mem.New(), to: mem.New()}
	var err error
	w.archive, err = archive.Init(t.Context(), w.from, archive.InitOptions{Homeserver: server})
	ok(t, err)
	w.runner = &jobs.Runner{Journal: journal.New(w.from), Locker: journal.NewLocker(w.from, journal.Options{})}
	for i := range points {
		w.take(i)
	}
	return w
}

func (w *world) take(n int) {
	w.t.Helper()
	ctx, before := w.t.Context(), keys(w.t, w.from, "packs/")
	wr, err := w.archive.Writer(ctx, archive.WriterOptions{})
	ok(w.t, err)
	size := int64(0)
	add := func(text string) []archive.Blob {
		size += int64(len(text))
		id, _, err := wr.Add(ctx, []byte(text))
		ok(w.t, err)
		return []archive.Blob{{ID: id, Size: int64(len(text)), Rows: 1}}
	}
	toc, row := add(fmt.Sprintf("PGDMP of night %d", n)), fmt.Sprintf("row of night %d\n", n)
	d := &archive.Database{Info: []byte("{}"), TOC: toc, Tables: []archive.Table{{Name: "t", Rows: 1, Bytes: int64(len(row)), Blobs: add(row)}}}
	_, err = wr.Close(ctx)
	ok(w.t, err)
	id, err := w.archive.Commit(ctx, &archive.Manifest{Homeserver: server, Taken: time.Date(2026, 11, 1+n, 2, 0, 0, 0, time.UTC), Database: d, Sizes: archive.Sizes{Logical: size}})
	ok(w.t, err)
	w.ids = append(w.ids, id)
	w.packs = append(w.packs, slices.DeleteFunc(keys(w.t, w.from, "packs/"), func(key string) bool { return slices.Contains(before, key) }))
}

func keys(t *testing.T, s storage.Store, prefix string) (all []string) {
	t.Helper()
	for o, err := range s.List(t.Context(), prefix) {
		ok(t, err)
		all = append(all, o.Key)
	}
	return all
}

// ruin changes the bytes of an object of the first store.
func (w *world) ruin(key string) {
	w.t.Helper()
	body, err := storage.ReadAll(w.t.Context(), w.from, key)
	ok(w.t, err)
	for i := range body {
		body[i] ^= 1
	}
	_, err = w.from.Put(w.t.Context(), key, body, storage.PutOptions{})
	ok(w.t, err)
}

func (w *world) options() copies.Options {
	return copies.Options{
		From: w.archive, FromName: "first", ToName: "second", To: w.target,
		Progress: func(p jobs.Progress) { w.progress = append(w.progress, p) },
		Log:      slog.New(slog.NewTextHandler(&w.log, nil)),
	}
}

// target opens the other archive, and makes it where there is none.
func (w *world) target(ctx context.Context) (*archive.Archive, error) {
	if a, err := archive.Open(ctx, w.to); err == nil {
		return a, nil
	}
	if w.alien {
		return archive.Init(ctx, w.to, archive.InitOptions{Homeserver: server})
	}
	a, _, err := archive.Clone(ctx, w.archive, w.to, 0)
	return a, err
}

// run runs the job, and returns what the journal has of it.
func (w *world) run(o copies.Options) (*jobs.Run, error) {
	w.t.Helper()
	id, err := w.runner.Fresh(w.t.Context(), server, copies.JobName)
	ok(w.t, err)
	_, err = w.runner.Run(w.t.Context(), copies.New(o), id)
	saved, oerr := w.runner.Journal.Open(w.t.Context(), id)
	ok(w.t, oerr)
	return saved, err
}

func result(t *testing.T, run *jobs.Run) copies.Result {
	t.Helper()
	r, err := copies.ResultOf(run)
	ok(t, err)
	return r
}

// there are the IDs of the points that the other store lists, in the order of
// their times.
func (w *world) there() string {
	w.t.Helper()
	a, err := archive.Open(w.t.Context(), w.to)
	ok(w.t, err)
	points, err := a.Points(w.t.Context())
	ok(w.t, err)
	ids := make([]string, len(points))
	for i, p := range points {
		ok(w.t, p.Err)
		ids[i] = p.ID
	}
	return strings.Join(ids, " ")
}
