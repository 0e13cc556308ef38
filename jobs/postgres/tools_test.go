package postgres

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

// toolbox is a folder with a program that says it is of a version.
func toolbox(t testing.TB, version string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"pg_dump", "pg_restore"} {
		script := fmt.Sprintf("#!/bin/sh\necho '%s (PostgreSQL) %s (Debian %s-1)'\n", name, version, version)
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(script), 0o700)) //nolint:gosec // it is a program
	}
	return dir
}

// versionsIn makes Tools that find programs of these versions.
func versionsIn(t testing.TB, name string, versions ...int) *Tools {
	t.Helper()
	tools := FindTools("")
	tools.paths = []string{}
	for _, v := range versions {
		path := filepath.Join("/v", fmt.Sprint(v), name)
		tools.paths = append(tools.paths, path)
		tools.known[path] = v
	}
	return tools
}

func TestPgDumpIsTheOldestThatIsNotOlderThanTheServer(t *testing.T) {
	for _, c := range []struct {
		server int
		have   []int
		want   string
	}{
		{15, []int{13, 15, 17}, "/v/15/pg_dump"},
		{14, []int{13, 18, 15, 17}, "/v/15/pg_dump"},
		{17, []int{13, 15}, "install the package postgresql-client-17"},
		{17, nil, "none was found; install the package postgresql-client-17"},
		{17, []int{0, 15}, "/v/15/pg_dump of version 15"},
	} {
		got, err := versionsIn(t, "pg_dump", c.have...).PgDump(t.Context(), c.server)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("server %d with %v: %s", c.server, c.have, got)
		}
	}
}

func TestPgRestoreReadsTheArchiveAndSuitsTheServer(t *testing.T) {
	for _, c := range []struct {
		dump, server int
		have         []int
		want         string
	}{
		{15, 15, []int{13, 15, 17}, "/v/15/pg_restore"},
		{15, 17, []int{13, 15, 17}, "/v/17/pg_restore"},
		{17, 15, []int{13, 15, 17, 18}, "/v/17/pg_restore"},
		{18, 17, []int{17, 18}, "/v/17/pg_restore"},
		{13, 17, []int{12, 13, 15}, "/v/15/pg_restore"},
		{16, 15, []int{15}, "install the package postgresql-client-16"},
		{19, 15, []int{15, 18}, "install the package postgresql-client-19"},
		{0, 15, []int{15}, "/v/15/pg_restore"},
	} {
		got, err := versionsIn(t, "pg_restore", c.have...).PgRestore(t.Context(), c.dump, c.server)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("dump %d, server %d with %v: %s", c.dump, c.server, c.have, got)
		}
	}
}

func TestProgramsAreFoundInAFolder(t *testing.T) {
	dir := toolbox(t, "17.10")
	got, err := FindTools(dir).PgDump(t.Context(), 16)
	if err != nil || got != filepath.Join(dir, "pg_dump") {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := FindTools(t.TempDir()).PgDump(t.Context(), 15); err == nil {
		t.Error("found in an empty folder")
	}
	real, err := FindTools("").PgDump(t.Context(), testbed.Postgres(t).Major())
	if err != nil || real == "" {
		t.Errorf("nothing is installed: %v", err)
	}
}

// Two weeks without backups, noticed by chance: the error names what to do.
func TestAPgDumpOlderThanTheServerIsRefused(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	dsn := p.Database(t)
	refused(t, dsn, Options{BinDir: toolbox(t, "13.4")}, "no fitting pg_dump", "version 13", fmt.Sprintf("postgresql-client-%d", p.Major()))
	refused(t, dsn, Options{BinDir: t.TempDir()}, "no pg_dump in /", "no such file or directory", fmt.Sprintf("postgresql-client-%d", p.Major()))
}
