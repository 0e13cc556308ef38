package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// pair is a live database and a loaded one, each with a table that says which
// it is. Names are the test's own: databases are shared by the server's tests.
func pair(t *testing.T, p *testbed.PG, s *Server, live string) synapse.SwapRequest {
	t.Helper()
	ctx := t.Context()
	run := "run-" + live
	loaded := live + "_restore"
	for _, sql := range []string{
		"DROP ROLE IF EXISTS owner_" + live, "CREATE ROLE owner_" + live,
		"CREATE DATABASE " + live + " OWNER owner_" + live + " CONNECTION LIMIT 77",
		"ALTER DATABASE " + live + " SET work_mem TO '7MB'",
		"ALTER DATABASE " + live + ` SET search_path TO "$user", public`,
		"ALTER ROLE synapse IN DATABASE " + live + " SET statement_timeout TO '5min'",
		"REVOKE CONNECT ON DATABASE " + live + " FROM PUBLIC", "GRANT CONNECT ON DATABASE " + live + " TO synapse",
	} {
		must(t, p.Exec(ctx, "postgres", sql))
	}
	t.Cleanup(func() {
		for _, name := range []string{live, loaded, asideName(live, run)} {
			_ = p.Exec(context.Background(), "postgres", "DROP DATABASE IF EXISTS "+quote(name)+" WITH (FORCE)")
		}
		_ = p.Exec(context.Background(), "postgres", "DROP ROLE IF EXISTS owner_"+live)
	})
	d := synapse.Database{Encoding: "UTF8", Collate: "C", CType: "C", Settings: []synapse.Setting{{Name: "work_mem", Value: "1MB"}, {Name: "DateStyle", Value: "German"}}}
	oid, err := s.Create(ctx, run, loaded, d, "")
	must(t, err)
	must(t, p.Exec(ctx, loaded, "CREATE TABLE restored ()"))
	_, err = assign(ctx, connected(t, s.cfg), loaded, d.Settings)
	must(t, err)
	must(t, p.Exec(ctx, "postgres", mark{run: run, done: true}.statement(loaded)))
	return synapse.SwapRequest{Run: run, Live: live, New: loaded, NewOID: oid}
}

// isRestored asks a database which of a pair it is. What a cut-off swap has sent
// to the server may still end a session or two.
func isRestored(t *testing.T, s *Server, database string) (there bool) {
	t.Helper()
	ask := func() error {
		c, err := s.cfg.With(database).Connect(t.Context())
		if err != nil {
			return err
		}
		defer c.Close(context.Background()) //nolint:errcheck // a test's
		return c.QueryRow(t.Context(), "SELECT to_regclass('restored') IS NOT NULL").Scan(&there)
	}
	err := ask()
	for tries := 10; err != nil && tries > 0; tries-- {
		err = ask()
	}
	must(t, err)
	return there
}

func TestSwapKeepsWhatIsSetOnTheLiveDatabaseAndUndoGoesBack(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	q := pair(t, p, s, "swap_plain")
	admin := connected(t, s.cfg)
	old, _, err := databaseNamed(t.Context(), admin, q.Live)
	must(t, err)
	before, err := properties(t.Context(), admin, old.OID)
	must(t, err)

	sw, err := s.Swap(t.Context(), q)
	must(t, err)
	after, err := properties(t.Context(), admin, q.NewOID)
	must(t, err)
	slices.Sort(before.Grants) // nobody's order
	slices.Sort(after.Grants)
	if fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("the restored database has\n%+v, the live one had\n%+v", after, before)
	}
	if !isRestored(t, s, q.Live) || isRestored(t, s, sw.OldName) || sw.OldOID != old.OID {
		t.Errorf("swapped wrongly: %+v", sw)
	}
	again, err := s.Swap(t.Context(), q) // as a run does that was killed before it noted the swap
	must(t, err)
	if again != sw {
		t.Errorf("repeated: %+v, want %+v", again, sw)
	}
	for range 2 {
		must(t, s.Undo(t.Context(), sw, false))
		if isRestored(t, s, q.Live) || !isRestored(t, s, sw.NewName) {
			t.Error("undo did not put the live database back")
		}
	}
}

