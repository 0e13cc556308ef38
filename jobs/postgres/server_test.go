package postgres

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

func asked(run, live, target string, d synapse.Database) synapse.Request {
	return synapse.Request{Run: run, Mode: synapse.ModeSwap, Live: live, Target: target, Dump: d}
}

func inspected(t *testing.T, s *Server, q synapse.Request) synapse.Inspection {
	t.Helper()
	in, err := s.Inspect(t.Context(), q)
	must(t, err)
	return in
}

func hasProblem(t *testing.T, in synapse.Inspection, want string) {
	t.Helper()
	for _, p := range in.Problems {
		if strings.Contains(p, want) {
			return
		}
	}
	t.Errorf("no problem says %q: %q", want, in.Problems)
}

var plainC = synapse.Database{Encoding: "UTF8", Collate: "C", CType: "C", Version: 130000, Owner: testbed.Superuser, Size: 1 << 20}

func TestInspectFindsNothingAgainstAGoodRequest(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	src, _ := varied(t, p)
	q := asked("run-1", "inspect_absent", "inspect_absent_restore", src.dump)
	q.TOC = src.toc
	in := inspected(t, s, q)
	if len(in.Problems) > 0 || in.TargetExists || in.LiveExists || in.FreeBytes <= 0 {
		t.Errorf("inspection %+v", in)
	}
}

// Incidents: a dump of a newer server, a wrong locale (pg_restore exits 0, and
// Synapse refuses to start), a target that is not empty: all found before
// anything is touched.
func TestInspectRefuses(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	filled := config(t, p.Database(t))
	must(t, p.Exec(t.Context(), filled.Database(), "CREATE TABLE precious (); CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'"))
	wrong := config(t, p.Database(t, testbed.With("LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'")))
	icu := config(t, p.Database(t, testbed.With("LOCALE_PROVIDER icu ICU_LOCALE 'de-DE'")))
	for name, c := range map[string]struct {
		change func(*synapse.Request)
		want   string
	}{
		"older server":     {func(q *synapse.Request) { q.Dump.Version = 990000 }, "the recovery point is of 99: an older server can't take it"},
		"filled target":    {func(q *synapse.Request) { q.Target = filled.Database() }, "is not empty (table public.precious, function public.f)"},
		"wrong locale":     {func(q *synapse.Request) { q.Target = wrong.Database() }, "has the wrong locale: UTF8, LC_COLLATE C.UTF-8"},
		"wrong provider":   {func(q *synapse.Request) { q.Target = icu.Database() }, "has the wrong locale: texts are sorted by icu de-DE where the recovery point has libc"},
		"wrong icu locale": {func(q *synapse.Request) { q.Target, q.Dump.Provider, q.Dump.Locale = icu.Database(), "icu", "sv" }, "by icu de-DE where the recovery point has icu sv;"},
		"wrong icu rules": {func(q *synapse.Request) {
			q.Target, q.Dump.Provider, q.Dump.Locale, q.Dump.Rules = icu.Database(), "icu", "de_DE", "&a < g"
		}, `where the recovery point has icu de-DE with the rules "&a < g"`},
		"missing locale":      {func(q *synapse.Request) { q.Dump.Collate = "xx_YY.UTF-8" }, "wrong locale: the server has no xx_YY.UTF-8 for LC_COLLATE"},
		"missing owner":       {func(q *synapse.Request) { q.Owner = "nobody here" }, "lacks role(s) that the recovery point names: nobody here"},
		"no room":             {func(q *synapse.Request) { q.NeedBytes = 1 << 60 }, "GiB free, the database needs about"},
		"a table of a stream": {func(q *synapse.Request) { q.Only = []string{"a"} }, "single tables can't be taken out"},
		"not an archive":      {func(q *synapse.Request) { q.TOC = []byte("nonsense") }, "read the table of contents"},
	} {
		t.Run(name, func(t *testing.T) {
			q := asked("run-1", "inspect_absent", "inspect_absent_restore", plainC)
			c.change(&q)
			hasProblem(t, inspected(t, s, q), c.want)
		})
	}
}

func TestInspectNamesMissingRolesExtensionsAndTablespaces(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	src, _ := varied(t, p)
	toc := string(src.toc)
	// Other names of the same length, as another server would have them.
	toc = strings.ReplaceAll(toc, "GRANT SELECT(id) ON TABLE public.plain TO synapse", "GRANT SELECT(id) ON TABLE public.plain TO somebod")
	toc = strings.ReplaceAll(toc, "pg_trgm", "pg_none")
	q := asked("run-1", "inspect_absent", "inspect_absent_restore", src.dump)
	q.TOC = []byte(toc)
	in := inspected(t, s, q)
	hasProblem(t, in, "lacks role(s) that the recovery point names: somebod;")
	hasProblem(t, in, "lacks the extension pg_none")
}

