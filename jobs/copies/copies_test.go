package copies_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/copies"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

func TestPointsAreCopied(t *testing.T) {
	t.Parallel()
	for _, alien := range []bool{false, true} {
		w := newWorld(t, 3)
		w.alien = alien
		o := w.options()
		o.Points, o.Retain = w.ids[:2], time.Hour
		run, err := w.run(o)
		ok(t, err)
		r := result(t, run)
		if run.State != jobs.Done || r.From != "first" || r.To != "second" || r.Recoded != alien || r.Packs < 2 || r.Bytes == 0 || r.Seconds <= 0 || r.DryRun {
			t.Errorf("%s, %+v", run.State, r)
		}
		as := []string{}
		for i, p := range r.Points {
			if p.ID != w.ids[i] || p.There || p.Error != "" || !alien && p.As != p.ID {
				t.Errorf("%+v, want %s", p, w.ids[i])
			}
			as = append(as, p.As)
		}
		if got := w.there(); got != strings.Join(as, " ") || len(as) != 2 {
			t.Errorf("there are %q, and it says %q", got, as)
		}
		if last := w.progress[len(w.progress)-1]; last.What != "copy to second" || last.Done == 0 || last.Done != last.Total {
			t.Errorf("progress %+v", last)
		}
		for _, key := range keys(t, w.to, "points/") {
			if err := w.to.Delete(t.Context(), key); err == nil {
				t.Errorf("%s is not retained", key)
			}
		}
		o.Points = nil
		run, err = w.run(o)
		ok(t, err)
		if r := result(t, run); len(r.Points) != 3 || !r.Points[0].There || !r.Points[1].There || r.Points[2].There || r.Packs != 1 {
			t.Errorf("the second time: %+v", r)
		}
	}
}

// A point that is damaged is left out, and is no success: not to who asked for
// it, not in the journal, and not in a preview, where that can know.
func TestWhatCanNotBeCopiedIsNoSuccess(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage func(w *world, n int)
		unseen bool // by a preview, which reads no packs
		alien  bool // also of a copy to other keys
	}{
		"pack is damaged":                      {func(w *world, n int) { w.ruin(w.packs[n][0]) }, true, false},
		"pack is missing":                      {func(w *world, n int) { ok(t, w.from.Delete(t.Context(), w.packs[n][0])) }, false, false},
		"manifest is damaged":                  {func(w *world, n int) { w.ruin("points/" + w.ids[n]) }, false, false},
		"pack is damaged, read for other keys": {func(w *world, n int) { w.ruin(w.packs[n][0]) }, true, true},
		"manifest is damaged, and other keys":  {func(w *world, n int) { w.ruin("points/" + w.ids[n]) }, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 4)
			w.alien = c.alien
			bad := []int{1, 3}
			for _, n := range bad {
				c.damage(w, n)
			}
			to, err := w.target(t.Context())
			ok(t, err)
			before := keys(t, w.to, "")
			r, err := copies.Preview(t.Context(), w.options(), to)
			if !c.unseen {
				w.mustLack(r, err, bad)
			}
			if after := keys(t, w.to, ""); !r.DryRun || len(after) != len(before) {
				t.Errorf("the preview put %v, dry run %v", after, r.DryRun)
			}
			w.log.Reset()
			run, err := w.run(w.options())
			if run.State != jobs.Incomplete || !strings.Contains(run.Error, w.ids[1]) {
				t.Errorf("the journal has %s, %q", run.State, run.Error)
			}
			r = result(t, run)
			w.mustLack(r, err, bad)
			if got, want := w.there(), r.Points[0].As+" "+r.Points[2].As; got != want || !c.alien && want != w.ids[0]+" "+w.ids[2] {
				t.Errorf("there are %q, and it says %q", got, want)
			}
			if text := w.log.String(); !strings.Contains(text, "points were not copied") || !strings.Contains(text, "count=2") {
				t.Errorf("log %q", text)
			}
		})
	}
}

// mustLack fails unless exactly the points with these numbers have an error,
// and err says so.
func (w *world) mustLack(r copies.Result, err error, bad []int) {
	w.t.Helper()
	if !errors.Is(err, jobs.ErrIncomplete) || !errors.Is(err, archive.ErrCorrupt) {
		w.t.Errorf("error %v", err)
	} else if text := err.Error(); !strings.Contains(text, "not copied to second: ") || !strings.HasSuffix(text, " (and 1 more)") {
		w.t.Errorf("error %q", text)
	}
	lacks := map[int]bool{}
	for _, n := range bad {
		lacks[n] = true
	}
	if len(r.Points) != len(w.ids) {
		w.t.Fatalf("points %+v", r.Points)
	}
	for i, p := range r.Points {
		if p.ID != w.ids[i] || (p.Error != "") != lacks[i] || lacks[i] && (p.As != "" || p.There) {
			w.t.Errorf("point %d: %+v", i, p)
		}
	}
}

// A store that fails is no damage of points: the copy has failed, and those
// that it did not come to are not there.
func TestAStoreThatFailsIsNoPartialSuccess(t *testing.T) {
	t.Parallel()
	away := errors.New("503 slow down")
	for _, prefix := range []string{"", "packs/", "index/", "points/"} {
		for _, alien := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %v", prefix, alien), func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, 2)
				w.alien = alien
				ready, err := w.target(t.Context())
				ok(t, err)
				good := w.to
				w.to = storetest.Faulty(good, func(c storetest.Call) storetest.Fault {
					if c.Op == storetest.Put && strings.HasPrefix(c.Key, prefix) {
						return storetest.Fault{Err: away}
					}
					return storetest.Fault{}
				})
				o := w.options()
				if prefix == "" {
					o.To = func(context.Context) (*archive.Archive, error) { return nil, away }
				}
				run, err := w.run(o)
				if !errors.Is(err, away) || errors.Is(err, jobs.ErrIncomplete) || run.State != jobs.Failed {
					t.Errorf("%s, %v", run.State, err)
				}
				if prefix != "" && !strings.Contains(err.Error(), "copy from first to second: ") {
					t.Errorf("error %q", err)
				}
				r, err := copies.ResultOf(run)
				if (err == nil) == (prefix == "") {
					t.Errorf("note %+v, %v", r, err)
				}
				for _, p := range r.Points {
					if p.As != "" || p.There {
						t.Errorf("%+v", p)
					}
				}
				w.to = good
				if points, err := ready.Points(t.Context()); err != nil || len(points) != 0 {
					t.Errorf("%d points, %v", len(points), err)
				}
			})
		}
	}
}

// What is wrong with an archive, and costs no point, is said as well.
func TestDamageOfAnArchiveIsLogged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	lost := w.packs[1][0]
	ok(t, w.from.Delete(t.Context(), lost))
	o := w.options()
	o.Points = w.ids[:1]
	_, err := w.run(o)
	ok(t, err)
	if text := w.log.String(); !strings.Contains(text, "an archive has damage") || !strings.Contains(text, lost) {
		t.Errorf("log %q", text)
	}
}