func TestSwapWithSessionsIsRefusedOrEndsThem(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	q := pair(t, p, s, "swap_busy")
	busy := config(t, p.URL(q.Live)+"?application_name=synapse-main")
	holder := connected(t, busy)
	_, err := s.Swap(t.Context(), q)
	if err == nil || !strings.Contains(err.Error(), "in use by 1 session(s) of synapse-main as postgres from 127.0.0.1") {
		t.Fatalf("got %v", err)
	}
	if isRestored(t, s, q.Live) {
		t.Fatal("a refused swap renamed")
	}
	// Synapse connects again as soon as it is cut.
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stormed := make(chan struct{})
	go func() {
		defer close(stormed)
		for ctx.Err() == nil {
			if c, err := busy.Connect(ctx); err == nil {
				_, _ = c.Exec(ctx, "SELECT pg_sleep(10)")
				_ = c.Close(context.Background())
			}
		}
	}()
	q.Terminate = true
	sw, err := s.Swap(t.Context(), q)
	must(t, err)
	if err := holder.Ping(t.Context()); err == nil {
		t.Error("a session survived the swap")
	}
	if !isRestored(t, s, q.Live) {
		t.Error("not swapped")
	}
	must(t, s.Undo(t.Context(), sw, true))
	if isRestored(t, s, q.Live) {
		t.Error("not undone")
	}
	cancel()
	<-stormed
}

// A swap that is cut off at any instant either happened or did not, and a
// repeated one ends the same.
func TestSwapCutOffAtAnyInstantIsWholeOrNothing(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	q := pair(t, p, s, "swap_cut")
	q.Terminate = true
	admin := connected(t, s.cfg)
	old, _, err := databaseNamed(t.Context(), admin, q.Live)
	must(t, err)
	q.OldOID = old.OID
	for i := range 25 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*2*time.Millisecond)
		_, _ = s.Swap(ctx, q) // cut off, or done
		cancel()
		sw, err := s.Swap(t.Context(), q)
		if err != nil { // the server may still be at the commit of the cut-off one
			sw, err = s.Swap(t.Context(), q)
		}
		must(t, err)
		if !isRestored(t, s, q.Live) || sw.OldOID != old.OID {
			t.Fatalf("after a cut at %d ms: %+v", 2*i, sw)
		}
		must(t, s.Undo(t.Context(), sw, true))
	}
}

func TestSwapRefusesWhatItWasNotPlannedFor(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	q := pair(t, p, s, "swap_wrong")
	for name, c := range map[string]struct {
		change func(*synapse.SwapRequest)
		want   string
	}{
		"another live database":  {func(q *synapse.SwapRequest) { q.OldOID = 1 }, "no longer the database that was planned for"},
		"loaded database gone":   {func(q *synapse.SwapRequest) { q.NewOID = 4294967290 }, "is gone"},
		"load of another run":    {func(q *synapse.SwapRequest) { q.Run = "other" }, "bears no mark of a complete load of run other"},
		"never loaded, unmarked": {func(q *synapse.SwapRequest) { q.NewOID = oidOf(t, s, "template1") }, "bears no mark"},
	} {
		bad := q
		c.change(&bad)
		if _, err := s.Swap(t.Context(), bad); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if isRestored(t, s, q.Live) {
		t.Error("a refused swap renamed")
	}
}

func oidOf(t *testing.T, s *Server, name string) uint32 {
	t.Helper()
	r, _, err := databaseNamed(t.Context(), connected(t, s.cfg), name)
	must(t, err)
	return r.OID
}

func TestSwapWithoutALiveDatabase(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	q := pair(t, p, s, "swap_none")
	must(t, p.Exec(t.Context(), "postgres", "DROP DATABASE "+q.Live))
	sw, err := s.Swap(t.Context(), q)
	must(t, err)
	if !isRestored(t, s, q.Live) || sw.OldOID != 0 || sw.OldName != "" {
		t.Errorf("swap %+v", sw)
	}
	if err := s.Undo(t.Context(), sw, true); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("undo of it: %v", err)
	}
}

func TestUndoWhenTheOldDatabaseIsGone(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	sw, err := s.Swap(t.Context(), pair(t, p, s, "swap_gone"))
	must(t, err)
	must(t, s.Drop(t.Context(), sw.OldName, sw.OldOID))
	must(t, s.Drop(t.Context(), sw.OldName, sw.OldOID)) // gone is fine
	if err := s.Undo(t.Context(), sw, true); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Fatalf("got %v", err)
	}
	if !isRestored(t, s, sw.Live) {
		t.Error("a refused undo renamed")
	}
}

