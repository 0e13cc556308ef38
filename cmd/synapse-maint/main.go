// Command synapse-maint keeps Matrix Synapse homeservers recoverable.
//
// This package only parses and wires: one file a command, with its flags, what
// it prints and nothing else. It imports cmd/internal/app and, for their
// results, the packages of the jobs. Nothing imports it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
)

// version is set by the linker.
var version = ""

func main() { os.Exit(run()) }

func run() int {
	harden()
	p := newProgram(os.Stdin, os.Stdout, os.Stderr)
	ctx, stop := interruptible(context.Background(), func() {
		fmt.Fprintln(p.err, "synapse-maint: stopping in order; the next interrupt kills")
	})
	defer stop()
	err := p.command().ExecuteContext(ctx)
	p.report.Stop()
	code := exitCode(ctx, err)
	if err != nil {
		p.complain(err, code)
	}
	return code
}

const memory = 200 << 20 // bytes; beyond, the collector works harder. What is in use with two jobs stays within 256 MiB

// harden keeps secrets out of core files and of others' sight, and memory
// small. What it can't do is no reason not to work.
func harden() {
	// pg_dump's as well: children inherit it. Of one byte: 0 keeps none from a
	// program that core_pattern pipes them to, 1 does (core(5)).
	_ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{Cur: 1, Max: 1})
	syscall.Umask(0o077)
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memory)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50) // live memory is little, and what a backup hashes is garbage at once
	}
}

// errInterrupted is why the context ended.
var errInterrupted = errors.New("interrupted")

// interruptible returns a context that the first signal ends. The second kills
// as if there was no program to mind.
func interruptible(ctx context.Context, told func()) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	signals := []os.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup
		signals = append(signals, syscall.SIGHUP)
	}
	got := make(chan os.Signal, 1)
	signal.Notify(got, signals...)
	go func() {
		select {
		case <-got:
			signal.Stop(got)
			cancel(errInterrupted)
			told()
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(got)
		cancel(nil)
	}
}

// complain says in one line why it ends.
func (p *program) complain(err error, code int) {
	text := strings.Join(strings.Fields(err.Error()), " ")
	var h hinted
	if errors.As(err, &h) && code == exitInterrupted {
		text = "interrupted: " + h.hint
	} else if code == exitInterrupted {
		text = "interrupted"
	}
	fmt.Fprintln(p.err, p.paint(red, "synapse-maint:", p.terminal)+" "+text)
	if !p.parsed && jsonAsked(os.Args[1:]) {
		p.globals.output = "json"
	}
	if p.globals.output == "json" && !p.printed {
		_ = p.print(failure{text, code}, "") // the line above has said it
	}
}

// failure is in JSON what ended before it had a result.
type failure struct {
	Error    string `json:"error"`
	ExitCode int    `json:"exit_code"`
}

// hinted is an error with what to do after an interruption.
type hinted struct {
	error
	hint string
}

func (h hinted) Unwrap() error { return h.error }
