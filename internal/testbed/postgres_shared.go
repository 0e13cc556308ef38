package testbed

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Postgres returns the PostgreSQL server of this test process, which it
// starts at the first call: the newest version that is installed.
func Postgres(t testing.TB) *PG {
	t.Helper()
	return PostgresVersion(t, 0)
}

// PostgresVersions are the major versions that tests of the database run with:
// those in POSTGRES_VERSIONS, which make setup installs ("15 18"), else 15 and 17.
func PostgresVersions() []int {
	var list []int
	for word := range strings.FieldsSeq(os.Getenv("POSTGRES_VERSIONS")) {
		if major, err := strconv.Atoi(word); err == nil {
			list = append(list, major)
		}
	}
	if len(list) == 0 {
		return []int{15, 17}
	}
	return list
}

// PostgresVersion returns this test process's server of a major version. One
// that Debian's release doesn't have comes from the user's cache.
func PostgresVersion(t testing.TB, major int) *PG {
	t.Helper()
	start, _ := sharedPostgres.LoadOrStore(major, sync.OnceValues(func() (*PG, error) {
		return StartPostgres(context.Background(), PGOptions{Major: major})
	}))
	p, err := start.(func() (*PG, error))()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// sharedPostgres holds a sync.OnceValues for each version asked for. Its
// servers end with the process.
var sharedPostgres sync.Map

// DatabaseOption changes how [PG.Database] makes a database.
type DatabaseOption func(*databaseOptions)

type databaseOptions struct{ owner, name, clauses string }

// OwnedBySynapse makes [SynapseRole] the owner, and the URL one of that role.
func OwnedBySynapse() DatabaseOption { return func(o *databaseOptions) { o.owner = SynapseRole } }

// Named gives the database a name of the test's choice.
func Named(name string) DatabaseOption { return func(o *databaseOptions) { o.name = name } }

// With adds clauses to CREATE DATABASE, like "LC_CTYPE 'C.UTF-8'".
func With(clauses string) DatabaseOption { return func(o *databaseOptions) { o.clauses = clauses } }

// Database makes an empty database (UTF8, locale C, from template0) and
// returns its URL, the superuser's if nothing else is asked for. It is
// dropped when the test ends.
func (p *PG) Database(t testing.TB, opts ...DatabaseOption) string {
	t.Helper()
	o := databaseOptions{owner: Superuser, name: "test_" + strings.ToLower(rand.Text()[:12])}
	for _, opt := range opts {
		opt(&o)
	}
	if err := p.createDatabase(t.Context(), o.name, o.owner, o.clauses); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.dropDatabase(t, o.name) })
	return p.url(o.owner, o.name)
}

// Start starts the server again after [PG.Stop] or [PG.Kill], on the same
// port, and returns when it answers.
func (p *PG) Start(t testing.TB) { t.Helper(); must(t, p.start(t.Context())) }

// Stop ends the server as `systemctl stop` does: sessions are cut, what was
// committed is kept. A server that others share shouldn't be stopped: see
// [StartPostgres].
func (p *PG) Stop(t testing.TB) { t.Helper(); must(t, p.stop(t.Context(), "fast")) }

// Restart stops and starts the server.
func (p *PG) Restart(t testing.TB) { p.Stop(t); p.Start(t) }

// Kill ends the server as a crash does, and returns when its sessions are gone.
func (p *PG) Kill(t testing.TB) { t.Helper(); must(t, p.stop(t.Context(), "immediate")) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Exec runs SQL, several statements if need be, as the superuser.
func (p *PG) Exec(ctx context.Context, database, sql string) error {
	return execute(ctx, p.URL(database), sql)
}

func (p *PG) createDatabase(ctx context.Context, name, owner, clauses string) error {
	return p.Exec(ctx, "postgres", "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()+
		" TEMPLATE template0 OWNER "+pgx.Identifier{owner}.Sanitize()+" "+clauses)
}

// dropDatabase ignores a server that a test has stopped: its folder goes with
// the process.
func (p *PG) dropDatabase(t testing.TB, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := p.Exec(ctx, "postgres", "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)"); err != nil {
		t.Logf("%v", err)
	}
}

func (p *PG) createRole(ctx context.Context) error {
	// The password is made of letters and digits: nothing to quote.
	return p.Exec(ctx, "postgres", "CREATE ROLE "+SynapseRole+" LOGIN CREATEDB PASSWORD '"+p.password+"'")
}

func execute(ctx context.Context, url, sql string) error {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	if _, err := c.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("%.60s: %w", strings.TrimSpace(sql), err)
	}
	return nil
}
