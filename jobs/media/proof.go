package media

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// orphanAge is how much older than the database's snapshot a file without a row
// has to be, to be called an orphan: Synapse writes a file first and its row
// when all of it is there, and the clocks of two machines may differ.
const orphanAge = 10 * time.Minute

// prover compares files with what the database says of them.
type prover struct {
	rows  *rows
	taken time.Time // the snapshot
	p     archive.Proof
	worse *archive.Findings // mismatches of local content
}

// newProver returns nil where there is nothing to compare with.
func newProver(r *rows, taken time.Time) *prover {
	if r == nil {
		return nil
	}
	r.forget()
	return &prover{rows: r, taken: taken, p: archive.Proof{Rows: r.n}}
}

// file compares a file that the point has.
func (v *prover) file(e *archive.Entry) {
	if v == nil {
		return
	}
	r := v.rows.find(e.Path)
	if r == nil {
		if e.Modified.Before(v.taken.Add(-orphanAge)) && synapse.IsMediaPath(e.Path) {
			v.p.Orphans = v.p.Orphans.Note(e.Path, e.Size)
		}
		return
	}
	r.size |= rowSeen
	right := r.length() < 0 || r.length() == e.Size
	if r.size&rowHasSum != 0 {
		right = right && bytes.Equal(r.sum[:], e.SHA256[:len(r.sum)])
	}
	switch {
	case !right:
		v.p.Mismatches = v.p.Mismatches.Note(e.Path, e.Size)
		if r.size&rowLocal != 0 {
			v.worse = v.worse.Note(e.Path, e.Size)
		}
	case r.size&rowHasSum != 0:
		v.p.Proved++
	default:
		v.p.Unproved++
	}
}

// local is of how many files of local content the database knows, and how many
// of them were found.
func (v *prover) local() (known, found int64) {
	if v == nil {
		return 0, 0
	}
	for i := range v.rows.list {
		r := &v.rows.list[i]
		if r.size&rowLocal == 0 || r.length() < 0 {
			continue
		}
		known++
		if r.size&rowSeen != 0 {
			found++
		}
	}
	return known, found
}

// finish looks for the rows whose file did not come, and says what of the
// homeserver was lost already. A row without a length is an upload that was
// announced and never came: it has no file.
//
// What is unread, or in a folder that is, is not missing.
func (v *prover) finish(m *archive.Manifest, unread []string) error {
	if v == nil {
		return nil
	}
	for i := range v.rows.list {
		r := &v.rows.list[i]
		if r.size&rowSeen != 0 || r.length() < 0 {
			continue
		}
		path := ""
		if len(unread) > 0 || v.p.Missing.Number() < archive.FindingsNamed || r.size&rowLocal != 0 && v.p.Lost.Number() < archive.FindingsNamed {
			var err error
			if path, err = v.rows.path(i); err != nil {
				return err
			}
		}
		if slices.ContainsFunc(unread, func(d string) bool { return under(path, d) }) {
			continue
		}
		v.p.Missing = v.p.Missing.Note(path, r.length())
		if r.size&rowLocal != 0 {
			v.p.Lost = v.p.Lost.Note(path, r.length())
		}
	}
	if n := v.p.Lost.Number(); n > 0 {
		m.Degraded = append(m.Degraded, fmt.Sprintf("%s of local content in the database and not in the media store%s",
			jobs.Count(n, "file"), named(v.p.Lost)))
	}
	if n := v.worse.Number(); n > 0 {
		m.Degraded = append(m.Degraded, fmt.Sprintf("%s of local content with other bytes than the database has recorded%s",
			jobs.Count(n, "file"), named(v.worse)))
	}
	m.Media.Proof = &v.p
	return nil
}

// named lists the first few findings, for the end of a line.
func named(f *archive.Findings) string {
	const most = 3
	paths := f.First[:min(most, len(f.First))]
	quoted := make([]string, len(paths))
	for i, p := range paths {
		quoted[i] = printable(p)
	}
	text := ": " + strings.Join(quoted, ", ")
	if f.Count > int64(len(paths)) {
		text += ", …"
	}
	return text
}

// printable quotes a path that has anything but what can be printed on a line.
func printable(path string) string {
	if q := fmt.Sprintf("%+q", path); q != `"`+path+`"` || strings.Contains(path, " ") {
		return q
	}
	return path
}
