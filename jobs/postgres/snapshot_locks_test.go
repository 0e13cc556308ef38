package postgres

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

func TestARowOf40MBSpansChunks(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	dsn := filled(t, p, `CREATE TABLE long (id int, body text);
		INSERT INTO long VALUES (1, 'a'), (2, repeat('0123456789', 4000000)), (3, 'c')`)
	s := snap(t, p, dsn)
	var got collected
	must(t, s.CopyOut(t.Context(), rangeOf(t, s, "long"), got.emit))
	if fmt.Sprint(got.rows, got.open) != "[1 0 0 0 0 2] [false true true true true false]" {
		t.Errorf("rows %v, open %v", got.rows, got.open)
	}
	if want := "1\ta\n2\t" + strings.Repeat("0123456789", 4000000) + "\n3\tc\n"; strings.Join(got.data, "") != want {
		t.Error("the rows differ")
	}
	for _, d := range got.data {
		if len(d) > maxChunk {
			t.Errorf("a chunk of %d bytes", len(d))
		}
	}
}

func TestRowsWrittenAfterTheSnapshotAreNotInIt(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	dsn := filled(t, p, `CREATE TABLE t (id int); INSERT INTO t VALUES (1)`)
	s := snap(t, p, dsn)
	must(t, p.Exec(t.Context(), s.Database().Name, "INSERT INTO t VALUES (2); DELETE FROM t WHERE id = 1; CREATE TABLE later (id int)"))
	if got := textOfTable(t, s, "t"); got != "1\n" {
		t.Errorf("got %q", got)
	}
	if len(s.Tables()) != 1 {
		t.Errorf("%d tables", len(s.Tables()))
	}
}

// A table can't be dropped, altered or truncated while it is copied. Who tries
// waits, and must not make the workers wait for him: they would for ever.
func TestATableThatSomebodyWantsToDropIsCopiedAllTheSame(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	dsn := filled(t, p, `CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2); CREATE TABLE other (id int)`)
	s := snap(t, p, dsn)
	dropped := make(chan error, 1)
	go func() { dropped <- p.Exec(t.Context(), s.Database().Name, "DROP TABLE t") }()
	conn := connected(t, parsed(t, dsn))
	waitFor(t, conn, "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())")
	for range 3 { // the same worker goes on
		if got := textOfTable(t, s, "t"); got != "1\n2\n" {
			t.Errorf("got %q", got)
		}
		if got := textOfTable(t, s, "other"); got != "" {
			t.Errorf("got %q", got)
		}
	}
	must(t, s.Close())
	must(t, <-dropped)
}

// waitFor waits until a query says true.
func waitFor(t testing.TB, c *pgx.Conn, sql string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for ok := false; !ok; {
		must(t, c.QueryRow(t.Context(), sql).Scan(&ok))
		if time.Now().After(deadline) {
			t.Fatalf("not so: %s", sql)
		}
	}
}

// changes are what somebody may do to a table t with a row "1" while a backup
// is under way, and how that row is copied afterwards.
var changes = map[string]string{
	"DROP TABLE t": "no table t",
	"ALTER TABLE t ADD COLUMN later text DEFAULT 'x'": "1\tx\n",
	"ALTER TABLE t ALTER id TYPE text":                "1\n", // writes it anew: to an older snapshot it is empty
	"ALTER TABLE t DROP COLUMN id":                    "\n",
	"ALTER TABLE t RENAME TO renamed":                 "no table t",
	"TRUNCATE t":                                      "",
}

const untilSomebodyWaits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"

// snapDuring takes a snapshot that waits for somebody who changes a table t with
// a row "1", and commits then; nil is one that failed.
func snapDuring(t *testing.T, p *testbed.PG, change string) *Snapshot {
	t.Helper()
	dsn := filled(t, p, `CREATE TABLE t (id int); INSERT INTO t VALUES (1)`)
	c := connected(t, parsed(t, dsn))
	must(t, execute(t.Context(), c, "BEGIN; "+change))
	taken := make(chan *Snapshot, 1)
	go func() {
		s, err := Snap(t.Context(), parsed(t, dsn), Options{BinDir: p.BinDir()})
		if err != nil {
			t.Error(err)
		}
		taken <- s
	}()
	waitFor(t, connected(t, parsed(t, dsn)), untilSomebodyWaits)
	must(t, execute(t.Context(), c, "COMMIT"))
	return <-taken
}

