package restore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// Standing is where a restore stands: what it did, what is live, what it left
// behind, and what to do.
type Standing struct {
	Run       string     `json:"run"`
	Request   Request    `json:"request"`
	State     jobs.State `json:"state"`
	Step      string     `json:"step,omitempty"` // the first that is not done
	Open      bool       `json:"open,omitempty"` // it can be gone on with, or dropped
	Error     string     `json:"error,omitempty"`
	Says      string     `json:"says"`
	Warnings  []string   `json:"warnings,omitempty"` // of its steps
	Next      []string   `json:"next,omitempty"`     // commands that make sense now, each with what it does
	Leftovers []Leftover `json:"leftovers,omitempty"`
}

// Leftover is a database that a restore left on the server and that is not
// live.
type Leftover struct {
	Name     string    `json:"name"`
	OID      uint32    `json:"oid"`
	Size     int64     `json:"size"` // bytes; -1: unknown
	What     string    `json:"what"`
	KeptTill time.Time `json:"kept_until,omitzero"` // restore drop leaves it till then
	// Theirs says that it was there before the restore: restore drop leaves it.
	Theirs bool `json:"theirs,omitempty"`

	over bool // KeptTill is past
}

// String is what it is, for people.
func (l Leftover) String() string {
	text := l.Name + ", " + l.What
	if l.Size >= 0 {
		text += ", " + jobs.Size(l.Size)
	}
	return text
}

// What leftovers are.
const (
	leftOld       = "live before the restore"
	leftNew       = "restored, then swapped back"
	leftLoaded    = "loaded, not live"
	leftGuest     = "half loaded; it was there before the restore, which leaves it to you"
	leftRehearsal = "throwaway of the rehearsal"
)

// Status says where a restore stands. found is what the server has; nil where
// it can't be asked: then the answer is the journal's alone. later are the
// restores that came after, as [Later] returns them.
func Status(run *jobs.Run, now time.Time, found []synapse.Found, later ...*jobs.Run) (Standing, error) {
	asked, err := RequestOf(run)
	if err != nil {
		return Standing{}, err
	}
	s := Standing{Run: run.RunID.String(), Request: asked, State: run.State, Step: nextStep(run), Open: resumable(run), Error: run.Error}
	if s.Leftovers, err = leftovers(run, asked, found); err != nil {
		return Standing{}, err
	}
	for _, rec := range run.Steps {
		s.Warnings = append(s.Warnings, warned(rec.Note)...)
	}
	for i, l := range s.Leftovers {
		s.Leftovers[i].over = !l.KeptTill.IsZero() && now.After(l.KeptTill)
	}
	s.explain(run, later)
	return s, nil
}

// String is the standing as a person reads it.
func (s Standing) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", s.Run, s.Says)
	fmt.Fprintf(&b, "  %-8s %s, %s\n", "point", s.Request.Point, s.Request.mode())
	if s.Step != "" {
		fmt.Fprintf(&b, "  %-8s %s, next step %s\n", "state", s.State, s.Step)
	}
	if s.Error != "" {
		fmt.Fprintf(&b, "  %-8s %s\n", "error", s.Error)
	}
	for _, w := range s.Warnings {
		fmt.Fprintf(&b, "  %-8s %s\n", "warning", w)
	}
	for _, l := range s.Leftovers {
		text := l.String()
		switch {
		case l.over:
			text += ", kept until " + l.KeptTill.UTC().Format(minute) + ", which is over"
		case !l.KeptTill.IsZero():
			text += ", kept until " + l.KeptTill.UTC().Format(minute)
		}
		fmt.Fprintf(&b, "  %-8s %s\n", "left", text)
	}
	for _, n := range s.Next {
		fmt.Fprintf(&b, "  %-8s %s\n", "next", n)
	}
	return b.String()
}

// explain fills in Says and Next.
func (s *Standing) explain(run *jobs.Run, later []*jobs.Run) {
	resume := "restore resume " + s.Run + ": go on where it stopped"
	way := inTheWay(later)
	undo := s.undo(run, way)
	switch {
	case has(run, dropped) && !(has(run, swap) && s.drops()): // what is there after all can be undone after all
		s.Says, s.Step = s.afterDrop(run), ""
		return
	case s.State == jobs.Running:
		s.Says = "at work; runs --follow shows it"
		return
	case has(run, undone):
		s.Says, s.Step = "it was undone: the database that was live before is live again", ""
	case has(run, settle):
		s.Says = "done: " + s.Request.outcome()
		if run.State == jobs.Incomplete {
			s.Says += ", but not all of it: " + run.Error
		}
		if way.says != "" {
			s.Says += "; " + way.says
		}
		if done, _, _ := swapOf(run); way.blocks() && s.has(done.OldName) {
			s.Says += "; " + byHand(done)
		}
		s.Next = append(s.Next, undo...)
	case has(run, swap):
		s.Says = fmt.Sprintf("%s is the restored database; the restore has only to be finished", s.Request.Live)
		s.Next = append(append(s.Next, resume), undo...)
		return
	case record(run, vacate) != nil:
		s.Says = fmt.Sprintf("the live database %s was dropped or is being dropped, and its replacement is not live yet", s.Request.Live)
		s.Next = append(s.Next, resume)
	case record(run, swap) != nil:
		s.Says = fmt.Sprintf("the swap of %s was begun and its end is not in the journal", s.Request.Live)
		s.Next = append(s.Next, resume)
		return
	case s.Request.Mode == "":
		s.Says = "unfinished; what is missing of the files is restored by the same command"
		s.Next = append(s.Next, resume)
		return
	case isSpoiled(run):
		s.Says = "unfinished; no live database was touched, and the point is damaged"
		s.Next = append(s.Next, "restore --at ID: another point (see list), or this one with --skip-damaged")
	default:
		s.Says = "unfinished; no live database was touched"
		s.Next = append(s.Next, resume)
	}
	if s.drops() {
		s.Next = append(s.Next, s.drop())
	}
}

