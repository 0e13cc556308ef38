package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/journal"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

// scriptedFiller is a part whose restore is made up.
type scriptedFiller struct {
	part   string
	plan   synapse.FillPlan
	fail   error
	filled int
	live   func() string // what is live while it fills
	saw    string
}

func (f *scriptedFiller) Name() string { return f.part }

func (f *scriptedFiller) Plan(context.Context) (synapse.FillPlan, error) { return f.plan, nil }

func (f *scriptedFiller) Fill(context.Context, func(jobs.Progress)) (any, error) {
	f.filled++
	if f.live != nil {
		f.saw = f.live()
	}
	return map[string]any{"files": 3, "warnings": []string{"they belong to root"}}, f.fail
}

func mediaFiller() *scriptedFiller {
	return &scriptedFiller{part: archive.PartMedia, plan: synapse.FillPlan{
		Part: archive.PartMedia, Where: "/data/media_store", Files: 3, Bytes: 3 << 20, Lines: []string{"write 3 files to /data/media_store"},
	}}
}

// mediaPoint is a point of media alone.
func mediaPoint() archive.Point {
	return archive.Point{ID: "20261125T020000Z-0123456789abcdef", Manifest: &archive.Manifest{
		Homeserver: homeserver, Media: &archive.Media{Files: 3},
		Lacks: []archive.Lack{{Part: archive.PartDatabase, Why: "left out with --only"}},
	}}
}

func filesRestore(t *testing.T, f *scriptedFiller, r Request) (*Job, *jobs.Runner) {
	t.Helper()
	s := mem.New()
	j, err := New(Options{Request: r, Recovery: mediaPoint(), Fillers: []Filler{f}})
	if err != nil {
		t.Fatal(err)
	}
	return j, &jobs.Runner{Journal: journal.New(s), Locker: journal.NewLocker(s, journal.Options{})}
}

func fileRun() jobs.RunID {
	return jobs.RunID{Job: JobName, Homeserver: homeserver, Due: time.Date(2026, 11, 25, 3, 0, 0, 0, time.UTC)}
}

func TestRestoreOfFilesAlone(t *testing.T) {
	t.Parallel()
	f := mediaFiller()
	j, runner := filesRestore(t, f, Request{Mode: synapse.ModeSwap, Live: "synapse", MediaPath: "/data/media_store"})
	plan, err := j.Blueprint(t.Context(), &jobs.Run{RunID: fileRun()})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"media", "3 files in 3.0 MiB, into /data/media_store", "1. write 3 files", "database: left out with --only"} {
		if !strings.Contains(plan.String(), want) {
			t.Errorf("the plan does not say %q:\n%s", want, plan)
		}
	}
	if plan.Destroys() != "" || plan.Bytes != 3<<20 {
		t.Errorf("%+v", plan)
	}
	var log strings.Builder
	j.Log = slog.New(slog.NewTextHandler(&log, nil))
	run, err := runner.Run(t.Context(), j, fileRun())
	if err != nil || run.State != jobs.Done || f.filled != 1 {
		t.Fatalf("%v, %v, filled %d times", run.State, err, f.filled)
	}
	if !strings.Contains(log.String(), `level=WARN msg=restore warning="they belong to root"`) {
		t.Errorf("the log does not warn: %s", &log)
	}
	s, err := Status(run, keptTill, nil)
	if err != nil || !strings.Contains(s.String(), "done: the media are in /data/media_store") {
		t.Errorf("%v: %s", err, s)
	}
	if raw, _ := json.Marshal(s); !strings.Contains(s.String(), "\n  warning  they belong to root\n") || !strings.Contains(string(raw), `"warnings":["they belong to root"]`) {
		t.Errorf("the status does not warn: %s%s", s, raw)
	}
}

// A file that can't be had doesn't keep the others away, and isn't forgotten.
func TestRestoreOfFilesInPart(t *testing.T) {
	t.Parallel()
	f := mediaFiller()
	f.fail = fmt.Errorf("%w: local_content/aa/bb/cc is damaged", jobs.ErrIncomplete)
	j, runner := filesRestore(t, f, Request{MediaPath: "/m"})
	run, err := runner.Run(t.Context(), j, fileRun())
	if run.State != jobs.Incomplete || err != nil && !errors.Is(err, jobs.ErrIncomplete) || !strings.Contains(run.Error, "local_content/aa/bb/cc") {
		t.Errorf("%v, %v, %q", run.State, err, run.Error)
	}
}

func TestRestoreDeletesNoMediaUnconfirmed(t *testing.T) {
	t.Parallel()
	f := mediaFiller()
	f.plan.Deletes = 2
	j, runner := filesRestore(t, f, Request{MediaPath: "/m", DeleteExtra: true})
	if _, err := runner.Run(t.Context(), j, fileRun()); err == nil || f.filled > 0 {
		t.Errorf("unconfirmed: %v, filled %d times", err, f.filled)
	}
	j.ConfirmedDrop = true
	if _, err := runner.Run(t.Context(), j, fileRun()); err != nil || f.filled != 1 {
		t.Errorf("confirmed: %v, filled %d times", err, f.filled)
	}
}

func TestRestoreRefusesPartsThatThePointLacks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		only []string
		fill bool
		want string
	}{
		{[]string{"database"}, true, "it holds no database (left out with --only)"},
		{[]string{"secrets"}, true, "it holds no secrets"},
		{[]string{"pictures"}, true, "the parts are database, media and secrets"},
		{[]string{"media"}, false, "--media-path"},
		{nil, false, "it holds no database"},
	} {
		o := Options{Request: Request{Only: c.only}, Recovery: mediaPoint()}
		if c.fill {
			o.Fillers = []Filler{mediaFiller()}
		}
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("--only %v: %v, want %q", c.only, err, c.want)
		}
	}
}

// The files are there before the rows that name them go live.
func TestMediaComeBeforeTheSwap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.point.Manifest.Media = &archive.Media{Files: 3}
	f := mediaFiller()
	f.live = func() string { return w.fingerprint(w.live) }
	before := w.fingerprint(w.live)
	o := w.options(synapse.ModeSwap)
	o.MediaPath, o.Fillers = "/m", []Filler{f}
	_, err := w.restore(o)
	w.ok(err)
	if f.filled != 1 || f.saw != before {
		t.Errorf("filled %d times; the swap came first: %v", f.filled, f.saw != before)
	}
	if w.fingerprint(w.live) != w.state {
		t.Error("the database is not the point's")
	}
}
