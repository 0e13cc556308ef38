package restore

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/storage/archive"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	b := func(size, rows int64) archive.Blob { return archive.Blob{Size: size, Rows: rows} }
	open := func(size, rows int64) archive.Blob { return archive.Blob{Size: size, Rows: rows, Open: true} }
	for _, c := range []struct {
		name  string
		blobs []archive.Blob
		want  string // bytes of each part's blobs
	}{
		{"no rows", nil, ""},
		{"one blob", []archive.Blob{b(3, 1)}, "3"},
		{"a blob of the size is a part", []archive.Blob{b(10, 1), b(10, 1)}, "10 10"},
		{"small ones are gathered", []archive.Blob{b(4, 1), b(4, 1), b(4, 1), b(4, 1)}, "4+4+4 4"},
		{"a row that goes on is not cut", []archive.Blob{open(10, 0), open(10, 0), b(1, 1), b(10, 2)}, "10+10+1 10"},
		{"an open blob has rows that end in it", []archive.Blob{b(10, 5), open(9, 3), b(9, 4)}, "10 9+9"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			table := tableOf(c.blobs)
			parts, err := split(table, 10)
			if err != nil {
				t.Fatal(err)
			}
			if got := partsText(parts); got != c.want {
				t.Errorf("parts are %q, not %q", got, c.want)
			}
			var rows, bytes int64
			for _, p := range shapes(parts) {
				rows, bytes = rows+p.Rows, bytes+p.Bytes
			}
			if rows != table.Rows || bytes != table.Bytes {
				t.Errorf("parts hold %d rows in %d bytes, the table %d in %d", rows, bytes, table.Rows, table.Bytes)
			}
		})
	}
}

// A manifest that contradicts itself would load fewer rows than it promises.
func TestSplitRefusesAManifestThatContradictsItself(t *testing.T) {
	t.Parallel()
	whole := tableOf([]archive.Blob{{Size: 10, Rows: 1}, {Size: 10, Rows: 2}})
	cut := whole
	cut.Blobs = cut.Blobs[:1]
	endless := tableOf([]archive.Blob{{Size: 10, Rows: 1, Open: true}})
	for name, c := range map[string]struct {
		table archive.Table
		want  string
	}{
		"a blob is missing":       {cut, "promises 3 rows in 20 bytes, its blobs hold 1 in 10"},
		"the last row has no end": {endless, "its last row has no end"},
	} {
		if _, err := split(c.table, 10); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "public.t") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func tableOf(blobs []archive.Blob) archive.Table {
	t := archive.Table{Schema: "public", Name: "t", Blobs: slices.Clone(blobs)}
	for _, b := range blobs {
		t.Rows, t.Bytes = t.Rows+b.Rows, t.Bytes+b.Size
	}
	return t
}

func partsText(parts []part) string {
	var out []string
	for _, p := range parts {
		var sizes []string
		for _, b := range p.blobs {
			sizes = append(sizes, fmt.Sprint(b.Size))
		}
		out = append(out, strings.Join(sizes, "+"))
	}
	return strings.Join(out, " ")
}