func TestInspectSaysWhatAPlainRoleMayNotDo(t *testing.T) {
	t.Parallel()
	p, _ := server(t)
	src, _ := varied(t, p)
	s := NewServer(config(t, p.SynapseURL("postgres")), Options{BinDir: p.BinDir()})
	q := asked("run-1", "inspect_absent", "inspect_absent_restore", src.dump)
	q.TOC = src.toc
	in := inspected(t, s, q)
	hasProblem(t, in, "event trigger, which only a superuser may create")
	hasProblem(t, in, "role synapse may not give objects to their owner(s) postgres: GRANT \"postgres\" TO \"synapse\"")
}

// What is set on the database as a whole comes last in a load: the roles that it
// names were missed when hours had gone by.
func TestInspectNamesRolesOfTheDatabaseThatAreMissing(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	d := plainC
	d.Settings = []synapse.Setting{{Name: "work_mem", Value: "1MB"}, {Role: "no setter", Name: "work_mem", Value: "1MB"}}
	d.Grants = []string{"=c/postgres", "postgres=CTc/postgres", `"no ""grantee"=c/postgres`}
	q := asked("run-1", "inspect_absent", "inspect_absent_restore", d)
	hasProblem(t, inspected(t, s, q), `lacks role(s) that the recovery point names: no "grantee, no setter;`)
	q.Target = parsed(t, p.Database(t)).Database() // it keeps what is set on it
	if in := inspected(t, s, q); len(in.Problems) > 0 {
		t.Errorf("into a database that is there: %q", in.Problems)
	}
}

// A load gives what the dump's owner had to the new one; a stream can't, and a
// Synapse that can't read its tables is no restored one.
func TestInspectSaysWhoseAStreamWillBe(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	live := config(t, p.Database(t, testbed.OwnedBySynapse()))
	d := plainC // of the superuser
	in := inspected(t, s, asked("run-1", live.Database(), "inspect_absent_restore", d))
	if len(in.Problems) > 0 || len(in.Warnings) != 1 || !strings.Contains(in.Warnings[0], "what was postgres's in it stays so") {
		t.Errorf("problems %q, warnings %q", in.Problems, in.Warnings)
	}
	d.Owner = "gone"
	hasProblem(t, inspected(t, s, asked("run-1", live.Database(), "inspect_absent_restore", d)), "lacks role(s) that the recovery point names: gone;")
	d.Owner = testbed.SynapseRole
	if in := inspected(t, s, asked("run-1", live.Database(), "inspect_absent_restore", d)); len(in.Problems)+len(in.Warnings) > 0 {
		t.Errorf("its own: problems %q, warnings %q", in.Problems, in.Warnings)
	}
}

func TestInspectListsSessionsAndWhatIsNewer(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	live := config(t, testbed.SynapseDatabase(t, p, 0.01))
	holder := connected(t, live)
	must(t, execute(t.Context(), holder, "SET application_name = 'synapse-main'"))
	d := plainC
	d.Schema = &synapse.Schema{}
	d.Taken = time.Unix(0, 0)
	q := asked("run-1", live.Database(), "inspect_absent_restore", d)
	in := inspected(t, s, q)
	if len(in.Sessions) != 1 || !in.Sessions[0].Synapse || in.Sessions[0].User != testbed.SynapseRole {
		t.Errorf("sessions %+v", in.Sessions)
	}
	hasProblem(t, in, "in use by 1 session(s) of synapse-main as synapse")
	if !in.Newer.Known || in.Newer.Events == 0 || in.Newer.Users == 0 {
		t.Errorf("newer than 1970: %+v %q", in.Newer, in.Warnings)
	}
	q.Dump.Taken, q.Terminate = time.Now().AddDate(100, 0, 0), true
	in = inspected(t, s, q)
	if n := in.Newer; !n.Known || n.Events+n.Users+n.Devices+n.Media != 0 || len(in.Problems) > 0 {
		t.Errorf("newer than the next century: %+v %q", n, in.Problems)
	}
}

func TestInspectTakesARunsOwnHalfLoadedDatabaseForEmpty(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	created(t, p, s, "run-1", "inspect_half", plainC)
	must(t, p.Exec(t.Context(), "inspect_half", "CREATE TABLE half ()"))
	if in := inspected(t, s, asked("run-1", "inspect_absent", "inspect_half", plainC)); len(in.Problems) > 0 || !in.TargetOurs {
		t.Errorf("its own run: %+v", in)
	}
	hasProblem(t, inspected(t, s, asked("run-2", "inspect_absent", "inspect_half", plainC)), "is not empty (table public.half)")
}

func TestCreateMakesWhatTheDumpWas(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	d := synapse.Database{Encoding: "LATIN1", Collate: "C", CType: "C"}
	oid := created(t, p, s, "run-1", "create_like", d)
	again, err := s.Create(context.Background(), "run-1", "create_like", d, "")
	if err != nil || again != oid {
		t.Errorf("repeated: %d, %v, want %d", again, err, oid)
	}
	var encoding string
	must(t, connected(t, s.cfg).QueryRow(t.Context(), "SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE oid = $1", oid).Scan(&encoding))
	if encoding != "LATIN1" {
		t.Errorf("encoding %s", encoding)
	}
}

