package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

func (p *program) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "Recovery points: time, age, sizes, verified",
		Long: `Lists the recovery points, newest last. Logical is what a point holds, new what the
archive did not have when it was taken, stored what that took in the store. Parts are
d(atabase), m(edia) and s(ecrets), - for one that failed, or after one that is there in part;
! marks a point that was taken when something was lost already.`,
		Args: between(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.runList(cmd.Context()) },
	}
}

// listed is a recovery point in JSON.
type listed struct {
	ID       string                `json:"id"`
	Taken    time.Time             `json:"taken"`
	Age      float64               `json:"age_seconds"`
	Parts    []string              `json:"parts"`
	Lacks    []archive.Lack        `json:"lacks,omitempty"`
	Degraded []string              `json:"degraded,omitempty"`
	Sizes    *archive.Sizes        `json:"sizes"` // null where the manifest can't be read
	Verified *archive.Verification `json:"verified"`
	Error    string                `json:"error,omitempty"`
}

func (p *program) runList(ctx context.Context) error {
	a, err := p.archive(ctx, "")
	if err != nil {
		return err
	}
	points, err := a.Points(ctx)
	if err != nil {
		return err
	}
	all := []listed{}
	var rows [][]string
	locked := false
	for _, pt := range points {
		l, row := describe(pt)
		all, rows = append(all, l), append(rows, row)
		locked = locked || errors.Is(pt.Err, archive.ErrNoKey)
	}
	text := p.table([]string{"ID (TIME IN UTC)", ">AGE", ">LOGICAL", ">NEW", ">STORED", "PARTS", "VERIFIED"}, rows)
	if strings.Contains(text, unread) {
		text += unread + " all is there, but not all data was read and decrypted: verify --read-data [--identity FILE]\n"
	}
	if n := len(points); n > 0 && points[n-1].OfFuture(time.Now()) {
		text += future + ": the clock here is wrong, or it was when the point was taken: see prune --help\n"
	}
	if len(points) == 0 {
		text = fmt.Sprintf("The archive of %s in %s has no recovery point yet: take one with backup\n", a.Name, a.Store)
	}
	if err := p.print(all, text); err != nil {
		return err
	}
	if locked {
		p.warn("sizes are encrypted: give --identity or --job-identity to see them")
	}
	return nil
}

func describe(pt archive.Point) (listed, []string) {
	age := time.Since(pt.Taken)
	l := listed{ID: pt.ID, Taken: pt.Taken, Age: age.Seconds()}
	logical, fresh, stored, parts := "-", "-", "-", "-"
	if pt.Manifest != nil {
		l.Parts, l.Lacks, l.Degraded = pt.Manifest.Parts(), pt.Manifest.Lacks, pt.Manifest.Degraded
		parts = partLetters(pt.Manifest)
		l.Sizes = &pt.Manifest.Sizes
		logical, fresh, stored = jobs.Size(l.Sizes.Logical), jobs.Size(l.Sizes.New), jobs.Size(l.Sizes.Stored)
	}
	verified, old := verifiedText(pt.Verified), shortAge(age)
	if pt.OfFuture(time.Now()) {
		old = future
	}
	if !pt.Verified.Time.IsZero() {
		l.Verified = &pt.Verified
	}
	switch {
	case errors.Is(pt.Err, archive.ErrNoKey):
		l.Error = pt.Err.Error()
	case pt.Err != nil:
		l.Error, verified = pt.Err.Error(), "DAMAGED"
	}
	return l, []string{pt.ID, old, logical, fresh, stored, parts, verified}
}

// partLetters are the parts of a point, short enough for a column: d m s, a dash
// for one that failed, or after one that is there in part, an exclamation mark
// where something was lost already.
func partLetters(m *archive.Manifest) string {
	var b strings.Builder
	for _, part := range []string{archive.PartDatabase, archive.PartMedia, archive.PartSecrets} {
		if m.Has(part) {
			b.WriteByte(part[0])
		}
		if slices.ContainsFunc(m.Lacks, func(l archive.Lack) bool { return l.Part == part && l.Failed }) {
			b.WriteByte('-')
		}
	}
	if len(m.Degraded) > 0 {
		b.WriteByte('!')
	}
	return b.String()
}

// future is the age of a point that is newer than now.
const future = "FUTURE"

// unread marks a check that did not read the data.
const unread = "*"

// verifiedText is short enough for a column.
func verifiedText(v archive.Verification) string {
	ago := shortAge(time.Since(v.Time))
	switch {
	case v.Time.IsZero():
		return "never"
	case !v.OK:
		return "DAMAGED"
	case v.Level == "data":
		return ago
	default:
		return ago + unread
	}
}

// shortAge is how long ago something was, for a column of six.
func shortAge(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d d", int(d.Hours()/24))
	}
}
