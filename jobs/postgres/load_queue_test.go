package postgres

import (
	"context"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

func workOn(name string, parts int, builds ...build) *tableWork {
	t := &tableWork{LoadTable: synapse.LoadTable{Table: synapse.Table{Name: name}}, builds: builds, analyze: true}
	for i := range parts {
		t.Parts = append(t.Parts, synapse.Part{Bytes: 10})
		t.parts = append(t.parts, i)
		t.left, t.bytes = t.left+10, t.bytes+10
	}
	return t
}

func take(t *testing.T, q *queue, workers int) piece {
	t.Helper()
	p, ok := q.next(workers)
	if !ok {
		t.Fatal("no work")
	}
	return p
}

func TestQueueBeginsWithTheLongestChainAndBuildsWhenRowsAreIn(t *testing.T) {
	t.Parallel()
	q := newQueue([]*tableWork{workOn("small", 1), workOn("large", 2, build{name: "i"}, build{name: "pk", alone: true})})
	first, second := take(t, q, 2), take(t, q, 2)
	if first.table.Name != "large" || second.table.Name != "large" {
		t.Fatalf("began with %s and %s", first.table.Name, second.table.Name)
	}
	q.end(first) // the second part is still being copied: no index yet
	third := take(t, q, 2)
	if third.kind != copyPart || third.table.Name != "small" {
		t.Fatalf("got %+v", third)
	}
	q.end(second)
	pk := take(t, q, 2)
	if pk.build.name != "pk" {
		t.Fatalf("the constraint that suffers no other build goes first, got %q", pk.build.name)
	}
	q.end(third)
	if p := take(t, q, 2); p.kind != analyzeTable || p.table.Name != "small" {
		t.Fatalf("while the constraint is made alone, got %+v", p)
	}
	q.end(pk)
	if p := take(t, q, 2); p.build.name != "i" {
		t.Fatalf("got %+v", p)
	}
}

// full gives a table rows that are in already.
func full(t *tableWork) *tableWork {
	t.bytes = 1000
	return t
}

func TestQueueLetsABuildUseIdleCoresOnly(t *testing.T) {
	t.Parallel()
	q := newQueue([]*tableWork{full(workOn("t", 0, build{name: "a"}, build{name: "b"}, build{name: "c"}))})
	helpers := []int{take(t, q, 2).helpers, take(t, q, 2).helpers}
	if !slices.Equal(helpers, []int{0, 0}) {
		t.Errorf("helpers %v while other builds wait", helpers)
	}
	small := workOn("small", 1, build{name: "s"}) // keeps no core busy for long
	lone := newQueue([]*tableWork{full(workOn("t", 0, build{name: "a"})), small})
	if p := take(t, lone, 4); p.helpers != 3 {
		t.Errorf("%d helpers for the only build of 4 workers", p.helpers)
	}
	chain := newQueue([]*tableWork{full(workOn("t", 0, build{name: "pk", alone: true}, build{name: "a"}))})
	if p := take(t, chain, 2); p.helpers != 1 {
		t.Errorf("%d helpers while all other work waits for this build", p.helpers)
	}
}

func TestBuildMemoryIsSmallUnlessTheTableIsVeryLarge(t *testing.T) {
	t.Parallel()
	const mb, gb = int64(1) << 20, int64(1) << 30
	for _, c := range []struct {
		name       string
		bytes, own int64 // own and want in kB
		want       int64
	}{
		{"a small table", 100 * mb, 64 << 10, 64 << 10},
		{"a server that gives more is not followed", 100 * mb, 2 << 20, 64 << 10},
		{"a server that gives less is", 100 * mb, 16 << 10, 16 << 10},
		{"100 GB are merged at one go", 100 * gb, 64 << 10, 166380},
		{"never more than 1 GB", 10000 * gb, 64 << 10, 1 << 20},
	} {
		if got := buildMemory(c.bytes, c.own); got != c.want {
			t.Errorf("%s: %d kB, want %d", c.name, got, c.want)
		}
	}
}

func TestQueueEndsWhenAllIsBegunOrStopped(t *testing.T) {
	t.Parallel()
	q := newQueue([]*tableWork{workOn("t", 1)})
	q.end(take(t, q, 1))
	q.end(take(t, q, 1)) // its ANALYZE
	if _, ok := q.next(1); ok {
		t.Error("work after the end")
	}
	q = newQueue([]*tableWork{workOn("t", 1)})
	q.stop()
	if _, ok := q.next(1); ok {
		t.Error("work after the stop")
	}
}

// An extension brings its tables with their foreign keys, so that the archive's
// order is the only one that their rows can be loaded in (PostGIS: topology
// before layer).
func TestRowsOfAnExtensionsTablesComeInTheArchivesOrder(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	const tables = `CREATE TABLE topology (id int PRIMARY KEY); CREATE TABLE layer (id int, topology int REFERENCES topology);`
	dsn := filled(t, p, `CREATE EXTENSION citext;`+tables+`INSERT INTO topology VALUES (1); INSERT INTO layer SELECT g, 1 FROM generate_series(1, 1000) g;
		ALTER EXTENSION citext ADD TABLE topology; ALTER EXTENSION citext ADD TABLE layer;
		UPDATE pg_extension SET extconfig = ARRAY['topology'::regclass, 'layer'::regclass]::oid[], extcondition = ARRAY['', ''] WHERE extname = 'citext'`)
	src := dumpOf(t, config(t, dsn), filepath.Join(p.BinDir(), "pg_dump"))
	created(t, p, s, "run-1", "load_topology", src.dump)
	q := src.request(t, "run-1", "load_topology", 1<<20)
	q.Jobs = 1 // which begins with the largest
	whole := q.Fetch
	bring := sync.OnceValue(func() error { return p.Exec(t.Context(), "load_topology", tables) })
	q.Fetch = func(ctx context.Context, table, part int, yield func([]byte) error) error {
		if err := bring(); err != nil { // as CREATE EXTENSION would have
			return err
		}
		return whole(ctx, table, part, yield)
	}
	rep, err := s.Load(t.Context(), q)
	must(t, err)
	sound(t, rep)
	if rep.Rows != 1001 {
		t.Errorf("%d rows", rep.Rows)
	}
}
