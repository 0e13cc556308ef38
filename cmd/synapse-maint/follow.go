package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/synapse-maint/synapse-maint/cmd/internal/app"
	"github.com/synapse-maint/synapse-maint/jobs"
)

const (
	// followEvery is how often the journal is read: two requests each time.
	followEvery = 2 * time.Second
	// aliveEvery is how often a followed run's lock is looked at.
	aliveEvery = 30 * time.Second
)

// errRunInterrupted says that the run that was followed was interrupted.
var errRunInterrupted = errors.New("the run was interrupted")

// runFollow waits until a run ends: the one named, or the newest at work.
func (p *program) runFollow(ctx context.Context, args []string) error {
	a, err := p.archive(ctx, "")
	if err != nil {
		return err
	}
	var run *jobs.Run
	if len(args) == 1 {
		run, err = findRun(ctx, a, args[0])
	} else {
		run, err = newestAtWork(ctx, a)
	}
	if err == nil {
		run, err = p.follow(ctx, a, run)
	}
	if err != nil {
		return err
	}
	if err := p.print(run, p.runText(run)); err != nil {
		return err
	}
	return endOf(run)
}

func newestAtWork(ctx context.Context, a *app.Archive) (*jobs.Run, error) {
	const searched = 50 // runs; one at work is among the newest
	all, err := newestRuns(ctx, a, searched)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(r *jobs.Run) bool { return r.State == jobs.Running })
	if i < 0 {
		return nil, app.Nothingf("no run of %s is at work: see runs", a.Name)
	}
	return all[i], nil
}

// follow shows a run's step as it goes, and returns it as it ended.
func (p *program) follow(ctx context.Context, a *app.Archive, run *jobs.Run) (*jobs.Run, error) {
	defer p.report.Stop()
	step, looked := "", time.Now()
	for run.State == jobs.Running {
		if now := stepAtWork(run); now != step {
			step = now
			p.report.Start(run.Job + ", " + step)
		}
		select {
		case <-ctx.Done():
			return run, hinted{context.Cause(ctx), fmt.Sprintf("%s goes on", run)}
		case <-time.After(followEvery):
		}
		next, err := a.Journal().Open(ctx, run.RunID)
		if err != nil {
			return run, err
		}
		if time.Since(looked) >= aliveEvery {
			next, looked = a.Living(ctx, next), time.Now()
		}
		run = next
	}
	return run, nil
}

// stepAtWork is the step that a run is at; empty while it plans.
func stepAtWork(run *jobs.Run) string {
	for _, s := range run.Steps {
		if s.State == jobs.Running {
			return s.Name
		}
	}
	return "plan"
}

// endOf is the error that a run's own command ended with.
func endOf(run *jobs.Run) error {
	switch run.State {
	case jobs.Done:
		return nil
	case jobs.Incomplete:
		return fmt.Errorf("%s: %w: %s", run, jobs.ErrIncomplete, run.Error)
	case jobs.Interrupted:
		return hinted{fmt.Errorf("%s: %w", run, errRunInterrupted), fmt.Sprintf("%s: %s", run, run.Error)}
	default:
		return fmt.Errorf("%s failed: %s", run, run.Error)
	}
}
