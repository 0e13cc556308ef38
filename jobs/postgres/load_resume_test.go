package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

var errCut = errors.New("the connection to the store was cut")

// Incident: a restore that died half-way had to be begun again, or doubled rows.
func TestLoadGoesOnWhereItWasCut(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	src, want := varied(t, p)
	for after := 0; after < 40; after += 4 {
		t.Run(fmt.Sprintf("after %d parts", after), func(t *testing.T) {
			name := fmt.Sprintf("load_cut_%d", after)
			created(t, p, s, name, name, src.dump)
			q := src.request(t, name, name, 2<<10)
			q.Jobs = 2
			whole := q.Fetch
			left := make(chan struct{}, after)
			for range after {
				left <- struct{}{}
			}
			q.Fetch = func(ctx context.Context, table, part int, yield func([]byte) error) error {
				select {
				case <-left:
					return whole(ctx, table, part, yield)
				default:
					return errCut
				}
			}
			if _, err := s.Load(t.Context(), q); !errors.Is(err, errCut) {
				t.Fatalf("got %v, want the store's error", err)
			}
			q.Fetch = whole
			rep, err := s.Load(t.Context(), q)
			must(t, err)
			sound(t, rep)
			if after > 8 && rep.Resumed == 0 {
				t.Error("nothing was kept of the first attempt")
			}
			same(t, "the resumed database", textOf(t, s.cfg.With(name), filepath.Join(p.BinDir(), "pg_dump")), want)
		})
	}
}

// A load that dies at any instant leaves what the next attempt goes on with:
// here its sessions are cut, as those of a killed process are.
func TestLoadCutOffAtAnyInstantEndsTheSame(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	src, want := varied(t, p)
	for i := range 12 {
		name := fmt.Sprintf("load_instant_%d", i)
		created(t, p, s, name, name, src.dump)
		q := src.request(t, name, name, 2<<10)
		q.Jobs = 2
		for try := 1; ; try++ { // each attempt may live a little longer
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration((i+1)*try*try)*9*time.Millisecond)
			rep, err := s.Load(ctx, q)
			cancel()
			if err == nil {
				sound(t, rep)
				break
			}
			if try > 40 {
				t.Fatalf("attempt %d of %s: %v", try, name, err)
			}
		}
		same(t, "the resumed database", textOf(t, s.cfg.With(name), filepath.Join(p.BinDir(), "pg_dump")), want)
	}
}

// Who is woken has to know that it is the server that went, not the store.
func TestAServerThatGoesAwayIsSaid(t *testing.T) {
	t.Parallel()
	p := own(t)
	s := NewServer(config(t, p.URL("postgres")), Options{BinDir: p.BinDir()})
	src, _ := varied(t, p)
	created(t, p, s, "run-1", "load_gone", src.dump)
	q := src.request(t, "run-1", "load_gone", 2<<10)
	whole, once := q.Fetch, sync.Once{}
	q.Fetch = func(ctx context.Context, table, part int, yield func([]byte) error) error {
		once.Do(func() { p.Kill(t) })
		return whole(ctx, table, part, yield)
	}
	_, err := s.Load(t.Context(), q)
	wantError(t, err, "load database load_gone: the connection to the server was lost, what is loaded stays: see whether PostgreSQL runs: ")
	p.Start(t)
	q.Fetch = func(context.Context, int, int, func([]byte) error) error { return io.ErrUnexpectedEOF }
	if _, err = s.Load(t.Context(), q); err == nil || strings.Contains(err.Error(), "was lost") {
		t.Errorf("the store's error: %v", err)
	}
}

// A crash empties unlogged tables, and the bookkeeping would have said that
// they are loaded, with as many rows as their indexes once saw.
func TestAServerThatCrashesLosesNoUnloggedRows(t *testing.T) {
	t.Parallel()
	p := own(t)
	s := NewServer(config(t, p.URL("postgres")), Options{BinDir: p.BinDir()})
	dsn := filled(t, p, "CREATE UNLOGGED TABLE u (id int PRIMARY KEY); INSERT INTO u SELECT generate_series(1, 9); CREATE TABLE z (a text); INSERT INTO z VALUES ('z')")
	pgDump := filepath.Join(p.BinDir(), "pg_dump")
	src, want := dumpOf(t, config(t, dsn), pgDump), textOf(t, config(t, dsn), pgDump)
	created(t, p, s, "run-1", "load_crashed", src.dump)
	q := src.request(t, "run-1", "load_crashed", 1<<20)
	q.Jobs = 2
	whole := q.Fetch
	q.Fetch = func(ctx context.Context, table, part int, yield func([]byte) error) error {
		if q.Tables[table].Name == "z" {
			c := connected(t, s.cfg.With("load_crashed"))
			waitFor(t, c, "SELECT EXISTS (SELECT FROM "+bookkeeping+".built WHERE rows = 9)")
			must(t, execute(t.Context(), c, "CHECKPOINT")) // its commits were not waited for
			p.Kill(t)
			return errCut
		}
		return whole(ctx, table, part, yield)
	}
	if _, err := s.Load(t.Context(), q); err == nil {
		t.Fatal("the load outlived its server")
	}
	p.Start(t)
	q.Fetch = whole
	rep, err := s.Load(t.Context(), q)
	must(t, err)
	sound(t, rep)
	same(t, "the loaded database", textOf(t, s.cfg.With("load_crashed"), pgDump), want)
}

