package jobs

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// RunID names a run: the same job of the same homeserver for the same due time
// is the same run.
type RunID struct {
	Job        string    `json:"job"`
	Homeserver string    `json:"homeserver"`
	Due        time.Time `json:"due"` // to the second, UTC
}

// dueFormat is how a due time is written in names. Stored data.
const dueFormat = "20060102T150405Z"

var runName = regexp.MustCompile(`^([a-z][a-z0-9-]*)-([0-9]{8}[Tt][0-9]{6}[Zz])$`)

// String names the run among those of its homeserver, for people and for the
// command line: backup-20261125T020000Z.
func (id RunID) String() string {
	return id.Job + "-" + id.Slot()
}

// Slot is the due time as names have it: 20261125T020000Z. It sorts by time.
func (id RunID) Slot() string {
	return id.Due.UTC().Format(dueFormat)
}

// ParseRunID reads what [RunID.String] writes, in either case.
func ParseRunID(homeserver, text string) (RunID, error) {
	m := runName.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return RunID{}, fmt.Errorf("%q names no run: one looks like backup-20261125T020000Z", text)
	}
	due, err := time.Parse(dueFormat, strings.ToUpper(m[2]))
	if err != nil {
		return RunID{}, fmt.Errorf("%q names no run: %w", text, err)
	}
	return RunID{Job: m[1], Homeserver: homeserver, Due: due}, nil
}
