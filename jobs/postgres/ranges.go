package postgres

import (
	"cmp"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// How tables are cut into ranges. What is chosen must be chosen again the next
// night, or nothing of the table is found in the archive; so it depends on the
// table's size alone, and in steps so coarse that a table takes one of them in
// years. There is no memory of what was chosen last: a table that crosses a
// step is sent once more.
const (
	defaultPages = 1024      // 8 MiB of heap
	maxRanges    = 16 << 10  // of one table; from 128 GiB of heap on, ranges double
	heavyRange   = 128 << 20 // bytes of heap and TOAST in an average range; above, ranges are cut by tailShare
	leastPages   = 16        // what heavy ranges are cut down to
	tailShare    = 8         // the last range is cut in as many: this is where rows are added
)

// relation is a table as the catalog has it.
type relation struct {
	OID       uint32
	Schema    string
	Name      string
	Kind      string // r or p, as in pg_class.relkind
	Pages     int64  // of the heap
	Bytes     int64  // of heap and TOAST
	Heap      bool   // its access method is PostgreSQL's own
	Readable  bool   // the role has the right to read it
	Filtered  bool   // row-level security would hide rows from the role
	Extension bool   // an extension owns it
	Condition string // WHERE …, the rows of an extension's table that are the user's
}

// ident is its name for SQL.
func (r *relation) ident() string { return pgx.Identifier{r.Schema, r.Name}.Sanitize() }

// splittable says whether a page range of the table can be read without
// reading all of it: the server has TID range scans since 14.
func (r *relation) splittable(version int) bool {
	return version >= 140000 && r.Heap && r.Condition == ""
}

// rangesOf cuts a table. size is the wanted number of pages, a power of two.
func rangesOf(table int, r *relation, version int, size int64) []synapse.Range {
	size = rangeSize(r, size)
	if r.Pages <= size || !r.splittable(version) {
		return []synapse.Range{{Table: table}}
	}
	var list []synapse.Range
	last := r.Pages - r.Pages%size // where the last, partial range begins
	for lo := int64(0); lo < last; lo += size {
		list = append(list, synapse.Range{Table: table, Lo: lo, Hi: lo + size})
	}
	step := max(1, size/tailShare)
	for lo := last; lo < r.Pages; lo += step {
		list = append(list, synapse.Range{Table: table, Lo: lo, Hi: lo + step})
	}
	list[len(list)-1].Hi = 0 // to the end, wherever that is: no row can be missed
	return list
}

// rangeSize adapts the wanted size to very large tables, and to those with most
// of their bytes in TOAST, which would not be copied in parallel.
func rangeSize(r *relation, size int64) int64 {
	if r.Pages == 0 {
		return size
	}
	for size >= leastPages*tailShare && r.Bytes/r.Pages*size > heavyRange {
		size /= tailShare
	}
	for r.Pages/size > maxRanges {
		size *= 2
	}
	return size
}

// bySize orders tables: the largest first, so that no worker is left with it at
// the end.
func bySize(a, b *relation) int {
	return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(a.Schema, b.Schema), cmp.Compare(a.Name, b.Name))
}

func sortBySize(list []*relation) { slices.SortFunc(list, bySize) }
