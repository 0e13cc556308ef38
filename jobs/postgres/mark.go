package postgres

import (
	"strings"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// mark is what a restore leaves in a database's comment, as its last line. What
// somebody wrote there before stays above it. Stored data.
type mark struct {
	theirs string // the rest of the comment
	run    string // the restore's; empty: there is no mark
	done   bool   // it is complete; else this run may fill it
	// guest says that the database was there before, empty: it and what is set
	// on it are somebody else's, and no restore may drop it.
	guest bool
}

const (
	markLoading = "synapse-maint restore "
	markDone    = "synapse-maint restored "
	markGuest   = " into a database that was there"
)

// String is the comment.
func (m mark) String() string {
	text := markLoading
	if m.done {
		text = markDone
	}
	text += m.run
	if m.guest {
		text += markGuest
	}
	if m.theirs != "" {
		text = m.theirs + "\n" + text
	}
	return text
}

// statement writes the mark into the comment of a database.
func (m mark) statement(database string) string {
	return "COMMENT ON DATABASE " + quote(database) + " IS " + literal(m.String())
}

// parseMark reads a comment. One without a mark is all theirs.
func parseMark(comment string) mark {
	theirs, last := "", comment
	if i := strings.LastIndexByte(comment, '\n'); i >= 0 {
		theirs, last = comment[:i], comment[i+1:]
	}
	m := mark{theirs: theirs}
	var ok bool
	if m.run, ok = strings.CutPrefix(last, markLoading); !ok {
		if m.run, m.done = strings.CutPrefix(last, markDone); !m.done {
			return mark{theirs: comment}
		}
	}
	m.run, m.guest = strings.CutSuffix(m.run, markGuest)
	return m
}

// of says whether the mark is that of a run.
func (m mark) of(run string) bool { return m.run != "" && m.run == run }

// runOf is the run that a database belongs to: by its mark, or by the name that
// it has until it bears one. Empty: none.
func runOf(name string, m mark) string {
	if m.run != "" {
		return m.run
	}
	run, _ := synapse.RunOfNew(name)
	return run
}
