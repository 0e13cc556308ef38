// Package journal keeps a homeserver's runs and its lock as objects in its
// archive's store: never in the database that they are about, and readable by
// every machine that reaches the store.
//
// Everything rests on conditional puts. A run's record is replaced only by who
// read its newest version; a lock is taken, kept and taken over only by who
// knows its newest version. Nothing is deleted, because stores can't delete on
// a condition and the program may not have the right to.
//
// It imports jobs and storage, and knows no procedure.
package journal

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/storage"
)

// Keys are journal/<job>/<due time>.json: one prefix a job, in order of time.
const (
	prefix = "journal/"
	suffix = ".json"
)

// Journal implements [jobs.Journal]. Use [New].
type Journal struct{ store storage.Store }

// New returns the journal in a store that is one homeserver's.
func New(s storage.Store) *Journal { return &Journal{s} }

// Open implements [jobs.Journal].
func (j *Journal) Open(ctx context.Context, id jobs.RunID) (*jobs.Run, error) {
	run, err := j.read(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return &jobs.Run{RunID: id}, nil
	}
	if err != nil {
		return nil, err
	}
	return run, nil
}

// saved is a run's record. Stored data. Version makes no two alike: the tags of
// S3 are made from content, and would not tell that an equal one was saved.
type saved struct {
	*jobs.Run
	Version string `json:"version"`
}

// Save implements [jobs.Journal].
func (j *Journal) Save(ctx context.Context, run *jobs.Run) error {
	body, err := json.MarshalIndent(saved{run, rand.Text()}, "", "  ")
	if err != nil {
		return fmt.Errorf("save run %s: %w", run.RunID, err)
	}
	opt := storage.PutOptions{IfMatch: run.Tag, IfAbsent: run.Tag == ""}
	o, err := j.store.Put(ctx, key(run.RunID), append(body, '\n'), opt)
	switch {
	case errors.Is(err, storage.ErrChanged), errors.Is(err, fs.ErrExist):
		return fmt.Errorf("save run %s: %w", run.RunID, jobs.ErrStale)
	case err != nil:
		return fmt.Errorf("save run %s: %w", run.RunID, err)
	}
	run.Tag = o.Tag
	return nil
}

// Runs implements [jobs.Journal]. With job empty it yields the runs of every
// job, those of one after those of another.
func (j *Journal) Runs(ctx context.Context, homeserver, job string) iter.Seq2[*jobs.Run, error] {
	return func(yield func(*jobs.Run, error) bool) {
		ids, err := j.list(ctx, homeserver, job)
		if err != nil {
			yield(&jobs.Run{RunID: jobs.RunID{Job: job, Homeserver: homeserver}}, err)
			return
		}
		for _, id := range ids {
			run, err := j.read(ctx, id)
			if errors.Is(err, fs.ErrNotExist) {
				continue // removed since it was listed
			}
			if err != nil {
				run = &jobs.Run{RunID: id}
			}
			if !yield(run, err) || ctx.Err() != nil {
				return
			}
		}
	}
}

// list returns the IDs of runs, newest first within a job. Objects that are no
// records are passed over.
func (j *Journal) list(ctx context.Context, homeserver, job string) ([]jobs.RunID, error) {
	under := prefix
	if job != "" {
		under += job + "/"
	}
	var ids []jobs.RunID
	for o, err := range j.store.List(ctx, under) {
		if err != nil {
			return nil, fmt.Errorf("list runs: %w", err)
		}
		name, found := strings.CutSuffix(strings.TrimPrefix(o.Key, prefix), suffix)
		if !found {
			continue
		}
		if id, err := jobs.ParseRunID(homeserver, strings.ReplaceAll(name, "/", "-")); err == nil {
			ids = append(ids, id)
		}
	}
	slices.SortStableFunc(ids, func(a, b jobs.RunID) int {
		if a.Job != b.Job {
			return strings.Compare(a.Job, b.Job)
		}
		return b.Due.Compare(a.Due)
	})
	return ids, nil
}

// read returns a run as it is kept. The tag is asked for before the bytes: if
// somebody saves in between, the older tag makes our next save stale, never
// theirs lost.
func (j *Journal) read(ctx context.Context, id jobs.RunID) (*jobs.Run, error) {
	o, err := j.store.Stat(ctx, key(id))
	if err != nil {
		return nil, fmt.Errorf("open run %s: %w", id, err)
	}
	body, err := storage.ReadAll(ctx, j.store, key(id))
	if err != nil {
		return nil, fmt.Errorf("open run %s: %w", id, err)
	}
	var run jobs.Run
	if err := json.Unmarshal(body, &run); err != nil {
		return nil, fmt.Errorf("open run %s: %s is damaged: %w", id, key(id), err)
	}
	if run.RunID.String() != id.String() || id.Homeserver != "" && run.Homeserver != id.Homeserver {
		return nil, fmt.Errorf("open run %s of %s: %s is that of %s of %s", id, id.Homeserver, key(id), run.RunID, run.Homeserver)
	}
	run.Tag = o.Tag
	return &run, nil
}

func key(id jobs.RunID) string { return prefix + id.Job + "/" + id.Slot() + suffix }
