package backup_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/backup"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// scriptedPart is a media part of one made-up file.
type scriptedPart struct {
	fail      error
	consulted int
	previous  *archive.Manifest
}

func (*scriptedPart) Name() string { return archive.PartMedia }

func (p *scriptedPart) Consult(context.Context, synapse.MediaRows) error {
	p.consulted++
	return nil
}

func (p *scriptedPart) Take(ctx context.Context, w *archive.Writer, previous, m *archive.Manifest, _ func(jobs.Progress)) ([]string, error) {
	p.previous = previous
	id, _, err := w.Add(ctx, []byte("picture"))
	if err != nil {
		return nil, err
	}
	if p.fail != nil {
		return nil, p.fail
	}
	l := w.Listing()
	if err := l.Add(ctx, archive.Entry{Path: "local_content/aa/bb/cc", Size: 7, SHA256: id, Blobs: []archive.ID{id}}); err != nil {
		return nil, err
	}
	listing, err := l.Close(ctx)
	m.Media = &archive.Media{Listing: listing, Files: 1, Bytes: 7}
	return []string{"a part's own warning"}, err
}

func (p *scriptedPart) Preview(context.Context) (backup.PartPreview, error) {
	return backup.PartPreview{Part: archive.PartMedia, Files: 1, Bytes: 7}, p.fail
}

// takeWith takes a point of a snapshot, if any, and a part.
func takeWith(t *testing.T, s storage.Store, snap *scripted, part backup.Part, hour int) (*jobs.Run, error) {
	t.Helper()
	a, err := archive.Open(t.Context(), s)
	ok(t, err)
	o := backup.Options{Archive: a, Jobs: 2, Parts: []backup.Part{part}}
	if snap != nil {
		o.Source = func(context.Context) (backup.Snapshot, error) { return snap, nil }
	} else {
		o.Lacks = []archive.Lack{{Part: archive.PartDatabase, Why: "left out"}}
	}
	return runner(s).Run(t.Context(), backup.New(o), id(hour))
}

func result(t *testing.T, run *jobs.Run) backup.Result {
	t.Helper()
	r, err := backup.ResultOf(run)
	ok(t, err)
	return r
}

func TestPointHasAllItsParts(t *testing.T) {
	t.Parallel()
	s := mem.New()
	initArchive(t, s, keys{})
	first, second := &scriptedPart{}, &scriptedPart{}
	run, err := takeWith(t, s, newScripted(1, 0, 40), first, 2)
	ok(t, err)
	r := result(t, run)
	if strings.Join(r.Parts, " ") != "database media" || r.Media.Files != 1 || r.Media.Listing != nil || r.Rows != 40 || first.consulted != 1 {
		t.Errorf("%+v, consulted %d times", r, first.consulted)
	}
	if len(r.Warnings) != 1 || len(r.Lacks) != 0 {
		t.Errorf("warnings %q, lacks %v", r.Warnings, r.Lacks)
	}
	_, err = takeWith(t, s, newScripted(1, 0, 40), second, 3)
	ok(t, err)
	if first.previous != nil || second.previous == nil || second.previous.Media.Files != 1 {
		t.Error("a part does not see the point before")
	}
}

// A volume that failed must not pass for a backup, nor cost the database its own.
func TestFailedPartLeavesAPointThatSaysSo(t *testing.T) {
	t.Parallel()
	s := mem.New()
	initArchive(t, s, keys{})
	run, err := takeWith(t, s, newScripted(1, 0, 40), &scriptedPart{fail: errors.New("/data/media_store is empty")}, 2)
	if err != nil && !errors.Is(err, jobs.ErrIncomplete) || run.State != jobs.Incomplete {
		t.Fatalf("%v, %v", run.State, err)
	}
	r := result(t, run)
	if len(r.Lacks) != 1 || !r.Lacks[0].Failed || !strings.Contains(r.Lacks[0].Why, "is empty") || r.Media != nil {
		t.Errorf("%+v", r)
	}
	if list := points(t, s, keys{}); len(list) != 1 || list[0].Database == nil || len(list[0].Lacks) != 1 {
		t.Errorf("%d points", len(list))
	}
}

func TestPointWithoutDatabase(t *testing.T) {
	t.Parallel()
	s := mem.New()
	initArchive(t, s, keys{})
	run, err := takeWith(t, s, nil, &scriptedPart{}, 2)
	ok(t, err)
	if r := result(t, run); strings.Join(r.Parts, " ") != "media" || len(r.Lacks) != 1 || r.Logical != 7 {
		t.Errorf("%+v", r)
	}
	if _, err := takeWith(t, s, nil, &scriptedPart{fail: errors.New("no such folder")}, 3); err == nil || !strings.Contains(err.Error(), "no such folder") {
		t.Errorf("a point of nothing: %v", err)
	}
	// A part that the point before did not have is looked for further back.
	latest := &scriptedPart{}
	_, err = take(t.Context(), s, keys{}, newScripted(1, 0, 4), 4)
	ok(t, err)
	_, err = takeWith(t, s, newScripted(1, 0, 4), latest, 5)
	ok(t, err)
	if latest.previous == nil || latest.previous.Media == nil {
		t.Error("the media of two points ago were not found")
	}
}

// A store that fails is no failed part: nothing is listed.
func TestStoreThatFailsDuringAPartEndsTheRun(t *testing.T) {
	t.Parallel()
	s := mem.New()
	initArchive(t, s, keys{})
	a, err := archive.Open(t.Context(), storetest.Faulty(s, func(c storetest.Call) storetest.Fault {
		if c.Op == storetest.Put && strings.HasPrefix(c.Key, "packs/") {
			return storetest.Fault{Err: errors.New("503")}
		}
		return storetest.Fault{}
	}))
	ok(t, err)
	job := backup.New(backup.Options{Archive: a, Jobs: 2, Parts: []backup.Part{&scriptedPart{}}})
	run, err := runner(s).Run(t.Context(), job, id(2))
	if err == nil || run.State != jobs.Failed || len(points(t, s, keys{})) > 0 {
		t.Errorf("%v, %v", run.State, err)
	}
}

func TestPreviewCountsTheParts(t *testing.T) {
	t.Parallel()
	s := mem.New()
	initArchive(t, s, keys{})
	a, err := archive.Open(t.Context(), s)
	ok(t, err)
	p, err := backup.New(backup.Options{Archive: a, Parts: []backup.Part{&scriptedPart{}}}).Preview(t.Context())
	ok(t, err)
	if len(p.Parts) != 1 || p.Parts[0].Files != 1 {
		t.Errorf("%+v", p)
	}
	p, err = backup.New(backup.Options{Archive: a, Parts: []backup.Part{&scriptedPart{fail: errors.New("gone")}}}).Preview(t.Context())
	ok(t, err)
	if len(p.Parts) != 0 || len(p.Lacks) != 1 || !p.Lacks[0].Failed {
		t.Errorf("%+v", p)
	}
}
