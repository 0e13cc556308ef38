// Package deps keeps the house in order, for what no compiler and no linter
// checks: which room may import which, and how large a piece may grow. Its
// tests look at the whole module.
//
// It imports the standard library only, and nothing but its tests uses it.
package deps

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

const module = "github.com/synapse-maint/synapse-maint"

// room is what a package, or all below it, may import beyond the standard
// library. Arrows run down: cmd, restore, jobs, storage.
type room struct {
	path    string   // below the module; with "/..." all below it too
	rooms   []string // of this module
	modules []string // of others
}

// rooms is the table of docs/architecture.md. The most exact path counts.
func rooms() []room {
	const (
		archive = "storage/archive"
		sync    = "golang.org/x/sync"
		system  = "golang.org/x/sys"
		zstd    = "github.com/klauspost/compress"
		age     = "filippo.io/age"
		pgx     = "github.com/jackc/pgx/v5"
		service = "github.com/jackc/pgservicefile" // of pgx's own
		aws     = "github.com/aws/aws-sdk-go-v2"
		smithy  = "github.com/aws/smithy-go"
	)
	procedure := []string{"jobs", "jobs/synapse", "storage", archive}
	return []room{
		{"storage", nil, nil},
		{"storage/dir", []string{"storage"}, []string{system}},
		{"storage/mem", []string{"storage"}, nil},
		{"storage/s3", []string{"storage"}, []string{aws, smithy}},
		{"storage/storetest", []string{"storage"}, []string{sync}},
		{archive, []string{"storage"}, []string{zstd, age, sync}},
		{"jobs", nil, nil},
		{"jobs/synapse", nil, nil},
		{"jobs/journal", []string{"jobs", "storage"}, nil},
		{"jobs/backup", procedure, []string{sync}},
		{"jobs/media", procedure, []string{sync, system}},
		{"jobs/copies", procedure, nil},
		{"jobs/secrets", procedure, []string{"go.yaml.in/yaml/v3"}},
		{"jobs/verify", procedure, []string{sync}},
		{"jobs/prune", procedure, nil},
		{"jobs/export", procedure, []string{sync, zstd}}, // it compresses as pg_dump does
		{"jobs/postgres", []string{"jobs/synapse", "jobs/postgres/pgarchive"}, []string{pgx, service, sync, system}},
		{"jobs/postgres/pgarchive", nil, nil},
		{"restore", procedure, []string{sync}},
		{"cmd/...", []string{"cmd/...", "restore", "jobs/...", "storage/..."}, []string{
			"github.com/spf13/cobra", "github.com/spf13/pflag", "sigs.k8s.io/yaml", "go.yaml.in/yaml/v3", "golang.org/x/term", age, sync, system,
			"github.com/prometheus/client_golang",
		}},
		{"internal/testbed/...", []string{"internal/testbed/..."}, []string{pgx, aws, system}},
		{"internal/bench", []string{"internal/testbed"}, []string{pgx, zstd}},
		{"internal/demo", []string{"internal/testbed"}, []string{age}},
		{"internal/deps", nil, nil},
	}
}

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath string
	Imports    []string // without those of its tests
}

// forbidden returns a line for each import that leaves the rooms' table.
func forbidden(pkgs []pkg, table []room) []string {
	var lines []string
	for _, p := range pkgs {
		path := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		r, ok := find(table, path)
		if !ok {
			lines = append(lines, path+" is no room of the table: add it, with what it may import")
			continue
		}
		for _, i := range p.Imports {
			if !allowed(r, i) {
				lines = append(lines, fmt.Sprintf("%s may not import %s", path, strings.TrimPrefix(i, module+"/")))
			}
		}
	}
	return lines
}

func find(table []room, path string) (room, bool) {
	var fit []room
	for _, r := range table {
		if matches(r.path, path) {
			fit = append(fit, r)
		}
	}
	if len(fit) == 0 {
		return room{}, false
	}
	return slices.MaxFunc(fit, func(a, b room) int { return cmp.Compare(exactness(a.path), exactness(b.path)) }), true
}

func exactness(pattern string) int {
	return 2*len(strings.TrimSuffix(pattern, "/...")) + map[bool]int{true: 0, false: 1}[strings.HasSuffix(pattern, "/...")]
}

func matches(pattern, path string) bool {
	base, below := strings.CutSuffix(pattern, "/...")
	return path == base || below && strings.HasPrefix(path, base+"/")
}

func allowed(r room, imported string) bool {
	first, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(first, ".") {
		return true // the standard library
	}
	if imported == module || strings.HasPrefix(imported, module+"/") {
		inner := strings.TrimPrefix(strings.TrimPrefix(imported, module), "/")
		// What only tests use is never part of the program.
		if inner == "storage/storetest" || inner == "storage/mem" {
			return slices.Contains(r.rooms, inner)
		}
		return slices.ContainsFunc(r.rooms, func(p string) bool { return matches(p, inner) })
	}
	return slices.ContainsFunc(r.modules, func(m string) bool { return matches(m+"/...", imported) })
}
