package backup

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/synapse-maint/synapse-maint/jobs"
)

// Copy is another store that points are copied to.
type Copy interface {
	// Name is the store's. It is stored data, as a part of a step's name.
	Name() string
	// Copy copies a point that is listed, and what else the other store lacks.
	// What it did counts also with an error.
	Copy(ctx context.Context, point string, report func(jobs.Progress)) (Copied, error)
}

// Copied is what a copy did. Stored data (the note of its step).
type Copied struct {
	Store  string   `json:"store"`           // name
	Points []string `json:"points"`          // IDs, in the other store, of those that were copied or were there
	Packs  int      `json:"packs"`           // written
	Bytes  int64    `json:"bytes"`           // of these
	Error  string   `json:"error,omitempty"` // from the journal: why it is not complete
	// Warnings are what did not keep the points away, and should be known.
	Warnings []string `json:"warnings,omitempty"`
}

// stepCopyTo begins the names of the steps that copy. Stored data.
const stepCopyTo = "copy to "

// copies are the steps that follow the commit. A store that fails is named, and
// loses neither the point nor the other stores.
func (j *Job) copies(run *jobs.Run) []jobs.Step {
	var steps []jobs.Step
	for _, c := range j.opt.Copies {
		steps = append(steps, jobs.Step{Name: stepCopyTo + c.Name(), Do: func(ctx context.Context) (any, error) {
			var r Result
			if err := run.Note(stepCommit, &r); err != nil {
				return nil, err
			}
			note, err := c.Copy(ctx, r.Point, j.opt.Progress)
			note.Store = c.Name()
			if err != nil && ctx.Err() == nil && !errors.Is(err, jobs.ErrIncomplete) {
				err = fmt.Errorf("%w: %w", jobs.ErrIncomplete, err)
			}
			return note, err
		}})
	}
	return steps
}

// copiesOf are a run's, as the journal has them.
func copiesOf(run *jobs.Run) []Copied {
	var all []Copied
	for _, s := range run.Steps {
		name, ok := strings.CutPrefix(s.Name, stepCopyTo)
		if !ok {
			continue
		}
		c := Copied{}
		if run.Note(s.Name, &c) != nil { // it was killed, or is of a later version
			c = Copied{}
		}
		c.Store, c.Error = name, strings.TrimPrefix(s.Error, jobs.ErrIncomplete.Error()+": ")
		if c.Error == "" && s.State != jobs.Done {
			c.Error = string(s.State)
		}
		all = append(all, c)
	}
	return all
}
