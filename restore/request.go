package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// JobName is the restore's name in the journal.
const JobName = "restore"

// Request is what was asked for: what two restores must have in common for one
// to resume the other. Stored data (the run's request).
type Request struct {
	Point       string       `json:"point"`          // ID of the recovery point
	From        string       `json:"from,omitempty"` // store that was named, as name or URL; which one it is does not make another request
	Mode        synapse.Mode `json:"mode"`
	Live        string       `json:"live,omitempty"`         // name of the live database; swap, in-place
	Target      string       `json:"target,omitempty"`       // name of the database to load; beside
	Owner       string       `json:"owner,omitempty"`        // role that owns the result; empty: the live database's owner, else the dump's
	Tables      []string     `json:"tables,omitempty"`       // schema.name or name; empty: everything
	SkipDamaged bool         `json:"skip_damaged,omitempty"` // leave damaged tables empty instead of refusing
	KeepOTK     bool         `json:"keep_one_time_keys,omitempty"`

	Only        []string `json:"only,omitempty"`         // parts to restore; empty: all that there is a place for
	MediaPath   string   `json:"media_path,omitempty"`   // folder
	MediaOnly   []string `json:"media_only,omitempty"`   // classes, folders or files of the media; empty: all
	CheckAll    bool     `json:"check_all,omitempty"`    // compare the bytes of media that look the same, too
	DeleteExtra bool     `json:"delete_extra,omitempty"` // remove media that the point does not have
	SecretsPath string   `json:"secrets_path,omitempty"` // folder
}

// wants says whether a part is asked for.
func (r Request) wants(part string) bool {
	return len(r.Only) == 0 || slices.Contains(r.Only, part)
}

// WithDatabase says whether the database of a point is to be restored.
func (r Request) WithDatabase(m *archive.Manifest) bool {
	return m != nil && m.Database != nil && r.wants(archive.PartDatabase)
}

// mode names the kind of restore for people.
func (r Request) mode() string {
	if r.Mode == "" {
		return "files"
	}
	return string(r.Mode)
}

// RequestOf returns what a run in the journal was asked for.
func RequestOf(run *jobs.Run) (Request, error) {
	var r Request
	if err := json.Unmarshal(run.Request, &r); err != nil {
		return r, fmt.Errorf("%s: its request in the journal is unreadable: %w", run.RunID, err)
	}
	return r, nil
}

// slot names a run in the names and marks of its databases: its due time, as
// 20261125t020000z. Stored data.
func slot(id jobs.RunID) string {
	return strings.ToLower(id.Slot())
}

// RequestError says that a request contradicts itself: whoever asked has to ask
// for something else.
type RequestError struct{ error }

func (e *RequestError) Unwrap() error { return e.error }

// check refuses what contradicts itself.
func (r Request) check() error {
	for _, name := range []string{r.Target, r.Live} {
		if len(name) > maxName {
			return fmt.Errorf("restore %s: the name of database %s has %d bytes, of which PostgreSQL keeps %d; give a shorter one", r.Mode, name, len(name), maxName)
		}
	}
	switch r.Mode {
	case synapse.ModeBeside:
		if r.Target == "" {
			return errors.New("restore beside: name the database to load (--target-database)")
		}
		if r.Target == r.Live {
			return fmt.Errorf("restore beside: %s is the live database; name another (--target-database)", r.Target)
		}
	case synapse.ModeSwap, synapse.ModeInPlace:
		if r.Live == "" {
			return fmt.Errorf("restore %s: the live database has no name (--database)", r.Mode)
		}
		if r.Target != "" {
			return fmt.Errorf("restore %s: a target database is for --mode beside only", r.Mode)
		}
		if len(r.Tables) > 0 {
			return fmt.Errorf("restore %s: some tables alone make no homeserver; load them with --mode beside --target-database NAME", r.Mode)
		}
	default:
		return fmt.Errorf("restore: no mode %q; there are swap, in-place and beside", r.Mode)
	}
	return nil
}