func TestDropTakesOnlyWhatARestoreMade(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	c := config(t, p.Database(t))
	if err := s.Drop(t.Context(), c.Database(), oidOf(t, s, c.Database())); err == nil || !strings.Contains(err.Error(), "nothing was dropped") {
		t.Errorf("got %v", err)
	}
	oid := created(t, p, s, "run-1", "drop_mine", synapse.Database{Encoding: "UTF8", Collate: "C", CType: "C"})
	if err := s.Drop(t.Context(), "drop_other", oid); err == nil {
		t.Error("dropped by a name that is not the OID's")
	}
	must(t, s.Drop(t.Context(), "drop_mine", oid))
}

// PostgreSQL drops no database with a subscription: what helps is said, and does.
func TestDropOfADatabaseThatSubscribes(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	for _, name := range []string{"drop_subscribed", "vacate_subscribed"} {
		oid := created(t, p, s, "run-1", name, synapse.Database{Encoding: "UTF8", Collate: "C", CType: "C"})
		must(t, p.Exec(t.Context(), name, `CREATE SUBSCRIPTION "Sub" CONNECTION 'host=127.0.0.1 port=1' PUBLICATION p WITH (connect = false)`))
		drop := func() error { return s.Drop(t.Context(), name, oid) }
		if name == "vacate_subscribed" {
			drop = func() error { return s.Vacate(t.Context(), name, oid, false) }
		}
		for mode, want := range map[synapse.Mode]string{synapse.ModeInPlace: "in-place drops database " + name + ": it subscribes", synapse.ModeSwap: ""} {
			in := inspected(t, s, synapse.Request{Mode: mode, Live: name, Target: name + "_new", Dump: synapse.Database{Encoding: "UTF8", Collate: "C", CType: "C"}})
			if got := strings.Join(in.Problems, "; "); !strings.Contains(got, want) || want == "" && strings.Contains(got, "subscribes") {
				t.Errorf("%s: the plan says %q", mode, got)
			}
		}
		err := drop()
		wantError(t, err, "it subscribes by logical replication: as a superuser in "+name+` run ALTER SUBSCRIPTION "Sub" DISABLE; `)
		_, rest, _ := strings.Cut(err.Error(), " run ")
		statements, _, _ := strings.Cut(rest, "then give the command again")
		must(t, p.Exec(t.Context(), name, statements))
		must(t, drop())
	}
}

// The rows that a load wrote bring autovacuum. Its workers end for a drop, but
// not for one WITH (FORCE) of a role that is no superuser.
func TestAutovacuumIsNotInTheWayOfADrop(t *testing.T) {
	t.Parallel()
	p, err := testbed.StartPostgres(t.Context(), testbed.PGOptions{Settings: map[string]string{
		"autovacuum_naptime": "1s", "autovacuum_vacuum_cost_delay": "100ms", "autovacuum_vacuum_cost_limit": "1", "autovacuum_vacuum_threshold": "0",
	}})
	must(t, err)
	t.Cleanup(p.Close)
	s := NewServer(config(t, p.SynapseURL("postgres")), Options{BinDir: p.BinDir()})
	oid, err := s.Create(t.Context(), "run-1", "vacuumed", synapse.Database{Encoding: "UTF8", Collate: "C", CType: "C"}, "")
	must(t, err)
	must(t, p.Exec(t.Context(), "vacuumed", "CREATE TABLE t AS SELECT i FROM generate_series(1, 100000) i"))
	must(t, p.Exec(t.Context(), "vacuumed", "DELETE FROM t"))
	must(t, p.Exec(t.Context(), "postgres", `DO $$BEGIN FOR i IN 1..1500 LOOP
		IF EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND datname = 'vacuumed') THEN RETURN; END IF;
		PERFORM pg_sleep(0.02), pg_stat_clear_snapshot(); END LOOP; RAISE 'autovacuum does not come'; END$$`))
	must(t, s.Drop(t.Context(), "vacuumed", oid))
}

func TestAsideNameFits(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 31)
	for _, name := range []string{asideName("synapse", "r1"), asideName(long, "20261125T020000Z"), asideName(long, strings.Repeat("9", 80))} {
		if len(name) > maxName || !strings.Contains(name, asideInfix) || strings.ToValidUTF8(name, "") != name {
			t.Errorf("name %q of %d bytes", name, len(name))
		}
	}
}
