// Package jobs is what every procedure is made of: a [Job] is a list of named
// [Step]s; one execution of it is a [Run], kept in a [Journal] before and after
// each step; a [Runner] executes it under a [Locker]'s lock. A scheduler, a
// CronJob and a person at a terminal take the same road.
//
// The states of a run, and of a step:
//
//	               Runner.Run
//	                   |        all steps done
//	                   v       +--------------> done         stays so: the same
//	+------------> running ----+                             tick twice is one run
//	|                  |       |  some only in part (ErrIncomplete)
//	|                  |       +--------------> incomplete --+
//	|                  |       |  a step failed or panicked  |
//	|     process      |       +--------------> failed ------+
//	|     killed       |       |  its context ended          |
//	|                  |       +--------------> interrupted -+
//	|                  |                             ^       |
//	|                  +--> (still "running" in the  |       |
//	|                       journal) ----------------+       |
//	|                                 its lock is taken over |
//	|                                                        |
//	+------------ Runner.Run again --------------------------+
//	              skips the steps that are done
//
// A killed run stays "running" in the journal until somebody takes its lock
// over. The process that lost it learns so at its next save ([ErrStale]) and
// stops where it is.
//
// It imports the standard library only. Procedures live in the packages below
// it and know neither each other nor PostgreSQL, S3 or Kubernetes.
package jobs

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"time"
)

// Progress is how far a step is. Where a job reports it, a
// func(Progress) is among its options; it is called from several goroutines,
// often, and has to return at once.
type Progress struct {
	What        string // what is worked on, for people: a table's name
	Done, Total int64  // bytes; Total 0: unknown
}

// Errors that callers branch on.
var (
	// ErrLocked says that another run holds the homeserver's lock; the wrapped
	// text names it.
	ErrLocked = errors.New("locked by another run")
	// ErrStale says that the journal's record of a run was written by somebody
	// else since it was read: this process must not go on with it.
	ErrStale = errors.New("the run was taken over by another process")
	// ErrLockLost is why a held context ends where the lock can't be kept: its
	// heartbeats don't reach the store any more.
	ErrLockLost = errors.New("the lock is lost")
	// ErrIncomplete is wrapped by the error of a step that did a part of its
	// work: the following steps run all the same, and the run ends as
	// [Incomplete].
	ErrIncomplete = errors.New("done in part")
)

// Job is a procedure.
type Job interface {
	// Name is stored data (journal keys): a lower-case word.
	Name() string
	// Plan reads only. It returns the steps, or an error where the job can't
	// work, before anything is touched.
	Plan(ctx context.Context, run *Run) ([]Step, error)
}

// Step is a named part of a job, safe to repeat and safe to be killed in.
type Step struct {
	Name string // stored data
	// Do does it. Its note is journalled as JSON and can be read by later steps
	// and by the run that resumes, through [Run.Note].
	Do func(ctx context.Context) (note any, err error)
	// Always runs the step also after a failure of an earlier one, like defer,
	// and under a context that survives the interruption for a while
	// ([Runner.Grace]). Every attempt runs it, whatever the journal says.
	Always bool
	// Again runs the step also where the journal says that it was done: for
	// steps that make what lives in memory only.
	Again bool
}

// State of a run or step. Stored data.
type State string

// The states. A run goes from running to one of the others and, when resumed,
// back to running.
const (
	Running     State = "running"
	Done        State = "done"
	Incomplete  State = "incomplete" // done in part
	Failed      State = "failed"
	Interrupted State = "interrupted"
)

// Run is one execution of a job: what the journal keeps.
type Run struct {
	RunID
	State   State           `json:"state"`
	Request json.RawMessage `json:"request,omitempty"` // what was asked for, the job's own shape; never secrets
	Started time.Time       `json:"started"`
	Ended   time.Time       `json:"ended,omitzero"`
	Host    string          `json:"host"` // where the last process that ran it was
	PID     int             `json:"pid"`
	Steps   []StepRecord    `json:"steps"`
	Error   string          `json:"error,omitempty"`
	// Unlocked says that the job needs no lock: whether its process lives is told
	// by the age of this record instead ([Beat]).
	Unlocked bool `json:"unlocked,omitempty"`

	// Tag is the journal's version of the record, empty where it was never
	// saved. Only journals set it.
	Tag string `json:"-"`
}

// StepRecord is what the journal keeps of a step.
type StepRecord struct {
	Name    string          `json:"name"`
	State   State           `json:"state"`
	Started time.Time       `json:"started"`
	Ended   time.Time       `json:"ended,omitzero"`
	Note    json.RawMessage `json:"note,omitempty"`
	Error   string          `json:"error,omitempty"`
}

// Journal keeps runs.
type Journal interface {
	// Open returns the run with this ID, or a new one that is not saved yet.
	Open(ctx context.Context, id RunID) (*Run, error)
	// Save writes the run; ErrStale if somebody else has since it was read.
	Save(ctx context.Context, run *Run) error
	// Runs yields a homeserver's runs of a job, newest first. A record that
	// can't be read is yielded as an error beside a Run that has its RunID
	// only; those after it follow.
	Runs(ctx context.Context, homeserver, job string) iter.Seq2[*Run, error]
}

// Locker gives out one lock a name.
type Locker interface {
	// Lock takes the lock, or says who has it (ErrLocked). held ends with ctx
	// and when the lock is lost, with ErrStale (another process has it) or
	// ErrLockLost as its cause: work under it. A holder that died is taken over. release
	// gives the lock back, also when ctx has ended.
	Lock(ctx context.Context, name, purpose string) (held context.Context, release func() error, err error)
}
