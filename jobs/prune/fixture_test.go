package prune_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/journal"
	"github.com/synapse-maint/synapse-maint/jobs/prune"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

const server = "matrix.example.org"

// world is an archive with a point for each of some nights, the newest an hour
// old, and the journal of the backups that took them.
type world struct {
	t       *testing.T
	store   storage.Store
	archive *archive.Archive
	runner  *jobs.Runner
	ids     []string // of the points, oldest first
}

func newWorld(t *testing.T, n int) *world {
	t.Helper()
	w := &world{t: t, store: mem.New()}
	var err error
	w.archive, err = archive.Init(t.Context(), w.store, archive.InitOptions{Homeserver: server, Program: "test"})
	w.ok(err)
	w.runner = &jobs.Runner{Journal: journal.New(w.store), Locker: journal.NewLocker(w.store, journal.Options{})}
	for i := range n {
		w.take(time.Now().Add(-time.Hour - time.Duration(n-1-i)*24*time.Hour))
	}
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// take takes a point of a database of one table, other rows each time.
func (w *world) take(at time.Time) {
	w.t.Helper()
	ctx := w.t.Context()
	wr, err := w.archive.Writer(ctx, archive.WriterOptions{})
	w.ok(err)
	toc, _, err := wr.Add(ctx, []byte("PGDMP"))
	w.ok(err)
	text := []byte(fmt.Sprintf("row of %s\n", at))
	rows, _, err := wr.Add(ctx, text)
	w.ok(err)
	_, err = wr.Close(ctx)
	w.ok(err)
	id, err := w.archive.Commit(ctx, &archive.Manifest{
		Homeserver: server, Started: time.Now(), Taken: at, Database: &archive.Database{
			Info: []byte("{}"), TOC: []archive.Blob{{ID: toc, Size: 5}},
			Tables: []archive.Table{{Name: "t", Rows: 1, Bytes: int64(len(text)), Blobs: []archive.Blob{{ID: rows, Size: int64(len(text)), Rows: 1}}}},
		},
	})
	w.ok(err)
	w.ids = append(w.ids, id)
}

// takeMedia takes a point of one media file, with as many lost.
func (w *world) takeMedia(at time.Time, lost int64) {
	w.t.Helper()
	ctx := w.t.Context()
	wr, err := w.archive.Writer(ctx, archive.WriterOptions{})
	w.ok(err)
	id, _, err := wr.Add(ctx, []byte("picture"))
	w.ok(err)
	l := wr.Listing()
	w.ok(l.Add(ctx, archive.Entry{Path: "local_content/aa/bb/cc", Size: 7, SHA256: id, Blobs: []archive.ID{id}}))
	listing, err := l.Close(ctx)
	w.ok(err)
	_, err = wr.Close(ctx)
	w.ok(err)
	point, err := w.archive.Commit(ctx, &archive.Manifest{Homeserver: server, Started: at, Taken: at, Media: &archive.Media{
		Listing: listing, Files: 1, Bytes: 7, Proof: &archive.Proof{Lost: &archive.Findings{Count: lost}},
	}})
	w.ok(err)
	w.ids = append(w.ids, point)
}

// backup runs a backup job that ends with err.
func (w *world) backup(err error) {
	w.t.Helper()
	id, ferr := w.runner.Fresh(w.t.Context(), server, "backup")
	w.ok(ferr)
	_, _ = w.runner.Run(w.t.Context(), backing{func(context.Context) error { return err }}, id)
}

// interrupted runs a backup job that is told to stop.
func (w *world) interrupted() {
	w.t.Helper()
	id, err := w.runner.Fresh(w.t.Context(), server, "backup")
	w.ok(err)
	ctx, stop := context.WithCancel(w.t.Context())
	_, _ = w.runner.Run(ctx, backing{func(ctx context.Context) error { stop(); return ctx.Err() }}, id)
}

// backing is a job of one step.
type backing struct{ do func(context.Context) error }

func (backing) Name() string { return "backup" }

func (b backing) Plan(context.Context, *jobs.Run) ([]jobs.Step, error) {
	return []jobs.Step{{Name: "copy", Do: func(ctx context.Context) (any, error) { return nil, b.do(ctx) }}}, nil
}

func (w *world) options() prune.Options {
	return prune.Options{Archive: w.archive, Journal: w.runner.Journal, Backup: "backup", Policy: prune.Policy{Last: 2}}
}

func (w *world) prune(o prune.Options) (prune.Result, error) {
	w.t.Helper()
	id, err := w.runner.Fresh(w.t.Context(), server, prune.JobName)
	w.ok(err)
	run, err := w.runner.Run(w.t.Context(), prune.New(o), id)
	if err != nil {
		return prune.Result{}, err
	}
	return prune.ResultOf(run)
}

// listed are the IDs of the points that are there, oldest first.
func (w *world) listed() []string {
	w.t.Helper()
	points, err := w.archive.Points(w.t.Context())
	w.ok(err)
	var ids []string
	for _, p := range points {
		ids = append(ids, p.ID)
	}
	return ids
}

func (w *world) lists(want ...string) {
	w.t.Helper()
	if got := w.listed(); strings.Join(got, " ") != strings.Join(want, " ") {
		w.t.Errorf("the points are %v, want %v", got, want)
	}
}

// newPacks are the packs that a step puts.
func (w *world) newPacks(step func()) (keys []string) {
	w.t.Helper()
	all := func() (keys []string) {
		for o, err := range w.store.List(w.t.Context(), "packs/") {
			w.ok(err)
			keys = append(keys, o.Key)
		}
		return keys
	}
	before := all()
	step()
	return slices.DeleteFunc(all(), func(key string) bool { return slices.Contains(before, key) })
}

// mustFindDamage checks all there is, as a store returns it.
func (w *world) mustFindDamage(s storage.Store) {
	w.t.Helper()
	a, err := archive.Open(w.t.Context(), s)
	w.ok(err)
	report, err := a.Check(w.t.Context(), archive.CheckOptions{ReadData: 1})
	if w.ok(err); report.OK() {
		w.t.Fatal("the check finds nothing")
	}
}
