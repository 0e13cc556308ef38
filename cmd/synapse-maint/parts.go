package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// liner sets a line of a name and what there is to say of it.
type liner func(name, format string, args ...any)

// partLines say what a point has beside the database, and what not.
func partLines(line liner, m *archive.Media, secrets int, lacks []archive.Lack, degraded []string) {
	if m != nil {
		line("media", "%s, %s, from %s", jobs.Count(m.Files, "file"), jobs.Size(m.Bytes), m.Source)
		mediaLines(line, m)
	}
	if secrets > 0 {
		line("secrets", "%s", jobs.Count(int64(secrets), "file"))
	}
	for _, d := range degraded {
		line("DEGRADED", "%s", d)
	}
	lackLines(line, lacks)
}

// emptiedLine names the tables whose rows were left out.
func emptiedLine(line liner, tables []string) {
	if len(tables) > 0 {
		line("", "left out on purpose: the rows of %s", strings.Join(tables, ", "))
	}
}

func lackLines(line liner, lacks []archive.Lack) {
	for _, l := range lacks {
		name := "lacks"
		if l.Failed {
			name = "FAILED"
		}
		line(name, "%s: %s", l.Part, l.Why)
	}
}

// mediaLines say what is to be known of the files, in few lines.
func mediaLines(line liner, m *archive.Media) {
	if p := m.Proof; p != nil {
		line("", "%s of %s in the database proved by SHA-256; %s without one recorded", jobs.Count(p.Proved, ""), jobs.Count(p.Rows, "file"), jobs.Count(p.Unproved, ""))
		found(line, "lost", "in the database, nowhere on disk, and nobody else's to give", p.Lost)
		found(line, "missing", "in the database, not on disk: Synapse makes or fetches them again", without(p.Missing, p.Lost))
		found(line, "mismatch", "not as the database has recorded them", p.Mismatches)
		found(line, "orphans", "on disk, not in the database", p.Orphans)
	}
	found(line, "unstable", "still being written when they were read", m.Unstable)
	found(line, "vanished", "gone when they were to be read", m.Vanished)
	found(line, "skipped", "not readable, or no files at all", m.Odd)
	if len(m.Left) > 0 {
		line("", "left out: %s", strings.Join(m.Left, ", "))
	}
}

// without are findings that others do not have.
func without(all, others *archive.Findings) *archive.Findings {
	if others.Number() == 0 {
		return all
	}
	rest := &archive.Findings{Count: all.Number() - others.Number()}
	for _, path := range all.First {
		if !slices.Contains(others.First, path) {
			rest.First = append(rest.First, path)
		}
	}
	return rest
}

func found(line liner, name, what string, f *archive.Findings) {
	if f.Number() == 0 {
		return
	}
	text := fmt.Sprintf("%s %s", jobs.Count(f.Count, "file"), what)
	if len(f.First) > 0 {
		text += ", as " + fmt.Sprintf("%q", f.First[0])
	}
	line(name, "%s", text)
}
