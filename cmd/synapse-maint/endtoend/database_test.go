package endtoend

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

// slowly makes the program reach its database through a slow line, and the
// database larger than what buffers on the way hold, so that a dump takes a
// while, as those of large databases do.
func (w *world) slowly() {
	w.t.Helper()
	w.sql(w.name, `SET ROLE synapse; CREATE TABLE ballast (body text); ALTER TABLE ballast ALTER body SET STORAGE EXTERNAL;
		INSERT INTO ballast SELECT repeat(md5(i::text), 1 << 15) FROM generate_series(1, 32) i`)
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(w.pg.Port()))
	proxy := testbed.Proxy(w.t, addr)
	proxy.Inject(testbed.Fault{Rate: 6 << 20})
	w.set("SYNAPSE_MAINT_DATABASE=" + strings.Replace(w.db, addr, proxy.Addr(), 1))
}

// inCopy waits until the program copies rows out of the database.
func (w *world) inCopy() {
	w.t.Helper()
	w.waitFor("copying", func() bool {
		return w.query("postgres", `SELECT count(*)::text FROM pg_stat_activity WHERE datname = '`+w.name+`' AND query ILIKE 'COPY%' AND state = 'active'`) != "0"
	})
}

// A dump whose snapshot died with the server fails, and is not a shorter one.
func TestAServerRestartedInTheMiddleFailsTheBackup(t *testing.T) {
	t.Parallel()
	pg, err := testbed.StartPostgres(t.Context(), testbed.PGOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pg.Close)
	w := emptyWorld(t, pg)
	w.useDatabase(tinyDatabase(t, pg))
	w.done("init")
	w.slowly()
	for name, end := range map[string]func(testing.TB){"restarted": pg.Stop, "crashed": pg.Kill} {
		p := w.start("--log-level", "off", "backup")
		w.inCopy()
		end(t)
		t.Log(name + ": " + w.failed(p, exitFailed, []string{"backup: copy: "}))
		pg.Start(t)
		if points := w.points(); len(points) > 0 {
			t.Errorf("%s: listed are %v", name, points)
		}
	}
	w.done("backup")
	w.done("verify", "--read-data")
}

// TestStatusIsNeverSuccessAfterAFailedDump: each failure is one line that names
// what is wrong, and leaves neither a point nor a lock.
func TestStatusIsNeverSuccessAfterAFailedDump(t *testing.T) {
	t.Parallel()
	w := tinyWorld(t)
	w.sql(w.name, `CREATE TABLE private (secret text); INSERT INTO private VALUES ('x'); CREATE ROLE `+w.name+`_reader LOGIN PASSWORD 'reader-password';
		GRANT SELECT ON ALL TABLES IN SCHEMA public TO `+w.name+`_reader; REVOKE ALL ON private FROM `+w.name+`_reader;
		GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO `+w.name+`_reader`)
	t.Cleanup(func() {
		w.sql("postgres", "DROP DATABASE "+w.name+"; ")
		w.sql("postgres", "DROP ROLE "+w.name+"_reader")
	})
	host := net.JoinHostPort("127.0.0.1", strconv.Itoa(w.pg.Port()))
	empty := t.TempDir()
	for name, c := range map[string]struct {
		database string
		args     []string
		texts    []string
	}{
		"wrong password":   {"postgres://synapse:wrong-password@" + host + "/" + w.name, nil, []string{"wrong password for user synapse"}},
		"missing database": {w.pg.SynapseURL(w.name + "x"), nil, []string{"there is no database " + w.name + "x"}},
		"missing role":     {"postgres://nobody_such:x@" + host + "/" + w.name, nil, []string{"nobody_such"}},
		"no server":        {"postgres://synapse:x@127.0.0.1:1/" + w.name, nil, []string{"connection refused: is PostgreSQL running there"}},
		"pg_dump missing":  {w.db, []string{"--pg-bin-dir", empty}, []string{"pg_dump", "postgresql-client-" + strconv.Itoa(w.pg.Major())}},
		"a table that must not be read": {
			"postgres://" + w.name + "_reader:reader-password@" + host + "/" + w.name, nil, []string{"public.private", "grant it SELECT"},
		},
	} {
		said := w.with("SYNAPSE_MAINT_DATABASE="+c.database).fails(exitFailed, c.texts, append(c.args, "backup")...)
		t.Log(name + ": " + said)
		for _, secret := range []string{"wrong-password", "reader-password", w.pg.Password()} {
			if strings.Contains(said, secret) {
				t.Errorf("%s: the password is in the error", name)
			}
		}
		if points := w.points(); len(points) > 0 {
			t.Fatalf("%s: listed are %v", name, points)
		}
	}
	w.sql(w.name, "GRANT SELECT ON private TO synapse")
	w.done("backup")
}

