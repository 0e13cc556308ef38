package app

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/cmd/internal/config"
	"github.com/synapse-maint/synapse-maint/jobs/postgres"
	"github.com/synapse-maint/synapse-maint/storage"
)

const twoServers = `
stores:
  main: {url: "s3://main", objectLock: 720h}
  spare: {url: "s3://spare/matrix?region=eu-central-1"}
defaults: {store: main, jobs: 3}
homeservers:
  a.example.com: {database: {url: "postgres://a@db/a", passwordEnv: A_PASSWORD}}
  b.example.com: {store: spare, jobs: 5, jobIdentity: /etc/b.key}
`

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "conf.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFlagsBeatFile(t *testing.T) {
	t.Parallel()
	path := write(t, twoServers)
	for name, c := range map[string]struct {
		o     Options
		store string
		jobs  int
		db    config.Database
	}{
		"defaults":        {Options{Homeserver: "a.example.com"}, "s3://main", 3, config.Database{URL: "postgres://a@db/a", PasswordEnv: "A_PASSWORD"}},
		"of its own":      {Options{Homeserver: "b.example.com"}, "s3://spare/matrix?region=eu-central-1", 5, config.Database{}},
		"store by name":   {Options{Homeserver: "a.example.com", Store: "spare"}, "s3://spare/matrix?region=eu-central-1", 3, config.Database{URL: "postgres://a@db/a", PasswordEnv: "A_PASSWORD"}},
		"store by URL":    {Options{Homeserver: "a.example.com", Store: "file:///x"}, "file:///x", 3, config.Database{URL: "postgres://a@db/a", PasswordEnv: "A_PASSWORD"}},
		"jobs":            {Options{Homeserver: "b.example.com", Jobs: 1}, "s3://spare/matrix?region=eu-central-1", 1, config.Database{}},
		"its password is": {Options{Homeserver: "a.example.com", Database: "postgres://other/x"}, "s3://main", 3, config.Database{URL: "postgres://other/x"}},
	} {
		c.o.Config = path
		a, err := New(c.o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if a.store.URL != c.store || a.conf.Jobs != c.jobs || a.conf.Database != c.db {
			t.Errorf("%s: store %s, %d jobs, database %+v", name, a.store.URL, a.conf.Jobs, a.conf.Database)
		}
	}
}

// A URL that the file has under a name is that store, with its object lock.
func TestStoreByItsURLKeepsWhatTheFileSays(t *testing.T) {
	t.Parallel()
	a, err := New(Options{Config: write(t, twoServers), Homeserver: "a.example.com", Store: "s3://main"})
	if err != nil {
		t.Fatal(err)
	}
	if a.store.ObjectLock == 0 {
		t.Error("the object lock is forgotten")
	}
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	path := write(t, twoServers)
	for want, o := range map[string]Options{
		"several homeservers":         {Config: path},
		"did you mean a.example.com?": {Config: path, Homeserver: "a.exmaple.com"},
		"did you mean spare?":         {Config: path, Homeserver: "a.example.com", Store: "spaer"},
		"no such file":                {Config: path + ".missing"},
	} {
		if _, err := New(o); !errors.Is(err, ErrUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("want %s, got %v", want, err)
		}
	}
}

// Whatever is in a password, the driver gets it as it is, and no text has it.
func TestPasswordsArriveWhole(t *testing.T) {
	t.Parallel()
	for _, password := range []string{"simple", `a'b\c d`, "p@ss:w/rd?x=%41&y#z", "ünïcode +plus"} {
		for _, dsn := range []string{
			"postgres://u@127.0.0.1/db", "postgres://u@127.0.0.1/db?sslmode=disable", "postgres:///db", "host=127.0.0.1 user=u", "",
		} {
			c, err := postgres.ParseConfig(addPassword(dsn, password))
			if err != nil {
				t.Errorf("%s with %s: %v", dsn, password, err)
				continue
			}
			found := false
			for _, kv := range c.Env() {
				found = found || kv == "PGPASSWORD="+password
			}
			if !found {
				t.Errorf("%s: the password %s did not arrive", dsn, password)
			}
			if strings.Contains(c.String(), password) {
				t.Errorf("%s shows the password", c)
			}
		}
	}
}

func TestPasswordFromFileAndEnvironment(t *testing.T) {
	path := write(t, "from a file\n")
	t.Setenv("TEST_DATABASE_PASSWORD", "from the environment")
	for want, d := range map[string]config.Database{
		"host=x password='from a file'":          {URL: "host=x", PasswordFile: path},
		"host=x password='from the environment'": {URL: "host=x", PasswordEnv: "TEST_DATABASE_PASSWORD"},
		"host=x":                                 {URL: "host=x"},
	} {
		if got, err := withPassword(d); err != nil || got != want {
			t.Errorf("%q, %v", got, err)
		}
	}
	for _, d := range []config.Database{{PasswordFile: path + ".missing"}, {PasswordFile: write(t, "\n")}, {PasswordEnv: "TEST_NO_SUCH_VARIABLE"}} {
		if _, err := withPassword(d); !errors.Is(err, ErrUsage) {
			t.Errorf("%+v: %v", d, err)
		}
	}
}

func TestStoreURLs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := openStore(t.Context(), "file://"+dir, false, nil); err != nil {
		t.Error(err)
	}
	if _, err := openStore(t.Context(), "file://"+dir+"/new", false, nil); !errors.Is(err, storage.ErrNoStore) {
		t.Errorf("a missing folder: %v", err)
	}
	for _, bad := range []string{"gs://x", "file://host/x", "file:x", "file:///x?y=z", "s3://", "s3://b?nonsense=1", "://"} {
		if _, err := openStore(t.Context(), bad, true, nil); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
