package backup

import (
	"errors"
	"fmt"
	"strings"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// crossCheck refuses a copy that can't be what the snapshot holds: a failed
// dump must never become a point, however it failed.
func crossCheck(s Contents, d *archive.Database) error {
	if s.StreamReason() != "" {
		if logical(d) == 0 {
			return errors.New("pg_dump gave no bytes: nothing was committed")
		}
		return nil
	}
	if len(s.TOC()) == 0 || len(d.TOC) == 0 {
		return errors.New("the dump has no table of contents: nothing was committed")
	}
	if err := checkRanges(s); err != nil {
		return err
	}
	for i, t := range s.Tables() {
		if err := checkTable(t, d.Tables[i]); err != nil {
			return fmt.Errorf("%s.%s: %w: nothing was committed", t.Schema, t.Name, err)
		}
	}
	return nil
}

// checkRanges proves that the ranges cover every page of every table once.
func checkRanges(s Contents) error {
	tables, ranges := s.Tables(), s.Ranges()
	covered := make([]int64, len(tables)) // pages
	whole := make([]bool, len(tables))
	for _, i := range inOrder(ranges) {
		r := ranges[i]
		t := tables[r.Table]
		if r.Lo != covered[r.Table] || whole[r.Table] {
			return fmt.Errorf("%s.%s: pages %d to %d were copied twice or not at all: nothing was committed", t.Schema, t.Name, covered[r.Table], r.Lo)
		}
		covered[r.Table], whole[r.Table] = r.Hi, r.Hi == 0
	}
	for i, t := range tables {
		if !whole[i] && covered[i] < t.Pages {
			return fmt.Errorf("%s.%s: pages %d to %d were not copied: nothing was committed", t.Schema, t.Name, covered[i], t.Pages)
		}
	}
	return nil
}

// checkTable proves that the blobs of a table make whole rows.
func checkTable(t synapse.Table, a archive.Table) error {
	if a.DumpID != t.DumpID || a.Schema != t.Schema || a.Name != t.Name {
		return errors.New("another table stands in its place")
	}
	var rows, bytes int64
	open := false
	for _, b := range a.Blobs {
		rows, bytes, open = rows+b.Rows, bytes+b.Size, b.Open
	}
	switch {
	case open:
		return errors.New("its last row is cut")
	case rows != a.Rows || bytes != a.Bytes:
		return fmt.Errorf("its blobs have %d rows, %d bytes, not %d and %d", rows, bytes, a.Rows, a.Bytes)
	case (rows == 0) != (bytes == 0):
		return fmt.Errorf("%d rows in %d bytes", rows, bytes)
	}
	return nil
}

// manyRows is from how many rows on it is worth a warning that a table lost
// them all. Synapse's queues empty themselves all the time.
const manyRows = 1000

// compare warns of what is less than in the point before: true it may be, but
// somebody should know.
func (j *Job) compare(m *archive.Manifest) {
	if j.previous == nil || j.previous.Database == nil || m.Database == nil || m.Database.Reason != "" || j.previous.Database.Reason != "" {
		return
	}
	before, now := rows(j.previous.Database), rows(m.Database)
	when := j.previous.Taken.UTC().Format("2006-01-02 15:04 UTC")
	switch {
	case before > 0 && now == 0:
		j.warn("the database had %s in the point of %s and has none now: is it the right one?", jobs.Count(before, "row"), when)
	case before >= manyRows && now < before/2:
		j.warn("the database had %s in the point of %s and has %s now", jobs.Count(before, "row"), when, jobs.Count(now, ""))
	}
	if lost := emptied(j.previous.Database, m.Database); now > 0 && len(lost) > 0 {
		j.warn("emptied or gone since the point of %s: %s", when, strings.Join(lost, ", "))
	}
}

// emptied names tables that had many rows and have none now, the first few.
func emptied(before, now *archive.Database) (names []string) {
	has := make(map[string]bool, len(now.Tables))
	for _, t := range now.Tables {
		has[t.Schema+"."+t.Name] = t.Rows > 0
	}
	for _, t := range before.Tables {
		name := t.Schema + "." + t.Name
		if t.Rows < manyRows || has[name] {
			continue
		}
		if len(names) == 5 {
			return append(names, "…")
		}
		names = append(names, fmt.Sprintf("%s (%s)", name, jobs.Count(t.Rows, "row")))
	}
	return names
}
