package postgres

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// partitioned has partitions of partitions, odd names, and foreign keys to and
// from them.
const partitioned = `
CREATE SCHEMA "Odd One";
CREATE TABLE "Odd One"."Events" (id int, at int NOT NULL, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE early PARTITION OF "Odd One"."Events" FOR VALUES FROM (0) TO (10);
CREATE TABLE "Odd One".late PARTITION OF "Odd One"."Events" FOR VALUES FROM (10) TO (100) PARTITION BY RANGE (at);
CREATE TABLE latest PARTITION OF "Odd One".late FOR VALUES FROM (10) TO (50);
INSERT INTO "Odd One"."Events" SELECT i, i FROM generate_series(1, 40) i;
CREATE TABLE points (id int, at int, CONSTRAINT to_parts FOREIGN KEY (id, at) REFERENCES "Odd One"."Events" DEFERRABLE);
INSERT INTO points SELECT id, at FROM "Odd One"."Events";
CREATE TABLE other (id int PRIMARY KEY);
INSERT INTO other SELECT generate_series(1, 5);
CREATE TABLE parts (id int CONSTRAINT from_parts REFERENCES other) PARTITION BY RANGE (id);
CREATE TABLE part PARTITION OF parts FOR VALUES FROM (0) TO (10);
INSERT INTO parts SELECT id FROM other;
`

// parted is a dump of it.
func parted(t *testing.T) (*Server, *source, string) {
	t.Helper()
	p, s := server(t)
	c := config(t, p.Database(t))
	must(t, execute(t.Context(), connected(t, c), partitioned))
	src := dumpOf(t, c, filepath.Join(p.BinDir(), "pg_dump"))
	name := c.Database() + "_parts"
	created(t, p, s, "run-1", name, src.dump)
	return s, src, name
}

// A partitioned table has no rows of its own: who asks for it wants those of its
// partitions.
func TestASelectedPartitionedTableBringsItsPartitions(t *testing.T) {
	t.Parallel()
	s, src, name := parted(t)
	in, err := s.Inspect(t.Context(), synapse.Request{Run: "run-1", Mode: synapse.ModeBeside, Target: name, Dump: src.dump, TOC: src.toc, Only: []string{"Events"}})
	must(t, err)
	if want := []string{"Odd One.Events", "Odd One.late", "public.early", "public.latest"}; !slices.Equal(slices.Sorted(slices.Values(in.Tables)), want) {
		t.Errorf("it takes %q, not %q", in.Tables, want)
	}
	q := src.request(t, "run-1", name, 1<<10)
	q.Only = []string{"Odd One.Events"}
	rep, err := s.Load(t.Context(), q)
	must(t, err)
	sound(t, rep)
	c := connected(t, s.cfg.With(name))
	var rows int
	must(t, c.QueryRow(t.Context(), `SELECT count(*) FROM "Odd One"."Events"`).Scan(&rows))
	if rows != 40 {
		t.Errorf("%d rows, not 40", rows)
	}
}

func TestAnUnknownTableGetsTheNearMiss(t *testing.T) {
	t.Parallel()
	s, src, name := parted(t)
	for asked, near := range map[string]string{"pionts": "points", "public.pionts": "public.points", "nonsense": ""} {
		in, err := s.Inspect(t.Context(), synapse.Request{Run: "run-1", Mode: synapse.ModeBeside, Target: name, Dump: src.dump, TOC: src.toc, Only: []string{asked}})
		must(t, err)
		want := "no table " + asked + " in the recovery point"
		if near != "" {
			want += "; did you mean " + near + "?"
		}
		if len(in.Problems) != 1 || in.Problems[0] != want {
			t.Errorf("problems %q, want %q", in.Problems, want)
		}
	}
}

// Foreign keys to tables that are left empty hold from then on; those of
// partitioned tables, which can't, are left out.
func TestForeignKeysToEmptyTablesAreNotValidated(t *testing.T) {
	t.Parallel()
	s, src, name := parted(t)
	q := src.request(t, "run-1", name, 1<<10)
	q.Empty = []string{"public.latest", "public.other"}
	for i := range q.Tables {
		if slices.Contains(q.Empty, q.Tables[i].Schema+"."+q.Tables[i].Name) {
			q.Tables[i].Rows, q.Tables[i].Parts = 0, nil
		}
	}
	rep, err := s.Load(t.Context(), q)
	must(t, err)
	sound(t, rep)
	if want := []string{"from_parts of public.parts (left out)", "to_parts of public.points (NOT VALID)"}; !slices.Equal(slices.Sorted(slices.Values(rep.Unproved)), want) {
		t.Errorf("unproved %q, want %q", rep.Unproved, want)
	}
	c := connected(t, s.cfg.With(name))
	got, err := names(t.Context(), c, `SELECT conname || ' ' || convalidated || ' ' || condeferrable FROM pg_constraint WHERE contype = 'f' AND conparentid = 0`)
	must(t, err)
	if want := "to_parts false true"; strings.Join(got, ", ") != want {
		t.Errorf("foreign keys %q, want %s", got, want)
	}
	if err := execute(t.Context(), c, "INSERT INTO points VALUES (99, 99)"); err == nil {
		t.Error("what is written from now on is not checked")
	}
}
