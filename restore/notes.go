package restore

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// Names of the steps. Stored data. The last two are appended to a restore's
// record by the jobs that undo and drop it.
const (
	prepare  = "prepare"
	rehearse = "rehearse"
	vacate   = "vacate"
	create   = "create"
	load     = "load"
	check    = "check"
	swap     = "swap"
	settle   = "settle"
	undone   = "undone"
	dropped  = "dropped"
)

// prepared is what the later steps, and a run that resumes, build on. Stored
// data.
type prepared struct {
	PartBytes int64    `json:"part_bytes"`
	LiveOID   uint32   `json:"live_oid,omitempty"`
	Owner     string   `json:"owner,omitempty"`
	Skipped   []string `json:"skipped,omitempty"` // damaged tables that are left empty
	Read      int64    `json:"read,omitempty"`    // bytes of blobs that were read to prove them
}

// created names a database by what can't be renamed. Stored data.
type created struct {
	Database string `json:"database"`
	OID      uint32 `json:"oid"`
}

// verdict is what was found of the loaded database. Stored data.
type verdict struct {
	Verified []string `json:"verified"` // what was looked at and found good
	Warnings []string `json:"warnings,omitempty"`
	Forced   []string `json:"forced,omitempty"` // serious findings that the operator overrode
}

// settled is the end of a restore. Stored data.
type settled struct {
	Database string    `json:"database"` // the restored one
	OID      uint32    `json:"oid"`
	Kept     *created  `json:"kept,omitempty"`      // the database that was live before
	KeptTill time.Time `json:"kept_until,omitzero"` // not dropped before
	Skipped  []string  `json:"skipped,omitempty"`   // damaged tables, empty now
}

// closing is the note of an undone or dropped record. Stored data.
type closing struct {
	Databases []created `json:"databases,omitempty"`
}

// spoiled is the note of a step that failed because the point is damaged: to
// repeat it is no use. Stored data.
type spoiled struct {
	Damaged bool `json:"damaged"`
}

// isSpoiled says whether that is how a run ended.
func isSpoiled(run *jobs.Run) bool {
	var note spoiled
	for _, name := range []string{prepare, load} {
		if r := record(run, name); r != nil && r.State == jobs.Failed && json.Unmarshal(r.Note, &note) == nil && note.Damaged {
			return true
		}
	}
	return false
}

// warned are the warnings in a step's note: what was found of the database, and
// those of the parts beside it.
func warned(note json.RawMessage) []string {
	var said struct {
		Warnings []string `json:"warnings"`
	}
	_ = json.Unmarshal(note, &said) // a note that is something else has none
	return said.Warnings
}

// record returns a run's newest record of a step; nil where it has none.
func record(run *jobs.Run, step string) *jobs.StepRecord {
	for i := len(run.Steps) - 1; i >= 0; i-- {
		if run.Steps[i].Name == step {
			return &run.Steps[i]
		}
	}
	return nil
}

// has says whether a step is done, if only in part.
func has(run *jobs.Run, step string) bool {
	r := record(run, step)
	return r != nil && (r.State == jobs.Done || r.State == jobs.Incomplete)
}

// read decodes a done step's note; false where the step is not done.
func read[T any](run *jobs.Run, step string) (note T, ok bool, err error) {
	if !has(run, step) {
		return note, false, nil
	}
	if err := json.Unmarshal(record(run, step).Note, &note); err != nil {
		return note, false, fmt.Errorf("%s: the note of step %s in the journal is unreadable: %w", run.RunID, step, err)
	}
	return note, true, nil
}

// must is read for a step that has to be done by now.
func must[T any](run *jobs.Run, step string) (T, error) {
	note, ok, err := read[T](run, step)
	if err == nil && !ok {
		err = fmt.Errorf("%s: the journal has no result of step %s", run.RunID, step)
	}
	return note, err
}

// swapOf is the swap of a run, if it did one.
func swapOf(run *jobs.Run) (synapse.Swap, bool, error) {
	return read[synapse.Swap](run, swap)
}

// loaded is the database that a run made. A load of a stream that is begun
// again makes it anew.
func loaded(run *jobs.Run) (created, error) {
	made, err := must[created](run, create)
	if err != nil {
		return made, err
	}
	report, ok, err := read[synapse.LoadReport](run, load)
	if ok && report.OID != 0 {
		made.OID = report.OID
	}
	return made, err
}
