package postgres

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

// environment clears PostgreSQL's variables and sets those given.
func environment(t *testing.T, vars map[string]string) {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "PG") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("PGPASSFILE", filepath.Join(t.TempDir(), "none"))
	for name, value := range vars {
		t.Setenv(name, value)
	}
}

func TestParseConfigTakesWhatLibpqTakes(t *testing.T) {
	dir := t.TempDir()
	service := filepath.Join(dir, "services")
	must(t, os.WriteFile(service, []byte("[main]\nhost=db.example\nuser=syn\ndbname=synapse\nsslmode=disable\n"), 0o600))
	pass := filepath.Join(dir, "pgpass")
	must(t, os.WriteFile(pass, []byte("h:5432:d:u:from file\n"), 0o600))
	for _, c := range []struct {
		name, dsn string
		env       map[string]string
		want      map[string]string
	}{
		{"URL", "postgres://u:p%40ss@h:6432/d?sslmode=require&sslnegotiation=postgres", nil, map[string]string{
			"PGHOST": "h", "PGPORT": "6432", "PGUSER": "u", "PGDATABASE": "d", "PGPASSWORD": "p@ss", "PGSSLMODE": "require",
		}},
		{"keywords", `host=h user = u dbname='my db' password='it\'s \\' connect_timeout=7 sslmode=disable`, nil, map[string]string{
			"PGHOST": "h", "PGPORT": "5432", "PGDATABASE": "my db", "PGPASSWORD": `it's \`, "PGCONNECT_TIMEOUT": "7",
		}},
		{"environment", "", map[string]string{"PGHOST": "h", "PGUSER": "u", "PGPASSWORD": "pw", "PGSSLMODE": "disable", "PGOPTIONS": "-c geqo=off"}, map[string]string{
			"PGHOST": "h", "PGUSER": "u", "PGDATABASE": "u", "PGPASSWORD": "pw", "PGSSLMODE": "disable",
			"PGOPTIONS": "-c geqo=off " + unhindered, "PGCONNECT_TIMEOUT": "15", "PGAPPNAME": "synapse-maint",
		}},
		{"the URL beats the environment", "postgres://u@h/d?sslmode=disable", map[string]string{"PGHOST": "x", "PGDATABASE": "y", "PGSSLMODE": "verify-full"}, map[string]string{
			"PGHOST": "h", "PGDATABASE": "d", "PGSSLMODE": "disable",
		}},
		{"service", "service=main", map[string]string{"PGSERVICEFILE": service}, map[string]string{
			"PGHOST": "db.example", "PGUSER": "syn", "PGDATABASE": "synapse", "PGSSLMODE": "disable", "PGSERVICE": "",
		}},
		{"password file", "postgres://u@h/d?sslmode=disable", map[string]string{"PGPASSFILE": pass}, map[string]string{"PGPASSWORD": "from file"}},
		{"socket", "postgres://u@/d?host=/run/pg&port=5433", nil, map[string]string{"PGHOST": "/run/pg", "PGPORT": "5433"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			environment(t, c.env)
			cfg, err := ParseConfig(c.dsn)
			must(t, err)
			got := map[string]string{}
			for _, v := range cfg.Env() {
				name, value, _ := strings.Cut(v, "=")
				got[name] = value
			}
			for name := range maps.Keys(c.want) {
				if got[name] != c.want[name] {
					t.Errorf("%s is %q, not %q", name, got[name], c.want[name])
				}
			}
		})
	}
}

func TestPasswordsAreInNoText(t *testing.T) {
	for _, dsn := range []string{
		"postgres://u:hunter2@h:1/d", "host=h user=u password=hunter2",
		"postgres://u:hunter2@h:port/d", "postgres://u:hunter2@@h:99999/d", "postgres://u:hun%zzter2@h/d", "postgres://hunter2:hunter2/x:hunter2@h/d",
		"host=h password='hunter2", "host=h password=hunter2 sslmode=hunter2", "postgres://u:hunter2@h/d?sslmode=none",
		"mysql://u:hunter2@h/d", "hunter2",
	} {
		cfg, err := ParseConfig(dsn)
		texts := fmt.Sprint(err)
		if err == nil {
			_, connectErr := cfg.With("other").Connect(t.Context())
			texts = fmt.Sprintf("%v %+v %#v %s %v", cfg, cfg, cfg, slog.AnyValue(cfg).Resolve(), connectErr)
		}
		if strings.Contains(texts, "hunter2") || strings.Contains(texts, "hun%zzter2") {
			t.Errorf("%s: %s", dsn, texts)
		}
	}
}

// What pgx says of a connection string is said in our words, and none of it has
// what was in its place.
func TestFaultsOfConnectionStringsAreSaidInOurWords(t *testing.T) {
	environment(t, nil)
	for dsn, want := range map[string]string{
		"postgres://u:p@hunter2/w0rd@h/d":                        "/ as %2F",
		"postgres://u:hunter2#x@h/d":                             "# as %23",
		"postgres://u:hun%zzter2@h/d":                            "% as %25",
		"postgres://u:hun ter2@h/d":                              "a blank as %20",
		"postgres://u:hunter2@h:port/d":                          "the port is no number from 1 to 65535",
		"postgres://u:hunter2@h:99999/d":                         "the port is no number from 1 to 65535",
		"host=h port=abc password=hunter2":                       "the port is no number from 1 to 65535",
		"mysql://u:hunter2@h/d":                                  "it is postgres://USER@HOST:PORT/DATABASE, or keywords",
		"hunter2":                                                "it is postgres://USER@HOST:PORT/DATABASE, or keywords",
		"host=h password='hunter2":                               "a quote has no end",
		"host=h password=hunter2 sslmode=none":                   "sslmode is disable, allow",
		"postgres://u@h/d?sslrootcert=/none&sslmode=verify-full": "the file that sslrootcert names can't be read",
		"postgres://u@h/d?connect_timeout=soon":                  "connect_timeout is a number of seconds",
		"postgres://u@h/d?target_session_attrs=x":                "target_session_attrs is any",
		"service=none":                                           "service file can't be read",
	} {
		_, err := ParseConfig(dsn)
		if err == nil || !strings.HasPrefix(err.Error(), "database URL: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", dsn, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "pars")) {
			t.Errorf("%s: %v", dsn, err)
		}
	}
}

func TestConnectErrorsSayWhatToDo(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	free := l.Addr().(*net.TCPAddr).Port
	must(t, l.Close())
	must(t, p.Exec(t.Context(), "postgres", `CREATE DATABASE "matrix.example"`))
	t.Cleanup(func() { _ = p.Exec(t.Context(), "postgres", `DROP DATABASE "matrix.example"`) }) //nolint:usetesting // best effort
	server := fmt.Sprintf("127.0.0.1:%d", p.Port())
	for _, c := range []struct{ name, dsn, want string }{
		{"password", "postgres://postgres:wrong@" + server + "/postgres", "wrong password for user postgres"},
		{"no password", "postgres://postgres@" + server + "/postgres?passfile=/nonexistent", "PGPASSWORD"},
		{"no such role", "postgres://nobody:x@" + server + "/postgres", "wrong password for user nobody"},
		{"database", p.URL("matirx.example"), "there is no database matirx.example; did you mean matrix.example?"},
		{"another database", p.URL("qqqqqqqqqqqq"), "there is no database qqqqqqqqqqqq; there are "},
		{"port", fmt.Sprintf("postgres://u:x@127.0.0.1:%d/d", free), "connection refused: is PostgreSQL running there"},
		{"name", "postgres://u:x@nohost.invalid/d", "the name nohost.invalid can't be resolved"},
		{"TLS", "postgres://postgres:x@" + server + "/postgres?sslmode=require", "the server has TLS turned off"},
		{"socket", "postgres://u:x@/d?host=/nonexistent", "no socket of a server"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := parsed(t, c.dsn).Connect(t.Context())
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "connect to postgres://") {
				t.Errorf("got %v", err)
			}
			if err != nil && strings.Contains(err.Error(), p.Password()) {
				t.Errorf("the password: %v", err)
			}
		})
	}
}

func TestNearest(t *testing.T) {
	names := []string{"synapse", "postgres", "mas"}
	for in, want := range map[string]string{"synapes": "synapse", "Synapse": "synapse", "postgre": "postgres", "matrix": "", "x": "", "": ""} {
		if got := nearest(in, names); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// A server that goes down refuses TLS and cuts the connection without it: who
// has not asked for TLS has nothing to change about it.
func TestOnlyWhoAsksForTLSIsToldOfIt(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			request := make([]byte, 8) // SSLRequest, or the head of a start-up message
			if _, err := io.ReadFull(c, request); err == nil && request[3] == 8 {
				_, _ = c.Write([]byte("N"))
			}
			_ = c.Close()
		}
	}()
	for mode, told := range map[string]bool{"prefer": false, "require": true} {
		_, err := config(t, "postgres://postgres@"+l.Addr().String()+"/postgres?sslmode="+mode).Connect(t.Context())
		if err == nil || strings.Contains(err.Error(), "TLS turned off") != told {
			t.Errorf("%s: %v", mode, err)
		}
	}
}
