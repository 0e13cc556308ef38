package main

import (
	"context"
	"errors"

	"github.com/synapse-maint/synapse-maint/cmd/internal/app"
	"github.com/synapse-maint/synapse-maint/jobs"
)

// The exit codes. Scripts depend on them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitIncomplete  = 3
	exitNothing     = 4
	exitLocked      = 11
	exitInterrupted = 130
)

func exitCode(ctx context.Context, err error) int {
	switch {
	case err == nil:
		return exitDone
	case errors.Is(context.Cause(ctx), errInterrupted), errors.Is(err, errRunInterrupted):
		return exitInterrupted
	case errors.Is(err, app.ErrUsage):
		return exitUsage
	case errors.Is(err, app.ErrNothing):
		return exitNothing
	case errors.Is(err, jobs.ErrLocked):
		return exitLocked
	case errors.Is(err, jobs.ErrIncomplete):
		return exitIncomplete
	default:
		return exitFailed
	}
}
