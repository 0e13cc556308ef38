package deps

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const moduleRoot = "../.."

func TestImportsPointDown(t *testing.T) {
	t.Parallel()
	pkgs := list(t)
	if len(pkgs) < 5 {
		t.Fatalf("go list found %d packages", len(pkgs))
	}
	for _, line := range forbidden(pkgs, rooms()) {
		t.Error(line)
	}
}

func TestPiecesAreSmall(t *testing.T) {
	t.Parallel()
	sources, lines, err := readSources(moduleRoot)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sources {
		// Servers that a test process shares are the one state it has.
		if s.dir != "internal/testbed" {
			lines = append(lines, s.check()...)
			continue
		}
		lines = append(lines, slices.DeleteFunc(s.check(), func(l string) bool { return strings.Contains(l, "the package variable shared") })...)
	}
	for _, line := range lines {
		t.Error(line)
	}
}

func TestForbiddenFindsEachKindOfArrow(t *testing.T) {
	t.Parallel()
	for from, imports := range map[string][]string{
		"storage":           {"jobs", "storage/archive"},
		"storage/s3":        {"storage/archive", "jobs", "github.com/jackc/pgx/v5"},
		"storage/archive":   {"jobs", "storage/s3", "storage/mem", "internal/testbed"},
		"jobs":              {"storage", "jobs/synapse", "golang.org/x/sync/errgroup"},
		"jobs/synapse":      {"jobs", "github.com/jackc/pgx/v5"},
		"jobs/backup":       {"jobs/postgres", "jobs/verify", "restore", "storage/s3", "github.com/aws/aws-sdk-go-v2/service/s3"},
		"jobs/postgres":     {"storage", "jobs", "restore", "jobs/backup"},
		"restore":           {"jobs/postgres", "jobs/journal", "cmd/internal/app"},
		"cmd/internal/app":  {"github.com/jackc/pgx/v5/pgconn", "storage/storetest", "internal/testbed"},
		"cmd/synapse-maint": {"github.com/aws/aws-sdk-go-v2/aws"},
		"internal/demo":     {"restore", "github.com/spf13/cobra"},
	} {
		for _, i := range imports {
			p := pkg{ImportPath: module + "/" + from, Imports: []string{"context", qualified(i)}}
			if got := forbidden([]pkg{p}, rooms()); len(got) != 1 || !strings.Contains(got[0], i) {
				t.Errorf("%s → %s: got %q", from, i, got)
			}
		}
	}
	if got := forbidden([]pkg{{ImportPath: module + "/utils"}}, rooms()); len(got) != 1 {
		t.Errorf("a new room: got %q", got)
	}
}

func TestForbiddenLetsArrowsDown(t *testing.T) {
	t.Parallel()
	for from, imports := range map[string][]string{
		"storage/archive":   {"storage", "filippo.io/age/armor", "github.com/klauspost/compress/zstd"},
		"jobs/backup":       {"jobs", "jobs/synapse", "storage", "storage/archive"},
		"jobs/postgres":     {"jobs/synapse", "jobs/postgres/pgarchive", "github.com/jackc/pgx/v5/pgconn"},
		"cmd/internal/app":  {"storage/s3", "jobs/postgres", "restore", "github.com/spf13/cobra"},
		"cmd/synapse-maint": {"cmd/internal/app"},
	} {
		p := pkg{ImportPath: module + "/" + from}
		for _, i := range imports {
			p.Imports = append(p.Imports, qualified(i))
		}
		if got := forbidden([]pkg{p}, rooms()); len(got) != 0 {
			t.Errorf("got %q", got)
		}
	}
}

func TestCheckFindsEachBrokenRule(t *testing.T) {
	t.Parallel()
	sources, lines, err := readSources("testdata/bad")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sources {
		lines = append(lines, s.check()...)
	}
	all := strings.Join(lines, "\n")
	for _, want := range []string{
		"long.go has 403 lines", "Long has 63 lines", "an interface of 6 methods", "an init function", "has no package comment",
		"variable counter", "variable Table", "variable touched", "variable pointed", "variable client",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("not found: %s", want)
		}
	}
	if len(lines) != 10 {
		t.Errorf("%d lines, want 10:\n%s", len(lines), all)
	}
}

func TestCheckLetsWhatIsNoState(t *testing.T) {
	t.Parallel()
	sources, lines, err := readSources("testdata/good")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sources {
		lines = append(lines, s.check()...)
	}
	if len(lines) > 0 {
		t.Error(strings.Join(lines, "\n"))
	}
}

func qualified(path string) string {
	if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") {
		return path
	}
	return module + "/" + path
}

func list(t *testing.T) (pkgs []pkg) {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = moduleRoot
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(out); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	return pkgs
}