// Whoever changes a table between the snapshot and its turn to be copied waits
// for the end of the backup.
func TestATableAlteredDuringTheDumpIsCopiedAsItWas(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	for change := range changes {
		t.Run(change, func(t *testing.T) {
			t.Parallel()
			dsn := filled(t, p, `CREATE TABLE t (id int); INSERT INTO t VALUES (1)`)
			s := snap(t, p, dsn)
			changed := make(chan error, 1)
			go func() { changed <- p.Exec(t.Context(), s.Database().Name, change) }()
			waitFor(t, connected(t, parsed(t, dsn)), untilSomebodyWaits)
			if got := textOfTable(t, s, "t"); got != "1\n" {
				t.Errorf("got %q", got)
			}
			must(t, s.Close())
			must(t, <-changed)
		})
	}
}

// A change that was begun before the backup and ends while the backup waits for
// the table's lock is in the point, and whole: what the catalog said of the
// table before does not hold any more.
func TestATableChangedWhileItsLockIsWaitedForIsCopiedAsItBecame(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	for change, want := range changes {
		t.Run(change, func(t *testing.T) {
			t.Parallel()
			s := snapDuring(t, p, change)
			if s == nil {
				return
			}
			defer func() { _ = s.Close() }()
			got := "no table t"
			for _, table := range s.Tables() {
				switch text := textOfTable(t, s, table.Name); {
				case table.Name == "t":
					got = text
				case text != "1\n":
					t.Errorf("%s has %q", table.Name, text)
				}
			}
			if got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestATableLockedBySomebodyElseIsWaitedFor(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	s := snapDuring(t, p, "LOCK TABLE t; TRUNCATE t; INSERT INTO t VALUES (5)")
	if s == nil {
		return
	}
	defer func() { _ = s.Close() }()
	// A snapshot from before the lock would show the truncated table as empty.
	if got := textOfTable(t, s, "t"); got != "5\n" {
		t.Errorf("got %q", got)
	}
}

// hurry sets what an administrator may set for the role of an application.
func hurry(t testing.TB, p *testbed.PG, role string) {
	t.Helper()
	settings := []string{"statement_timeout = 1", "idle_in_transaction_session_timeout = 1", "lock_timeout = 1", "search_path = nowhere", "DateStyle = 'SQL, DMY'", "default_transaction_isolation = serializable", "idle_session_timeout = 200", "default_transaction_read_only = on"}
	if p.Major() >= 17 {
		settings = append(settings, "transaction_timeout = 200")
	}
	for _, set := range settings {
		must(t, p.Exec(t.Context(), "postgres", "ALTER ROLE "+role+" SET "+set))
	}
}

func TestTimeoutsOfTheRoleEndNothing(t *testing.T) {
	t.Parallel()
	for _, v := range versions {
		p := testbed.PostgresVersion(t, v)
		dsn := filled(t, p, `CREATE TABLE t (id int, body text); INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 5000) g`)
		role := as(t, p, dsn, "hasty", "IN ROLE pg_read_all_data")
		name := parsed(t, role).User()
		hurry(t, p, name)
		s := snap(t, p, role)
		waitFor(t, connected(t, parsed(t, dsn)), "SELECT count(*) > 0 FROM pg_stat_activity WHERE state = 'idle in transaction' AND usename = '"+name+"' AND now() - state_change > interval '300 ms'")
		if got := textOfTable(t, s, "t"); strings.Count(got, "\n") != 5000 {
			t.Errorf("PostgreSQL %d: %d rows", v, strings.Count(got, "\n"))
		}
	}
}

// A table that was made after the first lock, and truncated before the second,
// looks empty to the snapshot: it is noticed, and all begins anew.
func TestATableThatWasRewrittenSinceTheSnapshotIsNoticed(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	dsn := filled(t, p, `CREATE TABLE t (id int); INSERT INTO t VALUES (1)`)
	l, err := openLead(t.Context(), parsed(t, dsn))
	must(t, err)
	defer func() { _ = l.close() }()
	must(t, execute(t.Context(), l.conn, begin))
	oids := map[uint32]bool{}
	tables, err := l.relations(t.Context())
	must(t, err)
	for _, r := range tables {
		oids[r.OID] = true
	}
	must(t, l.unmoved(t.Context(), oids))
	must(t, execute(t.Context(), connected(t, parsed(t, dsn)), "TRUNCATE t; INSERT INTO t VALUES (2)"))
	if err := l.unmoved(t.Context(), oids); !errors.Is(err, errRewritten) || !strings.Contains(err.Error(), "table public.t was rewritten") {
		t.Error(err)
	}
}
