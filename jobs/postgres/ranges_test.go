package postgres

import (
	"fmt"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

func TestRangesOfATable(t *testing.T) {
	const gib = 1 << 30
	for _, c := range []struct {
		name    string
		r       relation
		version int
		size    int64
		want    string
	}{
		{"empty", relation{Heap: true}, 150000, 1024, "all"},
		{"one range", relation{Heap: true, Pages: 1024, Bytes: 8 << 20}, 150000, 1024, "all"},
		{"the rest is cut in eighths", relation{Heap: true, Pages: 1024 + 300, Bytes: 11 << 20}, 150000, 1024, "0-1024 1024-1152 1152-1280 1280-"},
		{"no rest", relation{Heap: true, Pages: 2048, Bytes: 16 << 20}, 150000, 1024, "0-1024 1024-"},
		{"before TID range scans", relation{Heap: true, Pages: 5000, Bytes: 40 << 20}, 130000, 1024, "all"},
		{"of another access method", relation{Pages: 5000, Bytes: 40 << 20}, 150000, 1024, "all"},
		{"only some rows", relation{Heap: true, Pages: 5000, Bytes: 40 << 20, Condition: "WHERE x"}, 150000, 1024, "all"},
		{"tiny ranges", relation{Heap: true, Pages: 10, Bytes: 80 << 10}, 150000, 4, "0-4 4-8 8-9 9-"},
		{"TOAST is most of it", relation{Heap: true, Pages: 300, Bytes: 100 * gib}, 150000, 1024, "24 ranges"},
		{"half a terabyte", relation{Heap: true, Pages: 64 << 20, Bytes: 512 * gib}, 150000, 1024, "16384 ranges"},
	} {
		t.Run(c.name, func(t *testing.T) {
			list := rangesOf(3, &c.r, c.version, c.size)
			if got := written(list); got != c.want && fmt.Sprintf("%d ranges", len(list)) != c.want {
				t.Errorf("got %.200s, want %s", got, c.want)
			}
			covers(t, list, c.r.Pages)
		})
	}
}

// One huge TOAST was copied as a single job (planetscale/pgcopydb#50): here a
// table of 300 pages and 100 GiB beside them.
func TestAHugeTOASTIsNoSingleJob(t *testing.T) {
	t.Parallel()
	const pages = 300
	list := rangesOf(0, &relation{Heap: true, Pages: pages, Bytes: 100 << 30}, 150000, defaultPages)
	for _, r := range list {
		if hi := min(max(r.Hi, r.Lo+1), pages); hi-r.Lo > pages/16 {
			t.Errorf("one job copies the pages %d to %d of %d", r.Lo, hi, pages)
		}
	}
	if len(list) < 16 {
		t.Errorf("%d jobs", len(list))
	}
}

func written(list []synapse.Range) string {
	var b []string
	for _, r := range list {
		switch {
		case r.Lo == 0 && r.Hi == 0:
			b = append(b, "all")
		case r.Hi == 0:
			b = append(b, fmt.Sprintf("%d-", r.Lo))
		default:
			b = append(b, fmt.Sprintf("%d-%d", r.Lo, r.Hi))
		}
	}
	return strings.Join(b, " ")
}

// covers proves that no page is missed or copied twice, also one beyond the
// end.
func covers(t *testing.T, list []synapse.Range, pages int64) {
	t.Helper()
	next := int64(0)
	for i, r := range list {
		last := i == len(list)-1
		if r.Table != 3 || r.Lo != next || last != (r.Hi == 0) || !last && r.Hi <= r.Lo {
			t.Fatalf("range %d is %+v after page %d", i, r, next)
		}
		next = r.Hi
	}
	if l := list[len(list)-1].Lo; l > 0 && l >= pages {
		t.Errorf("the last range begins at page %d of %d", l, pages)
	}
}

// A table that grows keeps the ranges it had, but for its last.
func TestRangesStayWhenATableGrows(t *testing.T) {
	var before []synapse.Range
	for pages := int64(2000); pages < 12000; pages += 777 {
		now := rangesOf(0, &relation{Heap: true, Pages: pages, Bytes: pages * 9000}, 150000, 1024)
		for _, r := range before {
			if full := r.Hi-r.Lo == 1024; full && !contains(now, r) {
				t.Fatalf("range %+v is gone at %d pages", r, pages)
			}
		}
		before = now
	}
}

func contains(list []synapse.Range, r synapse.Range) bool {
	for _, x := range list {
		if x == r {
			return true
		}
	}
	return false
}

func TestParseCopy(t *testing.T) {
	for _, c := range []struct{ stmt, table, columns, whole, part string }{
		{
			"COPY public.t (a, b) FROM stdin;\n", `"public"."t"`, "a, b",
			`COPY "public"."t" (a, b) TO STDOUT`, `COPY (SELECT a, b FROM ONLY "public"."t" WHERE ctid >= '(8,0)' AND ctid < '(16,0)') TO STDOUT`,
		},
		{
			"COPY public.none  FROM stdin;\n", `"public"."none"`, "",
			`COPY "public"."none" TO STDOUT`, `COPY (SELECT  FROM ONLY "public"."none" WHERE ctid >= '(8,0)' AND ctid < '(16,0)') TO STDOUT`,
		},
		{
			"COPY \"S (x) \"\" FROM stdin\".\"a b\nc\" (\"col (y)\") FROM stdin;\n", "\"S (x) \"\" FROM stdin\".\"a b\nc\"", "\"col (y)\"",
			"COPY \"S (x) \"\" FROM stdin\".\"a b\nc\" (\"col (y)\") TO STDOUT", "",
		},
	} {
		got, err := parseCopy(c.stmt)
		if err != nil || got.table != c.table || got.columns != c.columns {
			t.Errorf("%q: %+v, %v", c.stmt, got, err)
			continue
		}
		if sql := got.copyOut(synapse.Range{}, ""); sql != c.whole {
			t.Errorf("whole: %s", sql)
		}
		if sql := got.copyOut(synapse.Range{Lo: 8, Hi: 16}, ""); c.part != "" && sql != c.part {
			t.Errorf("part: %s", sql)
		}
	}
	for _, stmt := range []string{"", "COPY t (a) FROM stdin WITH (FORMAT csv);\n", "COPY t a FROM stdin;\n", "INSERT INTO t VALUES (1);"} {
		if c, err := parseCopy(stmt); err == nil {
			t.Errorf("%q is %+v", stmt, c)
		}
	}
}
