package prune_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/journal"
	"github.com/synapse-maint/synapse-maint/jobs/prune"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
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
	_, _ = w.runner.Run(w.t.Context(), failing{err}, id)
}

// failing is a job of one step.
type failing struct{ err error }

func (failing) Name() string { return "backup" }

func (f failing) Plan(context.Context, *jobs.Run) ([]jobs.Step, error) {
	return []jobs.Step{{Name: "copy", Do: func(context.Context) (any, error) { return nil, f.err }}}, nil
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

func TestPruneDropsWhatNoRuleWants(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 5)
	plan, err := prune.New(w.options()).Preview(t.Context())
	w.ok(err)
	w.lists(w.ids...) // a look changes nothing
	if len(plan.Points) != 5 || plan.Points[0].Keep || !plan.Points[4].Keep || plan.Report.Freed == 0 {
		t.Errorf("%+v", plan)
	}
	r, err := w.prune(w.options())
	w.ok(err)
	w.lists(w.ids[3:]...)
	if len(r.Report.Dropped) != 3 {
		t.Errorf("%+v", r.Report)
	}
	report, err := w.archive.Check(t.Context(), archive.CheckOptions{ReadData: 1})
	w.ok(err)
	if !report.OK() {
		t.Errorf("%+v", report)
	}
}

// Backups failed for two weeks, and nobody noticed (eeshugerman/postgres-backup-s3#42):
// retention must not eat the good ones meanwhile.
func TestNothingIsPrunedWhileBackupsFail(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	w.backup(nil)
	w.backup(errors.New("pg_dump is too old"))
	_, err := w.prune(w.options())
	if err == nil || !strings.Contains(err.Error(), "while backups fail") || !strings.Contains(err.Error(), "pg_dump is too old") {
		t.Errorf("%v", err)
	}
	w.lists(w.ids...)
	o := w.options()
	o.Despite = true // the disk is full: that is why they fail
	_, err = w.prune(o)
	w.ok(err)
	w.lists(w.ids[2:]...)
}

func TestNothingIsPrunedWhenTheClockLooksWrong(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]time.Duration{"a year ahead": 365 * 24 * time.Hour, "a year back": -365 * 24 * time.Hour} {
		w := newWorld(t, 4)
		o := w.options()
		o.Now = func() time.Time { return time.Now().Add(away) }
		if _, err := w.prune(o); err == nil || !strings.Contains(err.Error(), "clock") {
			t.Errorf("%s: %v", name, err)
		}
		w.lists(w.ids...)
	}
}

// A point that a wrong clock has taken goes by name, and only with a newer good
// one to take its place.
func TestPointOfTheFutureGoesByName(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.take(time.Now().AddDate(1, 0, 0))
	ahead := w.ids[2]
	o := w.options()
	if _, err := w.prune(o); err == nil || !strings.Contains(err.Error(), "the clock here is wrong, set it; if it was wrong when that point was taken, --drop "+ahead) {
		t.Errorf("%v", err)
	}
	for id, want := range map[string]string{w.ids[0]: "is not of the future", "20270101T000000Z-0123456789abcdef": "is of the future"} {
		o.Drop = []string{id}
		if _, err := w.prune(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", id, err)
		}
	}
	o.Drop, o.Policy = []string{ahead}, prune.Policy{}
	o.Now = func() time.Time { return time.Now().AddDate(0, 0, 9) } // the same, with no backup since
	if _, err := w.prune(o); err == nil || !strings.Contains(err.Error(), "9 days old") {
		t.Errorf("%v", err)
	}
	w.lists(w.ids...)
	o.Now = nil
	plan, err := prune.New(o).Preview(t.Context())
	w.ok(err)
	if !plan.Points[0].Keep || !plan.Points[1].Keep || plan.Points[2].Keep {
		t.Errorf("%+v", plan.Points)
	}
	r, err := w.prune(o)
	w.ok(err)
	if len(r.Report.Dropped) != 1 {
		t.Errorf("%+v", r.Report)
	}
	w.lists(w.ids[:2]...)
}

func TestLastPointWithAPartIsNotDroppedByName(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	w.takeMedia(time.Now().AddDate(1, 0, 0), 0)
	o := w.options()
	o.Drop = w.ids[1:]
	if _, err := w.prune(o); err == nil || !strings.Contains(err.Error(), "no other good point has media") {
		t.Errorf("%v", err)
	}
	w.take(time.Now().AddDate(2, 0, 0))
	o.Drop = w.ids
	if _, err := w.prune(o); err == nil || !strings.Contains(err.Error(), "not of the future") {
		t.Errorf("%v", err)
	}
	w = newWorld(t, 0)
	w.take(time.Now().AddDate(1, 0, 0))
	o = w.options()
	o.Drop = w.ids
	if _, err := w.prune(o); err == nil || !strings.Contains(err.Error(), "take a backup first") {
		t.Errorf("%v", err)
	}
	w.lists(w.ids...)
}

// What was agreed to is what goes.
func TestPruneDropsNoMoreThanWasAgreed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	o := w.options()
	o.Agreed = w.ids[:1]
	if _, err := w.prune(o); err == nil || !strings.Contains(err.Error(), "nothing was deleted") {
		t.Errorf("%v", err)
	}
	w.lists(w.ids...)
}

// A damaged point is no reason to drop a good one.
func TestPointsThatLackBlobsDoNotCount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	before := map[string]bool{}
	for o, err := range w.store.List(t.Context(), "packs/") {
		w.ok(err)
		before[o.Key] = true
	}
	w.take(time.Now())
	for o, err := range w.store.List(t.Context(), "packs/") {
		w.ok(err)
		if !before[o.Key] {
			w.ok(w.store.Delete(t.Context(), o.Key))
		}
	}
	plan, err := prune.New(w.options()).Preview(t.Context())
	if err != nil {
		w.lists(w.ids...) // to refuse is right, too
		return
	}
	if !plan.Points[1].Keep || !plan.Points[2].Keep || plan.Points[0].Keep {
		t.Errorf("%+v", plan.Points)
	}
}

// Every night a success, and files gone: what the points say of themselves counts.
func TestPointFromBeforeTheLossStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	for hours, lost := range []int64{0, 0, 39, 39, 39} {
		w.takeMedia(time.Now().Add(time.Duration(hours-5)*time.Hour), lost)
	}
	r, err := w.prune(w.options())
	w.ok(err)
	w.lists(w.ids[1], w.ids[3], w.ids[4])
	if why := r.Points[1].Why; len(why) != 1 || why[0] != "the newest with all of its media" {
		t.Errorf("%q", why)
	}
}

// Killed between any two calls of the store, and run again: what stays is whole.
func TestKilledPruneIsResumed(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		w := newWorld(t, 4)
		dead := storetest.Faulty(w.store, storetest.FailNth(n, errors.New("killed")))
		a, err := archive.Open(t.Context(), dead)
		killed := false
		if err == nil {
			o := w.options()
			o.Archive = a
			_, err = w.prune(o)
			killed = err != nil
		}
		if _, err := w.prune(w.options()); err != nil {
			t.Fatalf("killed at call %d, then: %v", n, err)
		}
		w.lists(w.ids[2:]...)
		report, err := w.archive.Check(t.Context(), archive.CheckOptions{ReadData: 1})
		w.ok(err)
		if !report.OK() {
			t.Errorf("killed at call %d: %+v", n, report.Damaged)
		}
		if !killed && n > dead.Count() {
			return
		}
	}
}
