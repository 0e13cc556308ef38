package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
)

func TestInterruptionRunsWhatIsAlways(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stopped := errors.New("terminated")
	copying := jobs.Step{Name: "copy", Do: func(ctx context.Context) (any, error) {
		cancel()
		<-ctx.Done()
		return nil, fmt.Errorf("copy out public.events: %w: %w", stopped, ctx.Err())
	}}
	start := jobs.Step{Name: "start", Always: true, Do: func(ctx context.Context) (any, error) {
		if _, limited := ctx.Deadline(); !limited || ctx.Err() != nil {
			t.Errorf("the context of what is Always: %v, limited %v", ctx.Err(), limited)
		}
		return nil, nil
	}}
	run, err := b.Run(ctx, &script{steps: []jobs.Step{copying, b.step("commit", nil), start}}, due())
	if !errors.Is(err, context.Canceled) || !errors.Is(err, stopped) {
		t.Errorf("error %v", err)
	}
	if got, want := states(run), "copy:interrupted start:done interrupted"; got != want {
		t.Errorf("run %q, want %q", got, want)
	}
	if got := states(b.saved(t)); got != states(run) {
		t.Errorf("journal %q", got)
	}
	b.mustBeUnlocked(t)
}

// The end may come between two steps, of which neither notices: what was to
// follow, such as a swap, does not.
func TestInterruptionBetweenSteps(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	check := jobs.Step{Name: "check", Do: func(context.Context) (any, error) { cancel(); return nil, nil }}
	run, err := b.Run(ctx, &script{steps: []jobs.Step{check, b.step("swap", nil), again(b.step("look", nil)), always(b.step("start", nil))}}, due())
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if got, want := strings.Join(b.did, " "), "start"; got != want {
		t.Errorf("did %q, want %q", got, want)
	}
	if got, want := states(b.saved(t)), "check:done start:done interrupted"; got != want || states(run) != want {
		t.Errorf("run %q, journal %q, want %q", states(run), got, want)
	}
	b.mustBeUnlocked(t)
}

// A stuck cleanup must not keep the process for ever.
func TestCleanupEndsWithItsGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		b.Grace = 5 * time.Second
		ctx, cancel := context.WithCancel(t.Context())
		cancelling := jobs.Step{Name: "copy", Do: func(context.Context) (any, error) { cancel(); return nil, nil }}
		stuck := jobs.Step{Name: "start", Always: true, Do: func(ctx context.Context) (any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		began := time.Now()
		run, err := b.Run(ctx, &script{steps: []jobs.Step{cancelling, b.step("commit", nil), stuck}}, due())
		if err == nil || run.State != jobs.Interrupted {
			t.Errorf("%v, %v", run.State, err)
		}
		if d := time.Since(began); d != 5*time.Second {
			t.Errorf("took %s", d)
		}
	})
}

func TestLockedRunTouchesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, release, err := b.Locker.Lock(t.Context(), server, "restore-20261125T013000Z")
	if err != nil {
		t.Fatal(err)
	}
	defer release() //nolint:errcheck // mem does not fail
	run, err := b.Run(t.Context(), &script{steps: []jobs.Step{b.step("copy", nil)}}, due())
	if !errors.Is(err, jobs.ErrLocked) || run != nil || len(b.did) > 0 {
		t.Errorf("run %v, did %v, error %v", run, b.did, err)
	}
	if !strings.Contains(err.Error(), "restore-20261125T013000Z") {
		t.Errorf("%q names no holder", err)
	}
	if saved := b.saved(t); !saved.Started.IsZero() {
		t.Errorf("journalled: %+v", saved)
	}
	if _, err := b.Run(t.Context(), &script{unlocked: true, steps: []jobs.Step{b.step("list", nil)}}, due()); err != nil {
		t.Errorf("a job that reads only: %v", err)
	}
}

// Who was taken over stops at once: another process is at work.
func TestOvertakenRunStops(t *testing.T) {
	t.Parallel()
	b := setup(t)
	overtaken := jobs.Step{Name: "copy", Do: func(context.Context) (any, error) {
		other := b.saved(t)
		other.Host = "other"
		return nil, b.Journal.Save(t.Context(), other)
	}}
	_, err := b.Run(t.Context(), &script{steps: []jobs.Step{overtaken, b.step("commit", nil), always(b.step("start", nil))}}, due())
	if !errors.Is(err, jobs.ErrStale) {
		t.Errorf("error %v", err)
	}
	if len(b.did) > 0 {
		t.Errorf("went on with %q", b.did)
	}
	if saved := b.saved(t); saved.Host != "other" || saved.State != jobs.Running {
		t.Errorf("wrote over the other's record: %+v", saved)
	}
}

// deaf is a journal whose nth save and all that follow fail.
type deaf struct {
	jobs.Journal
	n int
}

func (d *deaf) Save(ctx context.Context, run *jobs.Run) error {
	if d.n--; d.n < 0 {
		return errAny
	}
	return d.Journal.Save(ctx, run)
}

// The replica that a job had stopped must be started though the store is gone.
func TestCleanupRunsWithoutJournal(t *testing.T) {
	t.Parallel()
	for n := range 9 {
		b := setup(t)
		b.Journal = &deaf{b.Journal, n}
		_, err := b.Run(t.Context(), &script{steps: []jobs.Step{b.step("stop", nil), b.step("copy", nil), always(b.step("start", nil))}}, due())
		if n < 8 && !errors.Is(err, errAny) || n == 8 && err != nil {
			t.Errorf("save %d lost: error %v", n, err)
		}
		if stopped := slices.Contains(b.did, "stop"); stopped != slices.Contains(b.did, "start") {
			if stopped || n == 0 {
				t.Errorf("save %d lost: did %q", n, b.did)
			}
		}
	}
}

func TestLostLockStopsTheWork(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cause error
		did   string // by way of cleanup
	}{
		{fmt.Errorf("%w: no heartbeat", jobs.ErrLockLost), "start"}, // nobody else can have it yet
		{fmt.Errorf("%w: other has it", jobs.ErrStale), ""},
	} {
		b := setup(t)
		l := &losing{}
		b.Locker = l
		copying := jobs.Step{Name: "copy", Do: func(ctx context.Context) (any, error) {
			l.end(c.cause)
			return nil, ctx.Err()
		}}
		run, err := b.Run(t.Context(), &script{steps: []jobs.Step{copying, b.step("commit", nil), always(b.step("start", nil))}}, due())
		if !errors.Is(err, c.cause) || run.State != jobs.Failed {
			t.Errorf("%s, %v; want %v", run.State, err, c.cause)
		}
		if got := strings.Join(b.did, " "); got != c.did {
			t.Errorf("%v: did %q, want %q", c.cause, got, c.did)
		}
	}
}

type losing struct{ end context.CancelCauseFunc }

func (l *losing) Lock(ctx context.Context, _, _ string) (context.Context, func() error, error) {
	held, end := context.WithCancelCause(ctx)
	l.end = end
	return held, func() error { return nil }, nil
}
