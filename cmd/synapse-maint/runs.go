package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/synapse-maint/synapse-maint/cmd/internal/app"
	"github.com/synapse-maint/synapse-maint/cmd/internal/progress"
	"github.com/synapse-maint/synapse-maint/jobs"
)

func (p *program) runsCommand() *cobra.Command {
	last, follow := 20, false
	cmd := &cobra.Command{
		Use:   "runs [RUN]",
		Short: "The journal: what ran, when, and how it ended",
		Long: `Lists the newest runs, or shows one in full. With --follow it waits until the run ends, or
the newest one at work, and ends with the exit code that the run's own command has.`,
		Args: between(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case follow:
				return p.runFollow(cmd.Context(), args)
			case len(args) == 1:
				return p.runRun(cmd.Context(), args[0])
			}
			return p.runRuns(cmd.Context(), last)
		},
	}
	cmd.Flags().BoolVar(&follow, "follow", false, "wait until the run ends")
	cmd.Flags().IntVar(&last, "last", last, "how many runs are listed")
	return cmd
}

func (p *program) runRuns(ctx context.Context, last int) error {
	if last < 1 {
		return app.Usagef("--last %d: it is at least 1", last)
	}
	a, err := p.archive(ctx, "")
	if err != nil {
		return err
	}
	all, err := newestRuns(ctx, a, last)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("The journal of %s has no run yet\n", a.Name)
	if len(all) > 0 {
		var rows [][]string
		for _, run := range all {
			rows = append(rows, []string{run.String(), string(run.State), took(run.Started, run.Ended), run.Host, p.errorColumn(run.Error)})
		}
		text = p.table([]string{"RUN", "STATE", ">TOOK", "HOST", "ERROR"}, rows)
	}
	return p.print(all, text)
}

// newestRuns are the newest of all jobs, newest first.
func newestRuns(ctx context.Context, a *app.Archive, last int) ([]*jobs.Run, error) {
	all := []*jobs.Run{}
	for _, job := range app.JobNames() {
		n := 0
		for run, err := range a.Journal().Runs(ctx, a.Name, job) {
			if run == nil || run.Job == "" {
				return nil, err
			}
			if err != nil {
				run.Error = err.Error()
			}
			all = append(all, a.Living(ctx, run))
			if n++; n == last {
				break
			}
		}
	}
	slices.SortFunc(all, func(a, b *jobs.Run) int { return b.Due.Compare(a.Due) })
	return all[:min(last, len(all))], nil
}

func (p *program) runRun(ctx context.Context, name string) error {
	a, err := p.archive(ctx, "")
	if err != nil {
		return err
	}
	run, err := findRun(ctx, a, name)
	if err != nil {
		return err
	}
	return p.print(run, p.runText(run))
}

func findRun(ctx context.Context, a *app.Archive, name string) (*jobs.Run, error) {
	id, err := jobs.ParseRunID(a.Name, name)
	if err != nil {
		return nil, app.Usagef("%v", err)
	}
	run, err := a.Journal().Open(ctx, id)
	if err != nil {
		return nil, err
	}
	if run.Tag == "" {
		return nil, app.Nothingf("the journal of %s has no run %s: see runs", a.Name, id)
	}
	return a.Living(ctx, run), nil
}

func (p *program) runText(run *jobs.Run) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-8s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "%s of %s\n", run, run.Homeserver)
	line("state", "%s", run.State)
	line("started", "%s, %s, on %s (process %d)", stamp(run.Started), took(run.Started, run.Ended), run.Host, run.PID)
	if len(run.Request) > 0 {
		line("request", "%s", run.Request)
	}
	if run.Error != "" {
		line("error", "%s", run.Error)
	}
	var rows [][]string
	for _, s := range run.Steps {
		rows = append(rows, []string{s.Name, string(s.State), took(s.Started, s.Ended), s.Error})
	}
	if len(rows) > 0 {
		b.WriteString("\n" + p.table([]string{"STEP", "STATE", ">TOOK", "ERROR"}, rows))
	}
	return progress.Fold(b.String())
}

// took is how long something took, or that it has no end yet.
func took(started, ended time.Time) string {
	if ended.IsZero() || started.IsZero() {
		return "-"
	}
	return progress.Duration(ended.Sub(started))
}

// errorColumn is an error as a list shows it: cut where a person looks, who can
// ask for the run, and whole in a mail of cron.
func (p *program) errorColumn(text string) string {
	if isTerminal(p.out) {
		return short(text, 36)
	}
	return text
}

// short cuts a text for a column.
func short(text string, most int) string {
	if letters := []rune(text); len(letters) > most {
		return string(letters[:most-1]) + "…"
	}
	return text
}
