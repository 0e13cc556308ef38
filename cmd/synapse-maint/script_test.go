package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/dir"
)

// TestScripts runs testdata/*.txt on a real PostgreSQL and a real S3 server.
// Beside what testscript has, scripts know:
//
//	fill NAME           a small Synapse-shaped database, $NAME its URL, $NAME_db its name
//	code N CMD …        the command ends with this exit code
//	capture NAME REGEX  $NAME is what the first group matches in standard output
//	sql URL STATEMENT   psql
//	damage DIR PATTERN  change a byte of the first such file below DIR; cut: half it
//	json                standard output is exactly one JSON document
//	secretless TEXT…    neither output has one of these texts
//	ahead DIR DURATION  the newest point of an archive again, taken so much later
//	columns N           no line of standard output is wider
func TestScripts(t *testing.T) {
	pg, s3 := testbed.Postgres(t), testbed.S3(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(e *testscript.Env) error {
			tb := e.T().(testing.TB)
			e.Values["t"] = tb
			bucket := s3.Bucket(tb)
			for _, kv := range s3.Env() {
				k, v, _ := strings.Cut(kv, "=")
				e.Setenv(k, v)
			}
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("XDG_DATA_HOME", e.WorkDir+"/data")
			e.Setenv("PG_HOST", fmt.Sprintf("127.0.0.1:%d", pg.Port()))
			e.Setenv("PG_PASSWORD", pg.Password())
			e.Setenv("PATH", pg.BinDir()+":"+os.Getenv("PATH"))
			e.Setenv("STORE_URL", s3.URL(bucket))
			e.Setenv("NO_BUCKET_URL", s3.URL("no-such-bucket"))
			e.Setenv("FOLDER_URL", "file://"+e.WorkDir+"/store")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"fill":       func(ts *testscript.TestScript, _ bool, args []string) { fill(ts, pg, args) },
			"code":       code,
			"capture":    capture,
			"sql":        sql,
			"damage":     damage,
			"json":       isJSON,
			"secretless": secretless,
			"ahead":      ahead,
			"columns":    atMost,
		},
	})
}

func fill(ts *testscript.TestScript, pg *testbed.PG, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: fill NAME")
	}
	text := testbed.SynapseDatabase(ts.Value("t").(testing.TB), pg, 0.01)
	u, err := url.Parse(text)
	ts.Check(err)
	ts.Setenv(args[0], text)
	ts.Setenv(args[0]+"_db", strings.TrimPrefix(u.Path, "/"))
}

func code(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: code N CMD …")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	switch err := ts.Exec(args[1], args[2:]...); {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func capture(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: capture NAME REGEX")
	}
	m := regexp.MustCompile("(?m)" + args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if m == nil {
		ts.Fatalf("no match for %s", args[1])
	}
	ts.Setenv(args[0], m[1])
}

func sql(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: sql URL STATEMENT")
	}
	ts.Check(ts.Exec("psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", args[0], "-c", args[1]))
}

// damage changes the middle byte of a file, or cuts it there ("cut" as third
// argument).
func damage(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: damage DIR PATTERN [cut]")
	}
	pattern := regexp.MustCompile(args[1])
	found := ""
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && pattern.MatchString(path) {
			found = path
			return fs.SkipAll
		}
		return err
	}))
	if found == "" {
		ts.Fatalf("no file like %s", args[1])
	}
	text, err := os.ReadFile(found)
	ts.Check(err)
	middle := len(text) / 2
	if len(args) > 2 {
		text = text[:middle]
	} else {
		text[middle] ^= 1
	}
	ts.Check(os.WriteFile(found, text, 0o600))
}

func isJSON(ts *testscript.TestScript, _ bool, _ []string) {
	d := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	var v any
	ts.Check(d.Decode(&v))
	if err := d.Decode(&v); !errors.Is(err, io.EOF) {
		ts.Fatalf("after the JSON document there is something else (%v)", err)
	}
}

func secretless(ts *testscript.TestScript, _ bool, args []string) {
	for _, text := range args {
		if len(text) < 6 {
			ts.Fatalf("%q is too short for a secret", text)
		}
		if strings.Contains(ts.ReadFile("stdout")+ts.ReadFile("stderr"), text) {
			ts.Fatalf("a secret is in the output")
		}
	}
}

func atMost(ts *testscript.TestScript, _ bool, args []string) {
	most, err := strconv.Atoi(args[0])
	ts.Check(err)
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > most {
			ts.Fatalf("%d columns: %s", n, line)
		}
	}
}

func ahead(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: ahead DIR DURATION")
	}
	ctx := ts.Value("t").(testing.TB).Context()
	by, err := time.ParseDuration(args[1])
	ts.Check(err)
	s, err := dir.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	a, err := archive.Open(ctx, s)
	ts.Check(err)
	p, err := a.Find(ctx, "latest")
	ts.Check(err)
	p.Manifest.Taken = p.Taken.Add(by)
	id, err := a.Commit(ctx, p.Manifest)
	ts.Check(err)
	ts.Setenv("ahead", id)
}
