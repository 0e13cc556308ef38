package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/synapse-maint/synapse-maint/cmd/internal/app"
	"github.com/synapse-maint/synapse-maint/cmd/internal/progress"
	"github.com/synapse-maint/synapse-maint/jobs"
)

// program is what the commands share.
type program struct {
	in       *os.File
	out      *os.File
	err      io.Writer // writes above the progress bar
	terminal bool      // standard error is one: somebody looks
	globals  globals
	report   *progress.Reporter
	log      *slog.Logger

	made *app.App      // see app
	wait time.Duration // how long runs wait for the lock

	warnOfPassword bool
	parsed         bool // the flags are what was asked for
	printed        bool // the result is on standard output
}

func newProgram(in, out, err *os.File) *program {
	p := &program{in: in, out: out, log: slog.New(slog.DiscardHandler), terminal: isTerminal(err)}
	o := progress.Options{Out: err}
	if p.terminal {
		o.Width = func() int { return columns(err) }
	}
	p.report = progress.New(o)
	p.err = p.report
	return p
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// columns is how wide a terminal is; some don't say.
func columns(f *os.File) int {
	if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
		return w
	}
	return 80
}

// startLog makes the log. People at a terminal see the progress and how it
// ends, so that the log is off there unless asked for.
func (p *program) startLog() error {
	if p.globals.logFormat == "json" && !p.terminal {
		p.report = progress.New(progress.Options{Out: os.Stderr, Line: progressRecord(os.Stderr)})
		p.err = p.report
	}
	level := p.globals.logLevel
	if level == "" {
		level = "info"
		if p.terminal {
			level = "off"
		}
	}
	if level == "off" {
		return nil
	}
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return app.Usagef("--log-level: %v", err)
	}
	if p.globals.logFormat == "json" {
		p.log = slog.New(slog.NewJSONHandler(p.err, &slog.HandlerOptions{Level: l}))
	} else {
		p.log = slog.New(slog.NewTextHandler(p.err, &slog.HandlerOptions{Level: l}))
	}
	return nil
}

// progressRecord is the line every ten seconds where the log is JSON.
func progressRecord(out io.Writer) func(label, what string, done, total int64) {
	log := slog.New(slog.NewJSONHandler(out, nil))
	return func(label, what string, done, total int64) {
		log.Info("progress", "step", label, "what", what, "done", done, "total", total)
	}
}

// warn tells what should be known, and does not end the program.
func (p *program) warn(text string) {
	fmt.Fprintln(p.err, p.paint(yellow, "synapse-maint: warning:", p.terminal)+" "+text)
}

// app decides, once, what holds of flags, environment and configuration file.
func (p *program) app() (a *app.App, err error) {
	if p.made != nil {
		return p.made, nil
	}
	defer func() { p.made = a }()
	if p.warnOfPassword {
		p.warn("the password in --database can be read by every user of this machine (ps): use PGPASSWORD, ~/.pgpass or the configuration's passwordFile")
	}
	g := p.globals
	return app.New(app.Options{
		Config: g.config, Homeserver: g.homeserver, Store: g.store, Database: g.database, Media: g.media, Configs: g.configs, Metrics: g.metrics, PgBinDir: g.pgBinDir,
		Jobs: g.jobs, Identities: g.identities, JobIdentity: g.jobIdentity, Wait: p.wait,
		Program: programName(), Log: p.log, Warn: p.warn,
		Progress: func(s jobs.Progress) { p.report.Update(s.What, s.Done, s.Total) },
		OnStep: func(run *jobs.Run, s jobs.StepRecord) {
			if s.State == jobs.Running {
				p.report.Start(run.Job + ", " + s.Name)
			} else {
				p.report.Stop()
			}
		},
	})
}

// archive opens the homeserver's archive in its store, or in the one named.
func (p *program) archive(ctx context.Context, from string) (*app.Archive, error) {
	a, err := p.app()
	if err != nil {
		return nil, err
	}
	found, err := a.Archive(ctx, from)
	if copies := a.Copies(); err != nil && from == "" && len(copies) > 0 && p.globals.store == "" &&
		!errors.Is(err, app.ErrUsage) && !errors.Is(err, app.ErrNothing) && ctx.Err() == nil {
		return nil, fmt.Errorf("%w; its copies are in %s: --store %s, or restore --from %s", err, strings.Join(copies, ", "), copies[0], copies[0])
	}
	return found, err
}

// ownArchive is archive for who knows of the copies himself.
func (p *program) ownArchive(ctx context.Context) (*app.Archive, error) {
	a, err := p.app()
	if err != nil {
		return nil, err
	}
	return a.Archive(ctx, "")
}

// print writes the result: as one JSON document, or as text.
func (p *program) print(v any, text string) error {
	p.printed = true
	if p.globals.output != "json" {
		_, err := io.WriteString(p.out, text)
		return err
	}
	e := json.NewEncoder(p.out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// confirm asks for the homeserver's name on the terminal before something is
// destroyed, unless --yes was given.
func (p *program) confirm(ctx context.Context, yes bool, homeserver, what string) error {
	if yes {
		return nil
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil || !isTerminal(p.in) {
		return app.Usagef("%s: nothing was touched; there is no terminal to ask on, so confirm with --yes", what)
	}
	defer tty.Close()
	fmt.Fprintf(tty, "%s. Type the homeserver's name (%s) to go on: ", what, homeserver)
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(tty).ReadString('\n') // nothing read is no answer
		answer <- strings.TrimSpace(line)
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(tty)
		return hinted{context.Cause(ctx), "nothing was touched"}
	case line := <-answer:
		if line != homeserver {
			return fmt.Errorf("%q is not %s: nothing was touched", line, homeserver)
		}
		return nil
	}
}

const (
	red    = "31"
	yellow = "33"
	bold   = "1"
)

func (p *program) paint(color, text string, terminal bool) string {
	if !terminal || p.globals.noColor || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}

// table sets a table for standard output.
func (p *program) table(heading []string, rows [][]string) string {
	terminal := isTerminal(p.out)
	head, body, _ := strings.Cut(progress.Table(heading, rows), "\n")
	body = strings.ReplaceAll(body, "DAMAGED", p.paint(red, "DAMAGED", terminal))
	return p.paint(bold, head, terminal) + "\n" + body
}
