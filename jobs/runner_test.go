package jobs_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/journal"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

const server = "matrix.example.org"

// script is a job made of functions.
type script struct {
	steps    []jobs.Step
	planErr  error
	unlocked bool
}

func (*script) Name() string     { return "backup" }
func (s *script) Unlocked() bool { return s.unlocked }

func (s *script) Plan(context.Context, *jobs.Run) ([]jobs.Step, error) { return s.steps, s.planErr }

// bundle is a runner on a store of its own, and what it did.
type bundle struct {
	*jobs.Runner
	store *mem.Store
	did   []string
}

func setup(t *testing.T) *bundle {
	t.Helper()
	s := mem.New()
	return &bundle{
		Runner: &jobs.Runner{Journal: journal.New(s), Locker: journal.NewLocker(s, journal.Options{})},
		store:  s,
	}
}

// step returns a step that says that it was done, and then returns err.
func (b *bundle) step(name string, err error) jobs.Step {
	return jobs.Step{Name: name, Do: func(context.Context) (any, error) {
		b.did = append(b.did, name)
		return map[string]string{"made": name}, err
	}}
}

func always(s jobs.Step) jobs.Step {
	s.Always = true
	return s
}

func again(s jobs.Step) jobs.Step {
	s.Again = true
	return s
}

func due() jobs.RunID {
	return jobs.RunID{Job: "backup", Homeserver: server, Due: time.Date(2026, 11, 25, 2, 0, 0, 0, time.UTC)}
}

// saved is the run as the journal has it.
func (b *bundle) saved(t *testing.T) *jobs.Run {
	t.Helper()
	run, err := b.Journal.Open(context.WithoutCancel(t.Context()), due())
	if err != nil {
		t.Fatal(err)
	}
	return run
}

func states(run *jobs.Run) (text string) {
	for _, s := range run.Steps {
		text += s.Name + ":" + string(s.State) + " "
	}
	return text + string(run.State)
}

func TestRun(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk is full")
	for _, c := range []struct {
		name  string
		steps func(b *bundle) []jobs.Step
		did   string
		want  string // states
		err   error
	}{
		{
			name:  "every step",
			steps: func(b *bundle) []jobs.Step { return []jobs.Step{b.step("copy", nil), b.step("commit", nil)} },
			did:   "copy commit", want: "copy:done commit:done done",
		},
		{
			name: "a failure ends it, what is Always runs",
			steps: func(b *bundle) []jobs.Step {
				return []jobs.Step{b.step("stop", nil), b.step("copy", broken), b.step("commit", nil), always(b.step("start", nil))}
			},
			did: "stop copy start", want: "stop:done copy:failed start:done failed", err: broken,
		},
		{
			name: "a panic is a failure",
			steps: func(b *bundle) []jobs.Step {
				boom := jobs.Step{Name: "copy", Do: func(context.Context) (any, error) { panic("index out of range") }}
				return []jobs.Step{boom, b.step("commit", nil), always(b.step("start", nil))}
			},
			did: "start", want: "copy:failed start:done failed", err: errAny,
		},
		{
			name: "in part",
			steps: func(b *bundle) []jobs.Step {
				return []jobs.Step{b.step("media", fmt.Errorf("2 files: %w", jobs.ErrIncomplete)), b.step("commit", nil)}
			},
			did: "media commit", want: "media:incomplete commit:done incomplete", err: jobs.ErrIncomplete,
		},
		{
			name: "a note that is no JSON is a failure",
			steps: func(b *bundle) []jobs.Step {
				return []jobs.Step{{Name: "copy", Do: func(context.Context) (any, error) { return func() {}, nil }}}
			},
			want: "copy:failed failed", err: errAny,
		},
		{
			name:  "two steps of one name",
			steps: func(b *bundle) []jobs.Step { return []jobs.Step{b.step("copy", nil), b.step("copy", nil)} },
			want:  "failed", err: errAny,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			run, err := b.Run(t.Context(), &script{steps: c.steps(b)}, due())
			if anyWill := errors.Is(c.err, errAny); anyWill && err == nil || !anyWill && !errors.Is(err, c.err) {
				t.Errorf("error %v, want %v", err, c.err)
			}
			if err != nil && (strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "goroutine")) {
				t.Errorf("not one line: %q", err)
			}
			if got := strings.Join(b.did, " "); got != c.did {
				t.Errorf("did %q, want %q", got, c.did)
			}
			if got := states(run); got != c.want {
				t.Errorf("run %q, want %q", got, c.want)
			}
			if got := states(b.saved(t)); got != c.want {
				t.Errorf("journal %q, want %q", got, c.want)
			}
			b.mustBeUnlocked(t)
		})
	}
}

