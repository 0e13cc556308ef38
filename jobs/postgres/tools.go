package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// toolDirs is where distributions put PostgreSQL's programs, version by
// version: Debian and its children, the PostgreSQL project's own RPMs, Alpine.
var toolDirs = []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/libexec/postgresql*"}

// Tools finds PostgreSQL's programs. A program is asked for its version once.
type Tools struct {
	dir   string
	paths []string       // of the program, where they are known; else nil
	known map[string]int // major version by path; 0: it doesn't run
}

// FindTools looks in a folder, or where distributions put the programs and then
// in PATH if dir is empty. It is not safe for concurrent use.
func FindTools(dir string) *Tools { return &Tools{dir: dir, known: map[string]int{}} }

// PgDump returns the oldest pg_dump that can dump from a server, given its
// major version: one that is older than the server refuses to.
func (t *Tools) PgDump(ctx context.Context, server int) (string, error) {
	return t.find(ctx, "pg_dump", server, server, fmt.Sprintf("the server is PostgreSQL %d", server))
}

// PgRestore returns a pg_restore that reads archives of a pg_dump, given its
// major version (0: unknown): the server's own version if it can, else the next
// newer.
func (t *Tools) PgRestore(ctx context.Context, dump, server int) (string, error) {
	return t.find(ctx, "pg_restore", readsArchivesOf(dump), server, fmt.Sprintf("the backup was made by pg_dump %d", dump))
}

// readsArchivesOf is the oldest major version of pg_restore that reads the
// archives of a pg_dump: their format changed with 16 and with 17.
func readsArchivesOf(dump int) int {
	switch {
	case dump <= 15:
		return 12
	case dump == 16, dump == 17:
		return dump
	case dump == 18:
		return 17
	}
	return dump
}

// find returns the program of the preferred major version, else the next newer,
// else the newest that is not older than least.
func (t *Tools) find(ctx context.Context, name string, least, prefer int, why string) (string, error) {
	var found []string // with a version
	for _, path := range t.candidates(name) {
		v := t.major(ctx, path)
		if v >= least && v == prefer {
			return path, nil
		}
		if v > 0 {
			found = append(found, path)
		}
	}
	if err := ctx.Err(); err != nil {
		return "", context.Cause(ctx)
	}
	byVersion := func(a, b string) int { return t.known[a] - t.known[b] }
	slices.SortStableFunc(found, byVersion)
	if i := slices.IndexFunc(found, func(p string) bool { return t.known[p] >= max(least, prefer) }); i >= 0 {
		return found[i], nil
	}
	if n := len(found); n > 0 && t.known[found[n-1]] >= least {
		return found[n-1], nil
	}
	return "", t.missing(name, max(least, prefer), found, why)
}

// missing says which package to install.
func (t *Tools) missing(name string, want int, found []string, why string) error {
	have := "none was found"
	if len(found) > 0 {
		newest := found[len(found)-1]
		have = fmt.Sprintf("the newest that was found is %s of version %d", newest, t.known[newest])
	}
	where := ""
	if t.dir != "" {
		if _, err := os.Stat(filepath.Join(t.dir, name)); err != nil {
			return fmt.Errorf("no %s in %s: %w; %s: name the folder that has it (--pg-bin-dir), or install the package postgresql-client-%d",
				name, t.dir, reason(err), why, want)
		}
		where = " in " + t.dir
	}
	return fmt.Errorf("no fitting %s%s: %s, and %s; install the package postgresql-client-%d", name, where, why, have, want)
}

// reason is why a file can't be had, without its name.
func reason(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

// candidates are the paths where a program may be, PATH last.
func (t *Tools) candidates(name string) []string {
	if t.paths != nil {
		return t.paths
	}
	if t.dir != "" {
		return []string{filepath.Join(t.dir, name)}
	}
	var paths []string
	for _, pattern := range toolDirs {
		found, _ := filepath.Glob(filepath.Join(pattern, name)) // the patterns are well-formed
		paths = append(paths, found...)
	}
	if path, err := exec.LookPath(name); err == nil {
		paths = append(paths, path)
	}
	return paths
}

var versionLine = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// major asks a program for its major version; 0 if it doesn't tell.
func (t *Tools) major(ctx context.Context, path string) int {
	if v, ok := t.known[path]; ok {
		return v
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, path, "--version").Output() // no output, no version
	v := 0
	if m := versionLine.FindSubmatch(out); m != nil {
		v, _ = strconv.Atoi(string(m[1]))
	}
	if ctx.Err() == nil {
		t.known[path] = v
	}
	return v
}

// programError is what a program says on standard error, as one line: its last,
// which names what went wrong, and the reason that may stand before it.
func programError(stderr string) string {
	var lines []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "pg_dump: hint:") {
			lines = append(lines, line)
		}
	}
	const most = 3
	if len(lines) > most {
		lines = append(lines[:most], "…")
	}
	return strings.Join(lines, "; ")
}
