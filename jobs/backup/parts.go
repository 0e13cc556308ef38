package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// consult lets the parts ask the database. That it does not answer is no reason
// to go without media.
func (j *Job) consult(ctx context.Context, rows synapse.MediaRows) error {
	for _, p := range j.opt.Parts {
		if err := p.Consult(ctx, rows); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			j.warn("%s can't be compared with the database: %v", p.Name(), err)
		}
	}
	return nil
}

// takeParts stores the parts beside the database. One that fails is lacking,
// and said to be; only a store that fails, or an interruption, ends the run.
func (j *Job) takeParts(ctx context.Context, w *archive.Writer, m *archive.Manifest) error {
	for _, p := range j.opt.Parts {
		previous, err := j.withPart(ctx, p.Name())
		if err != nil {
			return err
		}
		warnings, err := p.Take(ctx, w, previous, m, j.opt.Progress)
		for _, text := range warnings {
			j.warn("%s", text)
		}
		switch {
		case err == nil:
			continue
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case w.Err() != nil:
			return fmt.Errorf("store the %s: %w", p.Name(), w.Err())
		}
		why := strings.TrimPrefix(err.Error(), jobs.ErrIncomplete.Error()+": ") // of a part that is there, but not all of it
		m.Lacks = append(m.Lacks, archive.Lack{Part: p.Name(), Why: why, Failed: true})
	}
	if len(m.Parts()) == 0 {
		return fmt.Errorf("there is nothing to list: %s", lacking(m))
	}
	return nil
}

// withPart returns the newest point that has a part; nil if there is none, or
// if none can be read.
func (j *Job) withPart(ctx context.Context, part string) (*archive.Manifest, error) {
	if j.previous == nil {
		return nil, nil
	}
	if j.previous.Has(part) {
		return j.previous, nil
	}
	points, err := j.opt.Archive.Points(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, archive.ErrNoKey):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look for an earlier point with %s: %w", part, err)
	}
	for i := len(points) - 1; i >= 0; i-- {
		if m := points[i].Manifest; m != nil && m.Has(part) {
			return m, nil
		}
	}
	return nil, nil
}

func lacking(m *archive.Manifest) string {
	var texts []string
	for _, l := range m.Lacks {
		texts = append(texts, l.Part+": "+l.Why)
	}
	return strings.Join(texts, "; ")
}

// incomplete is the error of a run whose point lacks what it should have had.
func incomplete(m *archive.Manifest) error {
	var texts []string
	for _, l := range m.Lacks {
		if l.Failed {
			what := "no"
			if m.Has(l.Part) {
				what = "not all"
			}
			texts = append(texts, fmt.Sprintf("the point has %s %s: %s", what, l.Part, l.Why))
		}
	}
	if len(texts) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", jobs.ErrIncomplete, strings.Join(texts, "; "))
}