var errAny = errors.New("some error")

func (b *bundle) mustBeUnlocked(t *testing.T) {
	t.Helper()
	_, release, err := journal.NewLocker(b.store, journal.Options{}).Lock(context.WithoutCancel(t.Context()), server, "test")
	if err != nil {
		t.Fatalf("the lock stays: %v", err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}

func TestResumeSkipsWhatIsDone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	steps := func(commit error) *script {
		return &script{steps: []jobs.Step{
			b.step("stop", nil), again(b.step("snapshot", nil)), b.step("commit", commit), always(b.step("start", nil)),
		}}
	}
	if _, err := b.Run(t.Context(), steps(errAny), due()); !errors.Is(err, errAny) {
		t.Fatal(err)
	}
	b.did = nil
	run, err := b.Run(t.Context(), steps(nil), due())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(b.did, " "), "snapshot commit start"; got != want {
		t.Errorf("did %q, want %q", got, want)
	}
	var note map[string]string
	if err := run.Note("stop", &note); err != nil || note["made"] != "stop" {
		t.Errorf("note of the earlier attempt: %v, %v", note, err)
	}
	if err := run.Note("absent", &note); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("note of a step that is not: %v", err)
	}
	if run.Error != "" {
		t.Errorf("the old error stays: %q", run.Error)
	}
}

// The same tick twice is one run.
func TestDoneRunIsNotRepeated(t *testing.T) {
	t.Parallel()
	b := setup(t)
	job := &script{steps: []jobs.Step{b.step("copy", nil)}}
	for range 2 {
		if _, err := b.Run(t.Context(), job, due()); err != nil {
			t.Fatal(err)
		}
	}
	if len(b.did) != 1 {
		t.Errorf("did %q", b.did)
	}
}

func TestRefusedPlanIsJournalled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	refused := errors.New("pg_dump 15 is older than the server 17: install postgresql-client-17")
	run, err := b.Run(t.Context(), &script{planErr: refused, steps: []jobs.Step{b.step("copy", nil)}}, due())
	if !errors.Is(err, refused) || run.State != jobs.Failed || len(b.did) > 0 {
		t.Errorf("%+v, did %v, %v", run, b.did, err)
	}
	if got := b.saved(t).Error; got != "backup: "+refused.Error() && got != refused.Error() {
		t.Errorf("journal says %q", got)
	}
}

// Two runs by hand in one second are two runs.
func TestFreshRunIsANewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := setup(t)
		for range 3 {
			id, err := b.Fresh(t.Context(), server, "backup")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Run(t.Context(), &script{steps: []jobs.Step{b.step("copy", nil)}}, id); err != nil {
				t.Fatal(err)
			}
		}
		if len(b.did) != 3 {
			t.Errorf("did %q", b.did)
		}
	})
}

func TestRunID(t *testing.T) {
	t.Parallel()
	id := due()
	if got, want := id.String(), "backup-20261125T020000Z"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for _, text := range []string{id.String(), "backup-20261125t020000z", " backup-20261125T020000Z\n"} {
		if got, err := jobs.ParseRunID(server, text); err != nil || got != id {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "backup", "20261125T020000Z", "backup-20261325T020000Z", "../x-20261125T020000Z", "backup-20261125T020000"} {
		if got, err := jobs.ParseRunID(server, text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

// A name is not said twice: "backup: backup: backup of …".
func TestErrorsNameJobAndStepOnce(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"backup of x: in use": "backup of x: in use",
		"backup: no":          "backup: no",
		"backups fail":        "backup: backups fail",
		"no":                  "backup: no",
	} {
		b := setup(t)
		_, err := b.Run(t.Context(), &script{steps: []jobs.Step{b.step("backup", errors.New(text))}}, due())
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// A run that holds no lock shows that it lives, however long a step takes; one
// that holds a lock need not.
func TestAStepThatTakesHoursShowsThatItLives(t *testing.T) {
	for _, unlocked := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			b := setup(t)
			long := jobs.Step{Name: "check", Do: func(ctx context.Context) (any, error) {
				last := ""
				for range 3 * 60 {
					time.Sleep(jobs.Beat)
					synctest.Wait()
					now := b.saved(t)
					if beats := now.Tag != last; beats != unlocked && last != "" || now.State != jobs.Running {
						t.Fatalf("unlocked %t: beats %t, %s", unlocked, beats, now.State)
					}
					last = now.Tag
				}
				return nil, nil
			}}
			run, err := b.Run(t.Context(), &script{steps: []jobs.Step{long}, unlocked: unlocked}, due())
			if err != nil || run.State != jobs.Done || b.saved(t).State != jobs.Done {
				t.Errorf("%v, %+v", err, run)
			}
		})
	}
}
