package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func load(t *testing.T, path string) *File {
	t.Helper()
	f, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestLoad(t *testing.T) {
	t.Parallel()
	f := load(t, "testdata/good/everything.yaml")
	folder, err := filepath.Abs("testdata/good")
	if err != nil {
		t.Fatal(err)
	}
	operators := []string{"age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"}
	for name, want := range map[string]Homeserver{
		"matrix.example.com": {
			Store: "offsite",
			Database: Database{
				URL:          "postgres://synapse@db.example.com/synapse?sslmode=verify-full",
				PasswordFile: folder + "/password", // beside the file
			},
			Recipients:  operators,
			Identities:  []string{folder + "/keys/operator.key", "/etc/synapse-maint/second.key"},
			JobIdentity: folder + "/keys/job.key",
			Jobs:        4,
			PgBinDir:    "/usr/lib/postgresql/17/bin",
			Backup:      Backup{CompressionLevel: 3, KeepOneTimeKeys: true},
			Restore:     Restore{KeepOld: 24 * time.Hour},
		},
		"chat.example.org": {
			Store:      "s3://other-bucket",
			Database:   Database{URL: "host=db2.example.com dbname=synapse user=synapse", PasswordEnv: "CHAT_PASSWORD"},
			Recipients: []string{}, // said to be none, in spite of the defaults
			Jobs:       1,
		},
		"test.example.net": {
			Store: "offsite", Database: Database{PasswordFile: folder + "/password"}, Recipients: operators, Jobs: 4,
		},
	} {
		got, h, err := f.Homeserver(name)
		if err != nil || got != name || !reflect.DeepEqual(h, want) {
			t.Errorf("%s, %v:\ngot  %+v\nwant %+v", got, err, h, want)
		}
	}
	if got := f.Stores["offsite"].ObjectLock; got != 30*24*time.Hour {
		t.Errorf("object lock of %s", got)
	}
	if f.Path() != "testdata/good/everything.yaml" {
		t.Errorf("path %s", f.Path())
	}
}

func TestWhichHomeserver(t *testing.T) {
	t.Parallel()
	several := load(t, "testdata/good/everything.yaml")
	one := &File{Homeservers: map[string]Homeserver{"only.example.com": {Jobs: 7}}, path: "one.yaml"}
	none := load(t, "testdata/good/only_defaults.yaml")
	for name, c := range map[string]struct {
		file          *File
		asked         string
		want, problem string
	}{
		"by name":               {several, "test.example.net", "test.example.net", ""},
		"the only one":          {one, "", "only.example.com", ""},
		"defaults":              {none, "matrix.example.com", "matrix.example.com", ""},
		"defaults without name": {none, "", "", ""},
		"no file":               {&File{}, "matrix.example.com", "matrix.example.com", ""},
		"several and no name": {several, "", "", "testdata/good/everything.yaml has several homeservers: " +
			"name one with --homeserver (chat.example.org, matrix.example.com, test.example.net)"},
		"near miss":    {several, "matirx.example.com", "", "no homeserver matirx.example.com in testdata/good/everything.yaml; did you mean matrix.example.com?"},
		"domain alone": {several, "example.org", "", "no homeserver example.org in testdata/good/everything.yaml; did you mean chat.example.org?"},
		"far":          {one, "something", "", "no homeserver something in one.yaml; there are only.example.com"},
	} {
		got, _, err := c.file.Homeserver(c.asked)
		if got != c.want || text(err) != c.problem {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
}

func TestWhichStore(t *testing.T) {
	t.Parallel()
	several := load(t, "testdata/good/everything.yaml")
	lock := several.Stores["offsite"].ObjectLock
	one := &File{Stores: map[string]Store{"local": {URL: "file:///srv"}}, path: "one.yaml"}
	for name, c := range map[string]struct {
		file    *File
		asked   string
		want    Store
		problem string
	}{
		"by name":             {several, "local", Store{URL: "file:///srv/backups"}, ""},
		"by URL":              {several, "s3://elsewhere", Store{URL: "s3://elsewhere"}, ""},
		"by a known URL":      {several, several.Stores["offsite"].URL, Store{several.Stores["offsite"].URL, lock}, ""},
		"the only one":        {one, "", Store{URL: "file:///srv"}, ""},
		"none":                {&File{}, "", Store{}, ""},
		"several and no name": {several, "", Store{}, "testdata/good/everything.yaml has several stores: name one with --store (local, offsite)"},
		"near miss":           {several, "ofsite", Store{}, "no store ofsite in testdata/good/everything.yaml; did you mean offsite?"},
		"a folder":            {one, "/srv/backups", Store{}, "no store /srv/backups: a folder is written as file:///srv/backups"},
		"no file":             {&File{}, "offsite", Store{}, "no store offsite: without a configuration file it is a URL, s3://BUCKET/PREFIX or file:///FOLDER"},
	} {
		got, err := c.file.StoreNamed(c.asked)
		if got != c.want || text(err) != c.problem {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestEmptyFileSaysNothing(t *testing.T) {
	t.Parallel()
	f := load(t, "testdata/good/nothing.yaml")
	if len(f.Names()) != 0 || len(f.StoreNames()) != 0 || !reflect.DeepEqual(f.Defaults, Homeserver{}) {
		t.Errorf("got %+v", f)
	}
}

func TestMissingFile(t *testing.T) {
	t.Parallel()
	_, err := Load("testdata/none.yaml")
	if !os.IsNotExist(err) && !strings.HasPrefix(text(err), "configuration file: open testdata/none.yaml") {
		t.Errorf("got %v", err)
	}
}

// What config show prints is a configuration file that says the same.
func TestYAMLIsReadAgain(t *testing.T) {
	t.Parallel()
	for _, path := range files(t, "testdata/good") {
		f := load(t, path)
		text, err := f.YAML()
		if err != nil {
			t.Fatal(err)
		}
		again, err := parse(path, text)
		if err != nil || !reflect.DeepEqual(again, f) {
			t.Errorf("%s: %v\n%s", path, err, text)
		}
		var tree map[string]any
		if js, err := json.Marshal(f); err != nil || json.Unmarshal(js, &tree) != nil {
			t.Errorf("%s: %v in JSON: %s", path, err, js)
		}
	}
}

func TestNoPasswordIsShown(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]string{
		"postgres://synapse@db/synapse":                       "postgres://synapse@db/synapse",
		"postgres:///synapse?host=/run/postgresql":            "postgres:///synapse?host=/run/postgresql",
		"host=db user=synapse passfile=/etc/pw":               "host=db user=synapse passfile=/etc/pw",
		"postgres://synapse:hunter2@db/synapse":               "postgres://synapse@db/synapse",
		"postgres://synapse:hun@ter2@db/synapse":              "postgres://synapse@db/synapse",
		"postgres://synapse:hun/ter2#%@db/synapse":            "postgres://synapse@db/synapse",
		"postgres://synapse@db/synapse?password=hunter2&x=1":  "postgres://synapse@db/synapse?password=…&x=1",
		"postgres://db/synapse?x=1&sslpassword=hunter2":       "postgres://db/synapse?x=1&sslpassword=…",
		"host=db password=hunter2 user=synapse":               "host=db password=… user=synapse",
		`host=db password = 'hun \'ter2' user=synapse`:        "host=db password = … user=synapse",
		"PASSWORD=hunter2":                                    "PASSWORD=…",
		"host=db user=a password='postgres://x hunter2":       "host=db user=a password=…",
		"postgres://synapse:pass%77ord@db/synapse?sslmode=no": "postgres://synapse@db/synapse?sslmode=no",
	} {
		f := &File{
			Stores:      map[string]Store{"s": {URL: "s3://key:hunter2@bucket"}},
			Defaults:    Homeserver{Database: Database{URL: dsn}},
			Homeservers: map[string]Homeserver{"h": {Database: Database{URL: dsn}}},
		}
		shown, err := f.YAML()
		if err != nil || strings.Contains(string(shown), "ter2") {
			t.Errorf("%s: %v, shown as\n%s", dsn, err, shown)
		}
		got := f.redacted().Homeservers["h"].Database.URL
		if got != want || HasPassword(dsn) != (got != dsn) {
			t.Errorf("%s: got %s, want %s; has password: %t", dsn, got, want, HasPassword(dsn))
		}
		if f.Defaults.Database.URL != dsn || f.Homeservers["h"].Database.URL != dsn {
			t.Error("the file itself was changed")
		}
	}
}

func TestDidYouMean(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		name  string
		among []string
		want  string
	}{
		"none":        {"x", nil, ""},
		"swapped":     {"urll", []string{"url", "objectLock"}, "; did you mean url?"},
		"other case":  {"PGBINDIR", []string{"jobs", "pgBinDir"}, "; did you mean pgBinDir?"},
		"underscores": {"job_identity", []string{"jobs", "identities", "jobIdentity"}, "; did you mean jobIdentity?"},
		"a part":      {"compression", []string{"keepOneTimeKeys", "compressionLevel"}, "; did you mean compressionLevel?"},
		"short":       {"db", []string{"s3", "nas"}, "; there are s3, nas"},
		"empty":       {"", []string{"s3", "nas"}, "; there are s3, nas"},
		"many":        {"zzzzz", strings.Split("abcdefghijklmn", ""), "; there are a, b, c, d, e, f, g, h, i, j, k, l and 2 more"},
	} {
		if got := DidYouMean(c.name, c.among); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// Whatever is in a file, it is read or refused in one line.
func FuzzParse(f *testing.F) {
	for _, folder := range []string{"testdata/bad", "testdata/good"} {
		paths, err := filepath.Glob(folder + "/*.yaml")
		if err != nil {
			f.Fatal(err)
		}
		for _, p := range paths {
			seed, err := os.ReadFile(p)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(seed)
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		file, err := parse("f.yaml", text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f.yaml:") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q", err)
			}
			return
		}
		if shown, err := file.YAML(); err != nil {
			t.Errorf("%v: %s", err, shown)
		}
	})
}
