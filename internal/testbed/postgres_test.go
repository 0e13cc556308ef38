package testbed_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

func TestPostgresIsSharedWithinATestProcess(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	if again := testbed.Postgres(t); again != p {
		t.Error("a second server was started")
	}
}

func TestDatabaseIsAsSynapseWantsIt(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	url := p.Database(t, testbed.OwnedBySynapse())
	got := query(t, url, `SELECT concat_ws(' ', current_user, usesuper, usecreatedb, pg_encoding_to_char(encoding), datcollate, datctype, pg_get_userbyid(datdba))
		FROM pg_database, pg_user WHERE datname = current_database() AND usename = current_user`)
	if want := "synapse f t UTF8 C C synapse"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDatabaseIsDroppedAtTheEnd(t *testing.T) {
	p := testbed.Postgres(t)
	t.Run("uses one", func(t *testing.T) { p.Database(t, testbed.Named("short lived")) })
	if n := query(t, p.URL("postgres"), `SELECT count(*)::text FROM pg_database WHERE datname = 'short lived'`); n != "0" {
		t.Error("the database is still there")
	}
}

func TestServerComesBackAfterStopAndKill(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	p, err := testbed.StartPostgres(ctx, testbed.PGOptions{Durable: true, Settings: map[string]string{"work_mem": "7MB"}})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Exec(ctx, "postgres", "CREATE TABLE kept (a int)"); err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(testing.TB){"stop": p.Stop, "kill": p.Kill} {
		end(t)
		if _, err := pgx.Connect(ctx, p.URL("postgres")); err == nil {
			t.Fatalf("%s: the server still answers", name)
		}
		p.Start(t)
	}
	if got := query(t, p.URL("postgres"), `SELECT concat_ws(' ', to_regclass('kept'), current_setting('fsync'), current_setting('work_mem'))`); got != "kept on 7MB" {
		t.Errorf("got %q", got)
	}
	dir := p.Dir()
	p.Close()
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("folder after Close: %v", err)
	}
}

// The test runs itself again as a process that starts a server and is killed.
func TestNothingOutlivesAKilledTestProcess(t *testing.T) {
	if report := os.Getenv("TESTBED_REPORT"); report != "" {
		if err := os.WriteFile(report, []byte(testbed.Postgres(t).Dir()), 0o600); err != nil {
			t.Fatal(err)
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	report := filepath.Join(t.TempDir(), "report")
	cmd := exec.Command(os.Args[0], "-test.run=^TestNothingOutlivesAKilledTestProcess$")
	cmd.Env = append(os.Environ(), "TESTBED_REPORT="+report)
	if err := cmd.Run(); err == nil {
		t.Fatal("the process was not killed")
	}
	dir, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the folder is gone", func() bool {
		_, err := os.Stat(string(dir))
		return errors.Is(err, fs.ErrNotExist)
	})
	until(t, "its processes have ended, who removed it too", func() bool {
		out, err := exec.Command("ps", "-eo", "args").Output()
		return err == nil && !strings.Contains(string(out), string(dir))
	})
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not so after 20 s: %s", what)
		}
	}
}

// query returns a query's one value.
func query(t *testing.T, url, sql string) (value string) {
	t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	if err := c.QueryRow(ctx, sql).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// All versions run natively, with the extensions that Debian ships along.
func TestPostgresVersions(t *testing.T) {
	t.Parallel()
	for _, major := range testbed.PostgresVersions() {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			p := testbed.PostgresVersion(t, major)
			name := fmt.Sprintf("version %d", major)
			url := p.Database(t, testbed.Named(name))
			if err := p.Exec(t.Context(), name, "CREATE EXTENSION pgcrypto"); err != nil {
				t.Fatal(err)
			}
			got := query(t, url, `SELECT current_setting('server_version_num')::int / 10000 || ' ' || encode(digest('', 'md5'), 'hex')`)
			if want := strconv.Itoa(major) + " d41d8cd98f00b204e9800998ecf8427e"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			for _, name := range []string{"pg_dump", "pg_restore", "psql"} {
				out, err := exec.Command(filepath.Join(p.BinDir(), name), "--version").CombinedOutput()
				if err != nil || !strings.Contains(string(out), fmt.Sprintf("(PostgreSQL) %d.", major)) {
					t.Errorf("%s: %v: %s", name, err, out)
				}
			}
			dump := exec.Command(filepath.Join(p.BinDir(), "pg_dump"), "--schema-only", url)
			if out, err := dump.CombinedOutput(); err != nil || !strings.Contains(string(out), "pgcrypto") {
				t.Errorf("pg_dump: %v: %s", err, out)
			}
		})
	}
}
