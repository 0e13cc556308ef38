package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// Filler brings back a part that is not the database: media, secrets. It is
// safe to repeat and to be killed.
type Filler interface {
	// Name is the part's, and its step's in the journal: stored data.
	Name() string
	// Plan looks, and touches nothing.
	Plan(ctx context.Context) (synapse.FillPlan, error)
	// Fill does it and proves it. Its note is journalled. An error that wraps
	// jobs.ErrIncomplete leaves the rest to go on.
	Fill(ctx context.Context, report func(jobs.Progress)) (note any, err error)
}

// planFillers asks the fillers for what the plan shows.
func (j *Job) planFillers(ctx context.Context, run *jobs.Run, b *Blueprint) error {
	for _, f := range j.Fillers {
		if has(run, f.Name()) {
			continue
		}
		p, err := f.Plan(ctx)
		if errors.Is(err, archive.ErrCorrupt) {
			b.Problems = append(b.Problems, fmt.Sprintf("%s: %v; restore the rest with --only, or choose another point", f.Name(), err))
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name(), err)
		}
		b.Fill = append(b.Fill, p)
		b.Bytes += p.Bytes
		b.Warnings = append(b.Warnings, p.Warnings...)
		b.Problems = append(b.Problems, p.Problems...)
	}
	b.Warnings = append(b.Warnings, j.unfilled("")...)
	return nil
}

func notFilled(part string) string {
	if part == archive.PartMedia {
		return "the point's media are not restored: say where to with --media-path DIR"
	}
	return "the point's secrets are not restored: say where to with --secrets-path DIR"
}

func (j *Job) fills(part string) bool {
	return slices.ContainsFunc(j.Fillers, func(f Filler) bool { return f.Name() == part })
}

// fillSteps come before the swap: what the restored rows name is there when
// they go live.
func (j *Job) fillSteps() []jobs.Step {
	var steps []jobs.Step
	for _, f := range j.Fillers {
		steps = append(steps, jobs.Step{Name: f.Name(), Do: func(ctx context.Context) (any, error) {
			note, err := f.Fill(ctx, j.report)
			j.logWarnings(note)
			if err != nil {
				return note, fmt.Errorf("restore the %s: %w", f.Name(), err)
			}
			return note, nil
		}})
	}
	return steps
}

// logWarnings writes what a step warns of into the log: who reads only that
// learns it, too.
func (j *Job) logWarnings(note any) {
	raw, err := encode(note)
	if err != nil {
		return // the runner says so
	}
	for _, w := range warned(raw) {
		j.Log.Warn("restore", "warning", w)
	}
}

func (j *Job) report(p jobs.Progress) {
	if j.Progress != nil {
		j.Progress(p)
	}
}

// withDatabase says whether the database is restored.
func (j *Job) withDatabase() bool {
	return j.Request.WithDatabase(j.Recovery.Manifest)
}

// checkParts refuses parts that the point does not have.
func (j *Job) checkParts() error {
	for _, part := range j.Only {
		switch {
		case part != archive.PartDatabase && part != archive.PartMedia && part != archive.PartSecrets:
			return &RequestError{fmt.Errorf("--only %s: the parts are database, media and secrets", part)}
		case !j.Recovery.Manifest.Has(part):
			return fmt.Errorf("restore of point %s: it holds no %s%s", j.Recovery.ID, part, lackText(j.Recovery.Manifest, part))
		case part != archive.PartDatabase && !j.fills(part):
			return &RequestError{errors.New(notFilled(part))}
		}
	}
	if !j.withDatabase() && len(j.Fillers) == 0 {
		return fmt.Errorf("restore of point %s: it holds no database%s%s; another point is named with --at (see list)",
			j.Recovery.ID, lackText(j.Recovery.Manifest, archive.PartDatabase), strings.Join(j.unfilled("; "), ""))
	}
	return nil
}

// unfilled says of each part that is not restored, though the point has it and
// it was asked for, what is missing.
func (j *Job) unfilled(prefix string) (texts []string) {
	for _, part := range []string{archive.PartMedia, archive.PartSecrets} {
		if j.Recovery.Manifest.Has(part) && !j.fills(part) && j.Request.wants(part) {
			texts = append(texts, prefix+notFilled(part))
		}
	}
	return texts
}

// lackText says why a point does not have a part.
func lackText(m *archive.Manifest, part string) string {
	for _, l := range m.Lacks {
		if l.Part == part {
			return " (" + l.Why + ")"
		}
	}
	return ""
}