// canonical makes equal requests equal texts.
func (r Request) canonical() Request {
	for _, list := range []*[]string{&r.Tables, &r.Only, &r.MediaOnly} {
		*list = slices.Clone(*list)
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return r
}

func (r Request) equal(other Request) bool {
	a, b := r.canonical(), other.canonical()
	if !slices.Equal(a.Tables, b.Tables) || !slices.Equal(a.Only, b.Only) || !slices.Equal(a.MediaOnly, b.MediaOnly) {
		return false
	}
	return a.Point == b.Point && a.Mode == b.Mode && a.Live == b.Live && a.Target == b.Target &&
		a.Owner == b.Owner && a.SkipDamaged == b.SkipDamaged && a.KeepOTK == b.KeepOTK &&
		a.MediaPath == b.MediaPath && a.CheckAll == b.CheckAll && a.DeleteExtra == b.DeleteExtra && a.SecretsPath == b.SecretsPath
}

// loadName is the name of the database that a run loads.
func (r Request) loadName(run string) string {
	if r.Mode == synapse.ModeBeside {
		return r.Target
	}
	return derived(r.Live, "restore", run)
}

// maxName is the longest name PostgreSQL keeps, in bytes (NAMEDATALEN - 1). It
// cuts longer ones silently, so that two could become one.
const maxName = 63

// derived is a database name made of another one, cut so that it fits.
func derived(live, what, run string) string {
	tail := "_" + what + "_" + run
	head := live
	if over := len(head) + len(tail) - maxName; over > 0 {
		head = strings.ToValidUTF8(head[:len(head)-over], "")
	}
	return head + tail
}

// unfinished returns the homeserver's restores that can still be resumed,
// newest first.
func unfinished(ctx context.Context, j jobs.Journal, homeserver string) ([]*jobs.Run, error) {
	var open []*jobs.Run
	for run, err := range j.Runs(ctx, homeserver, JobName) {
		if run == nil && err != nil {
			return nil, fmt.Errorf("look for unfinished restores: %w", err)
		}
		if err == nil && resumable(run) {
			open = append(open, run)
		}
	}
	return open, nil
}

func resumable(run *jobs.Run) bool {
	if run.State == jobs.Done || run.State == jobs.Incomplete {
		return false
	}
	return !has(run, dropped) && !has(run, undone)
}

// ID returns the run that this restore is: the unfinished one of the same
// request, or a new one. Unfinished restores of other requests are returned
// beside it, so that they can be mentioned.
func (j *Job) ID(ctx context.Context, journal jobs.Journal) (id jobs.RunID, others []*jobs.Run, err error) {
	open, err := unfinished(ctx, journal, j.homeserver())
	if err != nil {
		return id, nil, err
	}
	for _, run := range open {
		asked, err := RequestOf(run)
		if err == nil && id.Job == "" && asked.equal(j.Request) {
			id = run.RunID
			continue
		}
		others = append(others, run)
	}
	if id.Job != "" {
		return id, others, nil
	}
	fresh := jobs.Runner{Journal: journal, Now: j.Now}
	id, err = fresh.Fresh(ctx, j.homeserver(), JobName)
	return id, others, err
}

// Find returns the restore that is called name, as restore-20261125T020000Z or
// without the first word; empty: the newest.
func Find(ctx context.Context, j jobs.Journal, homeserver, name string) (*jobs.Run, error) {
	for run, err := range j.Runs(ctx, homeserver, JobName) {
		called := name == "" || strings.EqualFold(run.RunID.String(), name) || strings.EqualFold(run.Slot(), name)
		if called && err != nil {
			return nil, fmt.Errorf("look for restore %s: %w", name, err)
		}
		if called {
			return run, nil
		}
	}
	if name == "" {
		return nil, fmt.Errorf("%s has no restore in the journal: %w", homeserver, fs.ErrNotExist)
	}
	return nil, fmt.Errorf("%s has no restore %s in the journal (see restore status): %w", homeserver, name, fs.ErrNotExist)
}
