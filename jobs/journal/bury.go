package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
)

// bury marks the run as interrupted whose lock was taken over from a holder
// that did not give it back: nobody else will ever say how it ended. What it
// can't do is no reason not to work.
func (l *Locker) bury(ctx context.Context, dead, heir *record) {
	id, err := jobs.ParseRunID(dead.Name, dead.Purpose)
	if dead.Released || err != nil {
		return
	}
	j := New(l.store)
	run, err := j.read(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return // it was killed before it wrote anything
	}
	if err == nil && run.State == jobs.Running {
		interrupted(run, dead.seen, "the lock was taken over by "+heir.holder())
		err = j.Save(ctx, run)
	}
	if err != nil {
		l.opt.Log.WarnContext(ctx, "run not marked as interrupted", "run", id.String(), "error", err)
	}
}

// interrupted makes of a running run what it is without its process. seen is
// when there was a sign of life of it.
func interrupted(run *jobs.Run, seen time.Time, what string) {
	if seen.Before(run.Started) {
		seen = run.Started
	}
	seen = seen.UTC()
	run.State, run.Ended = jobs.Interrupted, seen
	run.Error = fmt.Sprintf("its process (pid %d on %s) was killed or lost the store; %s", run.PID, run.Host, what)
	for i := range run.Steps {
		if s := &run.Steps[i]; s.State == jobs.Running {
			s.State, s.Ended = jobs.Interrupted, seen
		}
	}
}

// Living returns a run that the journal has as running as it is: one whose lock
// nobody holds any more, or whose holder is dead, is interrupted. The journal
// itself is not changed: that is for who takes the lock.
//
// So is one of a job that needs no lock and whose record is as it was for ten
// of the [jobs.Beat]s that its process would have written.
func (l *Locker) Living(ctx context.Context, run *jobs.Run) (*jobs.Run, error) {
	switch {
	case run.State != jobs.Running:
		return run, nil
	case run.Unlocked:
		return l.breathing(ctx, run)
	}
	rec, tag, err := l.read(ctx, run.Homeserver)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return run, err
	}
	if err == nil && !rec.Released && rec.Purpose == run.String() {
		dead, err := l.dead(ctx, rec, tag)
		if err != nil || !dead {
			return run, err
		}
		run := *run
		interrupted(&run, rec.seen, "the next run takes the lock over")
		return &run, nil
	}
	// It may have ended between the two looks.
	now, err := New(l.store).read(ctx, run.RunID)
	if err != nil {
		return run, err
	}
	if now.State == jobs.Running {
		interrupted(now, lastSign(now), "nobody holds its lock")
	}
	return now, nil
}

// breathing is Living for a run without a lock. Both times are the store's.
func (l *Locker) breathing(ctx context.Context, run *jobs.Run) (*jobs.Run, error) {
	now, err := l.storeTime(ctx, run.Homeserver)
	if err != nil {
		return run, err
	}
	o, err := l.store.Stat(ctx, key(run.RunID))
	if err != nil {
		return run, fmt.Errorf("look at run %s: %w", run.RunID, err)
	}
	last, err := New(l.store).read(ctx, run.RunID)
	if err != nil {
		return run, err
	}
	if age := now.Sub(o.Modified); last.State == jobs.Running && last.Tag == o.Tag && age > 10*jobs.Beat {
		interrupted(last, o.Modified, fmt.Sprintf("no sign of life for %s", age.Round(time.Second)))
	}
	return last, nil
}

// dead says whether a holder is gone: for certain, or by the age of its last
// heartbeat.
func (l *Locker) dead(ctx context.Context, rec *record, tag string) (bool, error) {
	if rec.Process.gone(l.self) {
		return true, nil
	}
	w := watch{tag: tag}
	return w.silent(ctx, l, rec)
}

// lastSign is the newest time that a run's record tells of.
func lastSign(run *jobs.Run) time.Time {
	last := run.Started
	for _, s := range run.Steps {
		for _, at := range []time.Time{s.Started, s.Ended} {
			if at.After(last) {
				last = at
			}
		}
	}
	return last
}