// TestAnOlderPgDumpIsNoticedAtOnce, not two weeks later: it names the package
// that dumps this server.
func TestAnOlderPgDumpIsNoticedAtOnce(t *testing.T) {
	t.Parallel()
	w := emptyWorld(t, testbed.PostgresVersion(t, 17))
	w.useDatabase(tinyDatabase(t, w.pg))
	w.done("init")
	old := testbed.PostgresVersion(t, 15).BinDir()
	t.Log(w.fails(exitFailed, []string{"pg_dump", "17", "postgresql-client-17"}, "--pg-bin-dir", old, "backup"))
	w.done("--pg-bin-dir", w.pg.BinDir(), "backup")
	t.Log(w.fails(exitFailed, []string{"pg_restore", "postgresql-client-17"}, w.restore("--pg-bin-dir", old)...))
	w.done(w.restore("--pg-bin-dir", w.pg.BinDir())...)
}

// A role's timeouts are for Synapse's queries, not for a dump or a load.
func TestTimeoutsOfTheRoleDoNotEndABackup(t *testing.T) {
	t.Parallel()
	w := tinyWorld(t)
	role := w.name + "_hasty"
	w.sql("postgres", `CREATE ROLE `+role+` LOGIN CREATEDB PASSWORD 'hasty-password' IN ROLE `+testbed.SynapseRole)
	t.Cleanup(func() { w.sql("postgres", "DROP OWNED BY "+role+"; DROP ROLE "+role) })
	for _, setting := range []string{"statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout", "lock_timeout"} {
		w.sql("postgres", "ALTER ROLE "+role+" SET "+setting+" = '500ms'")
	}
	w.useDatabase(strings.Replace(w.db, testbed.SynapseRole+":"+w.pg.Password(), role+":hasty-password", 1))
	w.slowly()
	want := w.fingerprint(w.name)
	w.done("backup")
	w.done(w.restore()...)
	if got := w.fingerprint(w.name); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
}

// Tables that are dropped or altered while they are dumped are in the point as
// they were: who wants to drop them waits.
func TestATableDroppedOrAlteredDuringTheDumpIsInThePoint(t *testing.T) {
	t.Parallel()
	w := tinyWorld(t)
	w.slowly()
	want := w.fingerprint(w.name)
	p := w.start("--log-level", "warn", "backup")
	w.inCopy()
	changes := []string{"DROP TABLE doubles", "ALTER TABLE rooms ADD COLUMN later text", "ALTER TABLE users ALTER creation_ts TYPE text"}
	changed := make(chan error, len(changes))
	for _, change := range changes { // none waits for another
		go func() { changed <- w.pg.Exec(t.Context(), w.name, change) }()
	}
	if code := w.end(p); code != exitDone {
		t.Errorf("exit code %d: %s", code, p.err.String())
	}
	for range changes {
		w.ok(<-changed)
	}
	w.done(w.restore("--mode", "beside", "--target-database", w.name+"_beside")...)
	if got := w.fingerprint(w.name + "_beside"); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
	w.sql("postgres", "DROP DATABASE "+w.name+"_beside")
}
