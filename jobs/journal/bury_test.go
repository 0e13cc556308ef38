package journal_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/journal"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

// begun saves a run at work, as the runner does.
func begun(t *testing.T, j *journal.Journal, id jobs.RunID) *jobs.Run {
	t.Helper()
	run, err := j.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	run.State, run.Started, run.Host, run.PID = jobs.Running, time.Now(), "other", 7
	run.Steps = []jobs.StepRecord{{Name: "copy", State: jobs.Running, Started: time.Now()}}
	if err := j.Save(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	return run
}

func open(t *testing.T, j *journal.Journal, id jobs.RunID) *jobs.Run {
	t.Helper()
	run, err := j.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return run
}

// A run that was killed must not stay "running" for ever: whoever takes its lock
// over says so, and the process, should it live, learns it.
func TestKilledRunDoesNotStayRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New()
		j := journal.New(s)
		dead(t, s, nil)
		killed, other := begun(t, j, at("backup", 2)), begun(t, j, at("backup", 1))
		time.Sleep(24 * time.Hour)
		_, release := mustLock(t, journal.NewLocker(s, journal.Options{}))
		run := open(t, j, killed.RunID)
		if run.State != jobs.Interrupted || run.Steps[0].State != jobs.Interrupted || run.Ended.Sub(run.Started) > time.Minute {
			t.Errorf("the killed run: %+v", run)
		}
		for _, text := range []string{"pid 7 on other", "killed or lost the store", "taken over by prune-20261125T030000Z on "} {
			if !strings.Contains(run.Error, text) {
				t.Errorf("%q does not say %q", run.Error, text)
			}
		}
		if err := j.Save(t.Context(), killed); err == nil {
			t.Error("the one that was taken over goes on")
		}
		if run := open(t, j, other.RunID); run.State != jobs.Running {
			t.Errorf("a run that did not have the lock: %+v", run)
		}
		release()
	})
}

// A lock that was given back says nothing of the run that had it.
func TestRunThatEndedStaysAsItEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New()
		j := journal.New(s)
		_, release := mustLock(t, journal.NewLocker(s, journal.Options{}))
		run := begun(t, j, at("prune", 3))
		release()
		_, again := mustLock(t, journal.NewLocker(s, journal.Options{}))
		again()
		if run := open(t, j, run.RunID); run.State != jobs.Running {
			t.Errorf("%+v", run)
		}
	})
}

// What the journal has as running is shown as what it is.
func TestRunWhoseLockIsDeadIsNotShownAsRunning(t *testing.T) {
	for _, c := range []struct {
		name string
		lock func(t *testing.T, s *mem.Store) (end func())
		run  func(*jobs.Run)
		want jobs.State
	}{
		{"at work", func(t *testing.T, s *mem.Store) func() {
			_, release := mustLock(t, journal.NewLocker(s, journal.Options{}))
			return release
		}, nil, jobs.Running},
		{"at work, seen by a clock that is a year ahead", func(t *testing.T, s *mem.Store) func() {
			_, release := mustLock(t, journal.NewLocker(s, journal.Options{Now: func() time.Time { return time.Now().AddDate(-1, 0, 0) }}))
			return release
		}, nil, jobs.Running},
		{"no heartbeat", func(t *testing.T, s *mem.Store) func() {
			dead(t, s, func(rec map[string]any) { rec["purpose"] = "prune-20261125T030000Z" })
			return func() {}
		}, nil, jobs.Interrupted},
		{"another has the lock", func(t *testing.T, s *mem.Store) func() {
			_, release, err := journal.NewLocker(s, journal.Options{}).Lock(t.Context(), server, "backup-20261125T050000Z")
			if err != nil {
				t.Fatal(err)
			}
			return func() { _ = release() }
		}, nil, jobs.Interrupted},
		{"nobody ever had a lock", func(*testing.T, *mem.Store) func() { return func() {} }, nil, jobs.Interrupted},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := mem.New()
				j := journal.New(s)
				end := c.lock(t, s)
				run := begun(t, j, at("prune", 3))
				if c.run != nil {
					c.run(run)
				}
				time.Sleep(10 * time.Minute)
				got, err := journal.NewLocker(s, journal.Options{}).Living(t.Context(), run)
				if err != nil || got.State != c.want || (got.Error == "") != (c.want == jobs.Running) {
					t.Errorf("%v, %+v", err, got)
				}
				if kept := open(t, j, run.RunID); kept.State != jobs.Running {
					t.Errorf("looking changed the journal: %+v", kept)
				}
				end()
			})
		})
	}
}

// A run without a lock lives while its record is written anew.
func TestRunWithoutALockIsDeadWithoutASignOfLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New()
		j := journal.New(s)
		run := begun(t, j, at("verify", 3))
		run.Unlocked = true
		state := func() jobs.State {
			t.Helper()
			if err := j.Save(t.Context(), run); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * jobs.Beat)
			got, err := journal.NewLocker(s, journal.Options{}).Living(t.Context(), run)
			if err != nil {
				t.Fatal(err)
			}
			return got.State
		}
		for range 3 {
			if got := state(); got != jobs.Running {
				t.Errorf("with a sign of life it is %s", got)
			}
		}
		saved := time.Now().Add(-10 * jobs.Beat).UTC()
		time.Sleep(time.Second)
		got, err := journal.NewLocker(s, journal.Options{}).Living(t.Context(), run)
		if err != nil || got.State != jobs.Interrupted || !got.Ended.Equal(saved) || !strings.HasSuffix(got.Error, "; no sign of life for 10m1s") {
			t.Errorf("%v, %+v", err, got)
		}
		if kept := open(t, j, run.RunID); kept.State != jobs.Running {
			t.Errorf("looking changed the journal: %+v", kept)
		}
		run.State = jobs.Done
		if got := state(); got != jobs.Done {
			t.Errorf("done, it is %s", got)
		}
	})
}

// It ended between the look at the journal and that at the lock.
func TestRunThatJustEndedIsShownAsItEnded(t *testing.T) {
	s := mem.New()
	j := journal.New(s)
	early := begun(t, j, at("prune", 3))
	late := open(t, j, early.RunID)
	late.State = jobs.Done
	if err := j.Save(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	got, err := journal.NewLocker(s, journal.Options{}).Living(t.Context(), early)
	if err != nil || got.State != jobs.Done {
		t.Errorf("%v, %+v", err, got)
	}
}

// Who waits says for whom.
func TestWaitingIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := mem.New()
		_, release := mustLock(t, journal.NewLocker(s, journal.Options{}))
		time.AfterFunc(30*time.Second, release)
		var told []string
		l := journal.NewLocker(s, journal.Options{Wait: time.Minute, Waiting: func(holder string) { told = append(told, holder) }})
		_, again, err := l.Lock(context.WithoutCancel(t.Context()), server, "backup")
		if err != nil {
			t.Fatal(err)
		}
		_ = again()
		if len(told) != 1 || !strings.HasPrefix(told[0], "prune-20261125T030000Z on ") {
			t.Errorf("told %q", told)
		}
	})
}
