package prune_test

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/prune"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

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

// A backup that was interrupted, or lacks a part, is none to count on either.
func TestNothingIsPrunedAfterABackupThatIsNotDone(t *testing.T) {
	t.Parallel()
	for state, backup := range map[jobs.State]func(w *world){
		jobs.Incomplete:  func(w *world) { w.backup(fmt.Errorf("%w: the point has no media", jobs.ErrIncomplete)) },
		jobs.Interrupted: func(w *world) { w.interrupted() },
	} {
		w := newWorld(t, 4)
		backup(w)
		_, err := w.prune(w.options())
		if err == nil || !strings.Contains(err.Error(), "while backups fail") || !strings.Contains(err.Error(), " is "+string(state)) {
			t.Errorf("%s: %v", state, err)
		}
		w.lists(w.ids...)
		w.backup(nil)
		_, err = w.prune(w.options())
		w.ok(err)
		w.lists(w.ids[2:]...)
	}
}

// A list without a point makes all there is look unused, be it stale or what
// somebody's hand has left: two prunes would have been the end of it.
func TestNothingIsPrunedWhereNoPointIsListedAnyMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1) // as in a store of copies, whose journal knows no backups
	body, err := storage.ReadAll(t.Context(), w.store, "points/"+w.ids[0])
	w.ok(err)
	w.ok(w.store.Delete(t.Context(), "points/"+w.ids[0]))
	if _, err := w.prune(w.options()); err == nil || !strings.Contains(err.Error(), "no recovery point is listed") {
		t.Error(err)
	}
	_, err = w.store.Put(t.Context(), "points/"+w.ids[0], body, storage.PutOptions{})
	w.ok(err)
	_, err = w.prune(w.options())
	w.ok(err)
	w = newWorld(t, 0) // where there never was one there is nothing to lose
	_, err = w.prune(w.options())
	w.ok(err)
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

// Either backups don't run, or the clock is wrong: who knows which may say so.
func TestNothingIsPrunedWhenTheNewestPointIsOld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 0)
	for _, days := range []int{12, 11, 10, 9} {
		w.take(time.Now().AddDate(0, 0, -days))
	}
	o := w.options()
	if _, err := w.prune(o); err == nil || !strings.Contains(err.Error(), "the newest point is 9 days old") {
		t.Error(err)
	}
	w.lists(w.ids...)
	o.Despite = true
	_, err := w.prune(o)
	w.ok(err)
	w.lists(w.ids[2:]...)
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

// A damaged point is no reason to drop a good one: neither one that lacks what it
// needs, nor one of which a check has found that it is not what was put, be it
// that its disk returns the right bytes now.
func TestDamagedPointsDoNotCount(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(w *world, pack string){
		"gone": func(w *world, pack string) { w.ok(w.store.Delete(t.Context(), pack)) },
		"other bytes": func(w *world, pack string) {
			body, err := storage.ReadAll(t.Context(), w.store, pack)
			w.ok(err)
			body[len(body)/2] ^= 1
			_, err = w.store.Put(t.Context(), pack, body, storage.PutOptions{})
			w.ok(err)
			w.mustFindDamage(w.store)
		},
		"other bytes once": func(w *world, pack string) {
			w.mustFindDamage(storetest.Faulty(w.store, func(c storetest.Call) storetest.Fault {
				return storetest.Fault{Corrupt: c.Key == pack}
			}))
		},
	} {
		w := newWorld(t, 3)
		packs := w.newPacks(func() { w.take(time.Now()) })
		if len(packs) != 1 {
			t.Fatalf("%s: %d packs", name, len(packs))
		}
		damage(w, packs[0])
		r, err := w.prune(w.options())
		w.ok(err)
		w.lists(w.ids[1:]...)
		if why := r.Points[3].Why[0]; why != "not verified as good: kept, and not counted" {
			t.Errorf("%s: the damaged one stays because of %q", name, why)
		}
	}
}

// Who lacks the right to delete must not take it for done, night after night.
func TestPruneThatMayDeleteNothingIsIncomplete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	a, err := archive.Open(t.Context(), storetest.Faulty(w.store, func(c storetest.Call) storetest.Fault {
		if c.Op == storetest.Delete && !strings.HasPrefix(c.Key, "locks/") {
			return storetest.Fault{Err: fs.ErrPermission}
		}
		return storetest.Fault{}
	}))
	w.ok(err)
	o := w.options()
	o.Archive = a
	if _, err := w.prune(o); !errors.Is(err, jobs.ErrIncomplete) || !strings.Contains(err.Error(), "the right to delete is missing") {
		t.Errorf("%v", err)
	}
	w.lists(w.ids...)
}

// What a point needs that can't be read, nobody knows; the way out is said.
func TestNothingIsPrunedWhileAPointCantBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 4)
	_, err := w.store.Put(t.Context(), "points/"+w.ids[3], []byte("rubbish"), storage.PutOptions{})
	w.ok(err)
	if _, err := w.prune(w.options()); err == nil || !strings.Contains(err.Error(), "copy it here from another store") {
		t.Errorf("%v", err)
	}
	w.lists(w.ids...)
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
