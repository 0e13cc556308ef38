package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/synapse-maint/synapse-maint/cmd/internal/app"
	"github.com/synapse-maint/synapse-maint/jobs"
)

func TestExitCodes(t *testing.T) {
	t.Parallel()
	interrupted, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	for _, c := range []struct {
		ctx  context.Context
		err  error
		want int
	}{
		{t.Context(), nil, 0},
		{interrupted, nil, 0}, // it was done all the same
		{t.Context(), errors.New("x"), 1},
		{t.Context(), context.DeadlineExceeded, 1},
		{t.Context(), app.Usagef("x"), 2},
		{t.Context(), fmt.Errorf("export: %w", jobs.ErrIncomplete), 3},
		{t.Context(), app.Nothingf("x"), 4},
		{t.Context(), fmt.Errorf("backup: %w", jobs.ErrLocked), 11},
		{t.Context(), endOf(&jobs.Run{State: jobs.Done}), 0},
		{t.Context(), endOf(&jobs.Run{State: jobs.Failed}), 1},
		{t.Context(), endOf(&jobs.Run{State: jobs.Incomplete}), 3},
		{t.Context(), endOf(&jobs.Run{State: jobs.Interrupted}), 130},
		{interrupted, hinted{context.Canceled, "go on"}, 130},
	} {
		if got := exitCode(c.ctx, c.err); got != c.want {
			t.Errorf("%v: exit code %d, want %d", c.err, got, c.want)
		}
	}
}

// Every flag of every command is explained in it, and every global one, its
// variable and every exit code in the documentation.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	root := newProgram(os.Stdin, os.Stdout, os.Stderr).command()
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		for _, want := range []string{"--" + f.Name, variable(f.Name)} {
			if !strings.Contains(string(text), want) {
				t.Errorf("%s is not documented", want)
			}
		}
	})
	for _, code := range []int{exitDone, exitFailed, exitUsage, exitIncomplete, exitNothing, exitLocked, exitInterrupted} {
		if !strings.Contains(string(text), fmt.Sprintf("| %d |", code)) {
			t.Errorf("exit code %d is not documented", code)
		}
	}
	explained(t, root)
}

func explained(t *testing.T, cmd *cobra.Command) {
	t.Helper()
	if cmd.Short == "" {
		t.Errorf("%s does not say what it does", cmd.CommandPath())
	}
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Usage == "" {
			t.Errorf("%s --%s does not say what it is", cmd.CommandPath(), f.Name)
		}
	})
	for _, c := range cmd.Commands() {
		explained(t, c)
	}
}