// afterDrop says what there is when all is gone that a restore left.
func (s *Standing) afterDrop(run *jobs.Run) string {
	switch {
	case len(s.Leftovers) > 0: // what is theirs
		return "it was dropped; " + s.Leftovers[0].Name + ", which was there before it, stays"
	case has(run, settle) && !has(run, undone) && s.Request.Mode != "":
		return "what it left was dropped; " + s.Request.result() + " is the restored database"
	default:
		return "it was dropped; nothing of it is left to resume or undo"
	}
}

// drops says whether restore drop would remove anything.
func (s *Standing) drops() bool {
	return slices.ContainsFunc(s.Leftovers, func(l Leftover) bool { return !l.Theirs })
}

// has says whether the restore has left a database of that name.
func (s *Standing) has(database string) bool {
	return slices.ContainsFunc(s.Leftovers, func(l Leftover) bool { return l.Name == database })
}

// undo are the commands that bring back the database that was live before, those
// for later restores first; none where there is no way back.
func (s *Standing) undo(run *jobs.Run, way obstacle) []string {
	old, swapped, _ := swapOf(run)
	if !swapped || old.OldOID == 0 || way.blocks() {
		return nil
	}
	var all []string
	for _, command := range way.first {
		all = append(all, command+": first, because it is newer")
	}
	return append(all, "restore undo "+s.Run+": bring the database that was live before back")
}

// drop is the command that removes what is left, as long as it is to be kept
// with the word that it asks for.
func (s *Standing) drop() string {
	command := "restore drop " + s.Run
	for _, l := range s.Leftovers {
		if !l.KeptTill.IsZero() && !l.over {
			return command + ": remove what it left on the server (with --now before " + l.KeptTill.UTC().Format(minute) + ")"
		}
	}
	return command + ": remove what it left on the server"
}

// outcome is what a restore that is done has made.
func (r Request) outcome() string {
	var parts []string
	if r.Mode != "" {
		parts = append(parts, r.result()+" is the restored database")
	}
	if r.MediaPath != "" && r.wants(archive.PartMedia) {
		parts = append(parts, "the media are in "+r.MediaPath)
	}
	if r.SecretsPath != "" && r.wants(archive.PartSecrets) {
		parts = append(parts, "the secrets are in "+r.SecretsPath)
	}
	return strings.Join(parts, ", ")
}

// result is the name under which the restored database is found in the end.
func (r Request) result() string {
	if r.Mode == synapse.ModeBeside {
		return r.Target
	}
	return r.Live
}

// leftovers are a run's databases that are not live, not what it was asked to
// make, and not put aside by a later restore: that one answers for them.
func leftovers(run *jobs.Run, asked Request, found []synapse.Found) ([]Leftover, error) {
	end, _, err := read[settled](run, settle)
	if err != nil {
		return nil, err
	}
	done, swapped, err := swapOf(run)
	if err != nil {
		return nil, err
	}
	name := slot(run.RunID)
	var all []Leftover
	for _, f := range found {
		left := Leftover{Name: f.Name, OID: f.OID, Size: f.Size}
		switch {
		case asked.Live != "" && f.Name == asked.Live:
		case swapped && has(run, undone):
			if f.OID == done.NewOID && f.Name == done.NewName {
				left.What = leftNew
			}
		case swapped:
			if f.OID == done.OldOID && f.Name == done.OldName {
				left.What, left.KeptTill = leftOld, end.KeptTill
			}
		case has(run, settle): // beside: it is what was asked for
		case f.Run != name:
		case f.Guest && f.Name == asked.loadName(name):
			left.What, left.Theirs = leftGuest, true
		case calledFor(f.Name, name, asked.loadName(name)):
			left.What = leftLoaded
		case calledFor(f.Name, name, derived(asked.Live, "rehearsal", name)):
			left.What = leftRehearsal
		}
		if left.What != "" {
			all = append(all, left)
		}
	}
	return all, nil
}

// calledFor says whether a run's database has this name, or is to get it.
func calledFor(name, run, want string) bool {
	return name == want || name == synapse.NewName(run, want)
}

// Closing is what undo and drop work with.
type Closing struct {
	Server    Server
	Journal   jobs.Journal
	Run       *jobs.Run        // the restore, as the operator was shown it
	Terminate bool             // end the sessions on the databases concerned
	Early     bool             // drop the database that was live before its time; the operator's word
	Now       func() time.Time // nil: time.Now
}

// look reads the restore's record again. A plan is made under the lock: while
// that was waited for, the restore may have gone on.
func (c *Closing) look(ctx context.Context) error {
	run, err := c.Journal.Open(ctx, c.Run.RunID)
	if err == nil {
		c.Run = run
	}
	return err
}

// close appends a record to the restore's run: the end of what can be done
// with it.
func (c Closing) close(ctx context.Context, as string, note closing) error {
	run, err := c.Journal.Open(ctx, c.Run.RunID)
	if err != nil {
		return err
	}
	if has(run, as) {
		return nil
	}
	raw, err := encode(note)
	if err != nil {
		return err
	}
	now := c.now()
	run.Steps = append(run.Steps, jobs.StepRecord{Name: as, State: jobs.Done, Started: now, Ended: now, Note: raw})
	if err := c.Journal.Save(ctx, run); err != nil {
		return fmt.Errorf("note in the journal that %s is %s: %w", run.RunID, as, err)
	}
	return nil
}

func (c Closing) now() time.Time {
	if c.Now == nil {
		return time.Now().UTC()
	}
	return c.Now().UTC()
}
