package restore

import (
	"fmt"
	"strings"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// minute is how times are shown to people.
const minute = "2006-01-02 15:04 UTC"

// Blueprint is what a restore would do, and why it may not: the plan that is
// shown before anything is touched.
type Blueprint struct {
	Homeserver string    `json:"homeserver"`
	Run        string    `json:"run"`
	Resumes    string    `json:"resumes,omitempty"` // step at which an unfinished run goes on
	Point      string    `json:"point"`
	Taken      time.Time `json:"taken"`
	Age        string    `json:"age"`
	// Verified is the newest check of the point; its time is zero if there was none.
	Verified archive.Verification `json:"verified,omitzero"`

	Request     Request            `json:"request"`
	Database    string             `json:"database"` // the one that is loaded
	DumpVersion int                `json:"dump_version"`
	Server      synapse.Inspection `json:"server"`

	Tables int   `json:"tables"`
	Rows   int64 `json:"rows"`
	Load   int64 `json:"load"`  // bytes to load into the database, plain
	Bytes  int64 `json:"bytes"` // in all

	Fill     []synapse.FillPlan `json:"fill,omitempty"`     // the parts beside the database
	Lacks    []archive.Lack     `json:"lacks,omitempty"`    // parts the point does not have, and why
	Degraded []string           `json:"degraded,omitempty"` // what was lost already when it was taken

	Damaged  []string `json:"damaged,omitempty"` // tables with damaged or missing blobs
	Steps    []string `json:"steps"`
	Warnings []string `json:"warnings,omitempty"`
	Problems []string `json:"problems,omitempty"` // each refuses the restore
}

// Refusal is why the restore can't be begun, in one line; nil if it can.
func (b *Blueprint) Refusal() error {
	if len(b.Problems) == 0 {
		return nil
	}
	return fmt.Errorf("restore refused, nothing was touched: %s", strings.Join(b.Problems, "; "))
}

// Destroys is what the restore destroys, as who is to confirm it is asked; empty:
// nothing.
func (b *Blueprint) Destroys() string {
	var what []string
	if b.Server.LiveExists {
		switch b.Request.Mode {
		case synapse.ModeSwap:
			what = append(what, "replaces the live database "+b.Request.Live)
		case synapse.ModeInPlace:
			what = append(what, "drops the live database "+b.Request.Live)
		}
	}
	for _, p := range b.Fill {
		if p.Replaces > 0 {
			what = append(what, fmt.Sprintf("overwrites %s that %s in %s", jobs.Count(p.Replaces, "file"), differ(p.Replaces), p.Where))
		}
		if p.Deletes > 0 {
			what = append(what, fmt.Sprintf("deletes %s in %s", jobs.Count(p.Deletes, "file"), p.Where))
		}
	}
	if len(what) == 0 {
		return ""
	}
	return "restore " + strings.Join(what, " and ")
}

func differ(n int64) string {
	if n == 1 {
		return "differs"
	}
	return "differ"
}

// deletes says whether files are deleted.
func (b *Blueprint) deletes() bool {
	for _, p := range b.Fill {
		if p.Deletes > 0 {
			return true
		}
	}
	return false
}

// String is the plan as a person reads it.
func (b *Blueprint) String() string {
	var s strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&s, "  %-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&s, "Restore %s of %s\n", b.Run, b.Homeserver)
	line("point", "%s, taken %s (%s ago), %s", b.Point, b.Taken.UTC().Format(minute), b.Age, b.proof())
	if b.Database != "" {
		b.databaseLines(line)
	}
	for _, p := range b.Fill {
		line(p.Part, "%s in %s, into %s", jobs.Count(p.Files, "file"), jobs.Size(p.Bytes), p.Where)
	}
	for _, l := range b.Lacks {
		line("lacks", "%s: %s", l.Part, l.Why)
	}
	for _, d := range b.Degraded {
		line("degraded", "%s", d)
	}
	if b.Resumes != "" {
		line("resumes", "the unfinished run, at step %s", b.Resumes)
	}
	for i, step := range b.Steps {
		fmt.Fprintf(&s, "  %d. %s\n", i+1, step)
	}
	for _, w := range b.Warnings {
		line("warning", "%s", w)
	}
	for _, p := range b.Problems {
		line("refused", "%s", p)
	}
	return s.String()
}

func (b *Blueprint) databaseLines(line func(name, format string, args ...any)) {
	line("mode", "%s", modeText(b.Request.Mode))
	line("database", "%s on %s, PostgreSQL %s (the point is from %s)", b.names(), b.Server.Server,
		versionText(b.Server.ServerVersion), versionText(b.DumpVersion))
	line("size", "%s, %s in %s to load; about %s on disk, %s", jobs.Count(int64(b.Tables), "table"), jobs.Count(b.Rows, "row"),
		jobs.Size(b.Load), jobs.Size(b.Server.NeedBytes), freeText(b.Server.FreeBytes))
	if b.Request.Mode == synapse.ModeBeside {
		return
	}
	line("lost", "%s", b.newerText())
	for _, c := range b.Server.Sessions {
		line("session", "%s", sessionText(c))
	}
}

func (b *Blueprint) proof() string {
	v := b.Verified
	when := v.Time.UTC().Format(minute)
	switch {
	case v.Time.IsZero():
		return "never verified"
	case !v.OK:
		return "found DAMAGED " + when
	case v.Level == "data":
		return "verified " + when
	default:
		return "verified " + when + " (that everything is there, not the data)"
	}
}

func (b *Blueprint) names() string {
	if b.Request.Mode == synapse.ModeBeside {
		return b.Database
	}
	return b.Request.Live + " (loaded as " + b.Database + ")"
}

func modeText(m synapse.Mode) string {
	switch m {
	case synapse.ModeSwap:
		return "swap: load beside the live database, check, then rename"
	case synapse.ModeInPlace:
		return "in-place: drop the live database, then load"
	default:
		return "beside: load into a database of its own, touch nothing else"
	}
}

// newerText is what a restore loses.
func (b *Blueprint) newerText() string {
	n := b.Server.Newer
	switch {
	case n.Known:
	case b.Server.LiveExists:
		return "unknown: what is newer than the point in " + b.Request.Live + " could not be counted"
	default:
		return "unknown: there is no database " + b.Request.Live + " that says what is newer than the point"
	}
	var parts []string
	for _, c := range []struct {
		n    int64
		noun string
	}{{n.Events, "event"}, {n.Users, "new user"}, {n.Devices, "used device"}, {n.Media, "upload"}} {
		if c.n > 0 {
			parts = append(parts, jobs.Count(c.n, c.noun))
		}
	}
	if len(parts) == 0 {
		return "nothing that is newer than the point"
	}
	text := strings.Join(parts, ", ") + " newer than the point"
	if !n.LastSeen.IsZero() {
		text += ", the newest of " + n.LastSeen.UTC().Format(minute)
	}
	return text
}

func sessionText(c synapse.Session) string {
	text := fmt.Sprintf("%d of %s as %s", c.Count, orElse(c.Application, "(unnamed)"), c.User)
	if c.Address != "" {
		text += " from " + c.Address
	}
	if c.Synapse {
		text += " (Synapse)"
	}
	return text
}

func freeText(free int64) string {
	if free < 0 {
		return "free space unknown"
	}
	return jobs.Size(free) + " free"
}

// versionText is server_version_num as people write it.
func versionText(v int) string {
	return fmt.Sprintf("%d.%d", v/10000, v%10000)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// ageText is a duration to two units.
func ageText(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	default:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	}
}