// Texts are unique, and in order, by the rules of the database that they were
// in.
func TestARestoredDatabaseHasItsRulesOfOrder(t *testing.T) {
	t.Parallel()
	p := testbed.PostgresVersion(t, 17)
	s := NewServer(config(t, p.URL("postgres")), Options{BinDir: p.BinDir()})
	d := snap(t, p, p.Database(t, testbed.With("LOCALE_PROVIDER icu ICU_LOCALE 'en-US' ICU_RULES '&a < g'"))).Database()
	created(t, p, s, "run-1", "in_order", d)
	var first string
	must(t, connected(t, s.cfg.With("in_order")).QueryRow(t.Context(), "SELECT least('b', 'g')").Scan(&first))
	if first != "g" {
		t.Errorf("%+v: first is %s", d, first)
	}
	if in := inspected(t, s, asked("run-2", "absent", "in_order", d)); len(in.Problems) > 0 {
		t.Errorf("its own: %q", in.Problems)
	}
}

// A database on a disk of its own must not come back on the server's.
func TestARestoredDatabaseHasItsTablespaceAndComment(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	c := connected(t, s.cfg)
	must(t, execute(t.Context(), c, "SET allow_in_place_tablespaces = on"))
	_, err := c.Exec(t.Context(), `CREATE TABLESPACE "große Platte" LOCATION ''`)
	must(t, err)
	_, err = c.Exec(t.Context(), `CREATE DATABASE spacious TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TABLESPACE "große Platte"`)
	must(t, err)
	t.Cleanup(func() {
		for _, sql := range []string{"DROP DATABASE IF EXISTS spacious", "DROP DATABASE IF EXISTS spacious_back", `DROP TABLESPACE "große Platte"`} {
			_ = p.Exec(context.Background(), "postgres", sql)
		}
	})
	must(t, execute(t.Context(), c, mark{theirs: "it's\nours", run: "run-0", done: true}.statement("spacious")))
	d := snap(t, p, p.URL("spacious")).Database()
	if d.Tablespace != "große Platte" || d.Comment != "it's\nours" {
		t.Fatalf("tablespace %q, comment %q", d.Tablespace, d.Comment)
	}
	created(t, p, s, "run-1", "spacious_back", d)
	var space, comment string
	must(t, c.QueryRow(t.Context(), `SELECT spcname::text, shobj_description(d.oid, 'pg_database') FROM pg_database d JOIN pg_tablespace t ON t.oid = dattablespace WHERE datname = 'spacious_back'`).Scan(&space, &comment))
	if m := parseMark(comment); space != d.Tablespace || m.theirs != d.Comment || !m.of("run-1") {
		t.Errorf("tablespace %q, comment %q", space, comment)
	}

	d.Tablespace = "elsewhere"
	in, err := s.Inspect(t.Context(), synapse.Request{Run: "run-2", Mode: synapse.ModeBeside, Target: "spacious_not", Dump: d})
	must(t, err)
	if len(in.Problems) > 0 || len(in.Warnings) != 1 || !strings.Contains(in.Warnings[0], "was in tablespace elsewhere, which the server lacks") {
		t.Errorf("problems %q, warnings %q", in.Problems, in.Warnings)
	}
	created(t, p, s, "run-2", "spacious_not", d) // in the default one
}

// An event trigger that forbids drops, and fires whatever a session
// says, kept a restore from its last step.
func TestEventTriggersThatAlwaysFireDoNotEndALoad(t *testing.T) {
	t.Parallel()
	for _, v := range versions {
		p := testbed.PostgresVersion(t, v)
		s := NewServer(config(t, p.URL("postgres")), Options{BinDir: p.BinDir()})
		c := config(t, p.Database(t))
		must(t, execute(t.Context(), connected(t, c), `CREATE TABLE t (i int PRIMARY KEY); INSERT INTO t VALUES (1);
			CREATE FUNCTION no_drop() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no drops in production'; END $$;
			CREATE EVENT TRIGGER nodrop ON sql_drop EXECUTE FUNCTION no_drop(); ALTER EVENT TRIGGER nodrop ENABLE ALWAYS`))
		pgDump := filepath.Join(p.BinDir(), "pg_dump")
		src := dumpOf(t, c, pgDump)
		into := c.Database() + "_always"
		created(t, p, s, "run-1", into, src.dump)
		rep, err := s.Load(t.Context(), src.request(t, "run-1", into, 1<<20))
		must(t, err)
		sound(t, rep)
		same(t, "the database", textOf(t, s.cfg.With(into), pgDump), textOf(t, c, pgDump))
	}
}

func TestCreateStatementFitsTheServersVersion(t *testing.T) {
	t.Parallel()
	icu := synapse.Database{Encoding: "UTF8", Collate: "C", CType: "C", Provider: "icu", Locale: "de"}
	for version, want := range map[int]string{
		140000: `CREATE DATABASE "it's" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'`,
		150000: `CREATE DATABASE "it's" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' LOCALE_PROVIDER icu ICU_LOCALE 'de'`,
	} {
		if got := createStatement("it's", icu, version); got != want {
			t.Errorf("for %d: %s", version, got)
		}
	}
}
