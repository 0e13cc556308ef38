package backup_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/backup"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

// scriptedCopy is another store, which fails as it is told.
type scriptedCopy struct {
	name   string
	do     func() error
	points []string // that it was asked for
}

func (c *scriptedCopy) Name() string { return c.name }

func (c *scriptedCopy) Copy(ctx context.Context, point string, _ func(jobs.Progress)) (backup.Copied, error) {
	c.points = append(c.points, point)
	if err := c.do(); err != nil {
		return backup.Copied{Packs: 1, Bytes: 10}, err
	}
	return backup.Copied{Points: []string{"there-" + point}, Packs: 2, Bytes: 20}, ctx.Err()
}

func fine() error { return nil }

// A store that fails is named, in the journal and in the result, and what the
// others got counts; the next run of the same tick copies to those alone.
func TestACopyThatFailsIsNoSuccess(t *testing.T) {
	t.Parallel()
	s := mem.New()
	initArchive(t, s, keys{})
	a, err := archive.Open(t.Context(), s)
	ok(t, err)
	away, torn := errors.New("third: no such folder"), fmt.Errorf("%w: one point is damaged", jobs.ErrIncomplete)
	second, third, fourth := &scriptedCopy{name: "second", do: fine}, &scriptedCopy{name: "third", do: func() error { return away }}, &scriptedCopy{name: "fourth", do: func() error { return torn }}
	job := backup.New(backup.Options{
		Archive: a, Jobs: 2, Copies: []backup.Copy{second, third, fourth},
		Source: func(context.Context) (backup.Snapshot, error) { return newScripted(1, 0, 40), nil },
	})
	run, err := runner(s).Run(t.Context(), job, id(2))
	if !errors.Is(err, jobs.ErrIncomplete) || !errors.Is(err, away) || run.State != jobs.Incomplete || !strings.Contains(run.Error, "copy to third") {
		t.Errorf("%s, %q, %v", run.State, run.Error, err)
	}
	if strings.Count(run.Error, jobs.ErrIncomplete.Error()) != 2 {
		t.Errorf("each of two copies says once that it is done in part: %q", run.Error)
	}
	r := result(t, run)
	want := []backup.Copied{
		{Store: "second", Points: []string{"there-" + r.Point}, Packs: 2, Bytes: 20},
		{Store: "third", Packs: 1, Bytes: 10, Error: away.Error()},
		{Store: "fourth", Packs: 1, Bytes: 10, Error: "one point is damaged"},
	}
	mustBeCopies(t, r, want)
	if len(points(t, s, keys{})) != 1 || strings.Join(third.points, " ") != r.Point {
		t.Errorf("asked for %q", third.points)
	}
	third.do, fourth.do = fine, fine
	run, err = runner(s).Run(t.Context(), job, id(2))
	ok(t, err)
	for i := range want {
		want[i] = backup.Copied{Store: want[i].Store, Points: want[0].Points, Packs: 2, Bytes: 20}
	}
	mustBeCopies(t, result(t, run), want)
	if len(second.points) != 1 || len(third.points) != 2 {
		t.Errorf("asked %d and %d times", len(second.points), len(third.points))
	}
}

func mustBeCopies(t *testing.T, r backup.Result, want []backup.Copied) {
	t.Helper()
	if len(r.Copies) != len(want) {
		t.Fatalf("%+v", r.Copies)
	}
	for i, c := range r.Copies {
		if w := want[i]; c.Store != w.Store || strings.Join(c.Points, " ") != strings.Join(w.Points, " ") || c.Packs != w.Packs || c.Bytes != w.Bytes || c.Error != w.Error {
			t.Errorf("%+v, want %+v", c, w)
		}
	}
}

// A run that is ended while it copies has not copied in part: it was
// interrupted, and so was the copy, in which its process may have been killed.
func TestAnInterruptedCopyIsNoSuccess(t *testing.T) {
	t.Parallel()
	s := mem.New()
	initArchive(t, s, keys{})
	a, err := archive.Open(t.Context(), s)
	ok(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var killed *jobs.Run
	ending := &scriptedCopy{name: "second", do: func() error {
		var err error
		killed, err = runner(s).Journal.Open(t.Context(), id(2))
		cancel()
		return errors.Join(err, ctx.Err())
	}}
	run, err := runner(s).Run(ctx, backup.New(backup.Options{
		Archive: a, Jobs: 2, Copies: []backup.Copy{ending},
		Source: func(context.Context) (backup.Snapshot, error) { return newScripted(1, 0, 40), nil },
	}), id(2))
	if !errors.Is(err, context.Canceled) || errors.Is(err, jobs.ErrIncomplete) || run.State != jobs.Interrupted {
		t.Errorf("%s, %v", run.State, err)
	}
	if c := result(t, run).Copies; len(c) != 1 || c[0].Error == "" || len(c[0].Points) > 0 {
		t.Errorf("%+v", c)
	}
	if c := result(t, killed).Copies; len(c) != 1 || c[0].Error != string(jobs.Running) {
		t.Errorf("killed: %+v", c)
	}
}