// The database's settings come before the note that it is complete: who is
// killed in between goes on in a database that may be for reading only.
func TestLoadGoesOnInADatabaseForReadingOnly(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	src, want := varied(t, p)
	src.dump.Settings = append(src.dump.Settings, synapse.Setting{Name: "default_transaction_read_only", Value: "on"})
	created(t, p, s, "run-1", "load_read_only", src.dump)
	_, err := assign(t.Context(), connected(t, s.cfg), "load_read_only", src.dump.Settings)
	must(t, err)
	rep, err := s.Load(t.Context(), src.request(t, "run-1", "load_read_only", 64<<10))
	must(t, err)
	sound(t, rep)
	same(t, "the loaded database", textOf(t, s.cfg.With("load_read_only"), filepath.Join(p.BinDir(), "pg_dump")), want)
}

func TestLoadIntoANewerServer(t *testing.T) {
	t.Parallel()
	older, newer := testbed.PostgresVersion(t, 15), testbed.PostgresVersion(t, 17)
	src, want := varied(t, older)
	s := NewServer(config(t, newer.URL("postgres")), Options{BinDir: newer.BinDir()})
	created(t, newer, s, "run-1", "load_newer", src.dump)
	rep, err := s.Load(t.Context(), src.request(t, "run-1", "load_newer", 4<<10))
	must(t, err)
	sound(t, rep)
	// Rows and indexes are the same text in both; DDL is written differently.
	got := textOf(t, s.cfg.With("load_newer"), filepath.Join(newer.BinDir(), "pg_dump"))
	for _, line := range strings.Split(want, "\n") {
		if strings.HasPrefix(line, "CREATE INDEX") || strings.Contains(line, "\t") {
			if !strings.Contains(got, line) {
				t.Errorf("the newer server lacks %q", line)
			}
		}
	}

	back := dumpOf(t, s.cfg.With("load_newer"), filepath.Join(newer.BinDir(), "pg_dump"))
	old := NewServer(config(t, older.URL("postgres")), Options{BinDir: older.BinDir()})
	q := asked("run-1", "inspect_absent", "inspect_absent_restore", back.dump)
	q.TOC = back.toc
	in := inspected(t, old, q)
	hasProblem(t, in, "the server is PostgreSQL 15, the recovery point is of 17")
	hasProblem(t, in, "install the package postgresql-client-17")
}

// On a new server nobody may have the name that the old owner had.
func TestLoadGivesTheDumpsOwnersRightsToAnother(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	dsn := filled(t, p, "CREATE TABLE t (i int)")
	heir := parsed(t, as(t, p, dsn, "heir", "")).User()
	src := dumpOf(t, config(t, dsn), filepath.Join(p.BinDir(), "pg_dump"))
	src.dump.Owner = "who was"
	src.dump.Grants = []string{"postgres=c/who was", `"who was"=CTc/"who was"`}
	src.dump.Settings = []synapse.Setting{{Role: "who was", Name: "work_mem", Value: "3MB"}}
	created(t, p, s, "run-1", "load_heir", src.dump)
	q := src.request(t, "run-1", "load_heir", 1<<20)
	q.Owner = heir
	rep, err := s.Load(t.Context(), q)
	must(t, err)
	sound(t, rep)
	var rights, settings string
	must(t, connected(t, s.cfg).QueryRow(t.Context(), `SELECT datacl::text, (SELECT setconfig::text FROM pg_db_role_setting WHERE setdatabase = d.oid AND setrole = $1::regrole)
		FROM pg_database d WHERE datname = 'load_heir'`, heir).Scan(&rights, &settings))
	if !strings.Contains(rights, heir+"=CTc/") || settings != "{work_mem=3MB}" {
		t.Errorf("rights %s, settings %s", rights, settings)
	}
	must(t, p.Exec(t.Context(), "postgres", "DROP DATABASE load_heir"))
}

func TestLoadGivesTheDumpsOwnersObjectsToAnother(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	src, _ := varied(t, p)
	must(t, p.Exec(t.Context(), "postgres", `CREATE ROLE "other owner"`))
	created(t, p, s, "run-1", "load_owner", src.dump)
	q := src.request(t, "run-1", "load_owner", 1<<20)
	q.Dump.Owner, q.Owner = "synapse", "other owner"
	q.Only = []string{"empty", "plain", "secret"}
	rep, err := s.Load(t.Context(), q)
	must(t, err)
	sound(t, rep)
	found, err := names(t.Context(), connected(t, s.cfg.With("load_owner")), `
		SELECT tableowner::text FROM pg_tables WHERE tablename = 'empty' UNION ALL
		SELECT attacl::text FROM pg_attribute WHERE attrelid = 'plain'::regclass AND attacl IS NOT NULL UNION ALL
		SELECT polroles[1]::regrole::text FROM pg_policy`)
	must(t, err)
	if want := []string{"other owner", `{"\"other owner\"=r/postgres"}`, `"other owner"`}; !slices.Equal(found, want) {
		t.Errorf("got %q, want %q", found, want)
	}
}
