package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// Note decodes what a step noted when it last ended, in this attempt or an
// earlier one, into v. fs.ErrNotExist where it has noted nothing.
func (r *Run) Note(step string, v any) error {
	rec := r.step(step)
	if rec == nil || len(rec.Note) == 0 {
		return fmt.Errorf("run %s has no note of step %s: %w", r.RunID, step, fs.ErrNotExist)
	}
	if err := json.Unmarshal(rec.Note, v); err != nil {
		return fmt.Errorf("run %s: the note of step %s is unreadable: %w", r.RunID, step, err)
	}
	return nil
}

// Fresh returns the ID of a run that is to begin now: that of the first second
// from now on that has no run of the job yet. What is due at a time of its own
// takes that time instead.
func (r *Runner) Fresh(ctx context.Context, homeserver, job string) (RunID, error) {
	id := RunID{Job: job, Homeserver: homeserver, Due: r.now().UTC().Truncate(time.Second)}
	for {
		run, err := r.Journal.Open(ctx, id)
		if err != nil {
			return id, fmt.Errorf("%s of %s: %w", job, homeserver, err)
		}
		if run.Tag == "" {
			return id, nil
		}
		id.Due = id.Due.Add(time.Second)
	}
}

// step returns the record of a step, nil where it was never begun.
func (r *Run) step(name string) *StepRecord {
	for i := range r.Steps {
		if r.Steps[i].Name == name {
			return &r.Steps[i]
		}
	}
	return nil
}

// done says whether the journal has the step as done.
func (r *Run) done(step string) bool {
	rec := r.step(step)
	return rec != nil && rec.State == Done
}

// begin returns the record of a step, a new one where there is none.
func (r *Run) begin(step string) *StepRecord {
	if rec := r.step(step); rec != nil {
		return rec
	}
	r.Steps = append(r.Steps, StepRecord{Name: step})
	return &r.Steps[len(r.Steps)-1]
}

// oneLine is an error as the journal keeps it: short, without line breaks.
func oneLine(err error) string {
	const most = 2000
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + " …"
	}
	return text
}
