package restore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// NewUndo returns the job that swaps the database that was live before a
// restore back into its place. The restored one is kept, under the name it was
// loaded as. Done twice it does nothing.
func NewUndo(c Closing) jobs.Job { return undo{c} }

type undo struct{ Closing }

// Name is the job's name in the journal.
func (undo) Name() string { return "undo" }

// Plan refuses what can't be undone.
func (u undo) Plan(ctx context.Context, run *jobs.Run) ([]jobs.Step, error) {
	name := u.Run.RunID.String()
	if err := errors.Join(claimFor(run, name), u.look(ctx)); err != nil {
		return nil, err
	}
	done, ok, err := swapOf(u.Run)
	if err != nil {
		return nil, err
	}
	gone := has(u.Run, dropped)
	if gone && ok { // the record is one thing, what the server has another
		if gone, err = u.lacks(ctx, done.OldName, done.OldOID); err != nil {
			return nil, err
		}
	}
	switch {
	case gone:
		return nil, fmt.Errorf("undo %s: the database that was live before was dropped already", name)
	case !ok && record(u.Run, swap) != nil:
		return nil, fmt.Errorf("undo %s: its swap was begun and its end is not in the journal; first restore resume %s", name, name)
	case !ok:
		return nil, fmt.Errorf("undo %s: it swapped nothing, there is nothing to undo", name)
	case done.OldOID == 0:
		return nil, fmt.Errorf("undo %s: there is no database from before to go back to", name)
	case has(u.Run, undone):
		return u.steps(done), nil
	}
	later, err := Later(ctx, u.Journal, u.Run)
	if err != nil {
		return nil, err
	}
	o := inTheWay(later)
	if o.blocks() {
		if gone, err = u.lacks(ctx, done.OldName, done.OldOID); err != nil {
			return nil, err
		}
		if !gone {
			o.says += "; " + byHand(done)
		}
	}
	if o.says != "" {
		return nil, fmt.Errorf("undo %s: %s", name, o)
	}
	return u.steps(done), nil
}

// lacks says whether the server has a database of that name and OID no more.
func (c Closing) lacks(ctx context.Context, database string, oid uint32) (bool, error) {
	found, err := c.Server.Databases(ctx)
	return !slices.ContainsFunc(found, func(f synapse.Found) bool { return f.Name == database && f.OID == oid }), err
}

func (u undo) steps(done synapse.Swap) []jobs.Step {
	return []jobs.Step{{Name: "undo", Do: func(ctx context.Context) (any, error) { return u.do(ctx, done) }}}
}

func (u undo) do(ctx context.Context, done synapse.Swap) (any, error) {
	note := closing{Databases: []created{{done.NewName, done.NewOID}, {done.Live, done.OldOID}}}
	if has(u.Run, undone) {
		return note, nil
	}
	if err := u.Server.Undo(ctx, done, u.Terminate); err != nil {
		return nil, err
	}
	found, err := u.Server.Databases(ctx)
	if err != nil {
		return nil, err
	}
	for _, f := range found {
		if f.Name == done.Live && f.OID == done.OldOID {
			return note, u.close(ctx, undone, note)
		}
	}
	return nil, fmt.Errorf("undo: afterwards %s is not the database that was live before (OID %d)", done.Live, done.OldOID)
}

// NewDrop returns the job that removes what a restore left on the server: a
// half-loaded database, one that was swapped back, and, once it has been kept
// as long as was promised, the one that was live before. It never removes a
// live database.
func NewDrop(c Closing) jobs.Job { return drop{c} }

type drop struct{ Closing }

// Name is the job's name in the journal.
func (drop) Name() string { return "drop" }

// Plan refuses what is not to be dropped yet.
func (d drop) Plan(ctx context.Context, run *jobs.Run) ([]jobs.Step, error) {
	name := d.Run.RunID.String()
	_, shown, _ := swapOf(d.Run)
	if err := errors.Join(claimFor(run, name), d.look(ctx)); err != nil {
		return nil, err
	}
	if _, swapped, _ := swapOf(d.Run); !has(d.Run, settle) && (swapped || record(d.Run, swap) != nil) {
		if !has(d.Run, undone) {
			return nil, fmt.Errorf("drop %s: its swap is not settled; first restore resume %s or restore undo %s", name, name, name)
		}
	}
	left, err := d.left(ctx)
	if err != nil {
		return nil, err
	}
	for _, l := range left {
		meanwhile := ""
		if !shown {
			meanwhile = "it has swapped meanwhile, and " // --now was not said of what nobody could know
		}
		if d.now().Before(l.KeptTill) && (!d.Early || !shown) {
			return nil, fmt.Errorf("drop %s: %s%s (%s) is kept until %s, for restore undo; --now drops it earlier",
				name, meanwhile, l.Name, l.What, l.KeptTill.UTC().Format(minute))
		}
	}
	if len(left) == 0 && has(d.Run, settle) && !has(d.Run, dropped) {
		if asked, err := RequestOf(d.Run); err == nil && asked.Mode == synapse.ModeBeside {
			return nil, fmt.Errorf("drop %s: it left nothing; %s is what it was asked for, and no restore drops it: DROP DATABASE when you need it no more",
				name, asked.Target)
		}
	}
	return []jobs.Step{{Name: "drop", Do: d.do}}, nil
}

func (d drop) left(ctx context.Context) ([]Leftover, error) {
	asked, err := RequestOf(d.Run)
	if err != nil {
		return nil, err
	}
	found, err := d.Server.Databases(ctx)
	if err != nil {
		return nil, err
	}
	return leftovers(d.Run, asked, found)
}

func (d drop) do(ctx context.Context) (any, error) {
	left, err := d.left(ctx)
	if err != nil {
		return nil, err
	}
	var note closing
	for _, l := range left {
		if l.Theirs {
			continue
		}
		if err := d.Server.Drop(ctx, l.Name, l.OID); err != nil {
			return note, err
		}
		note.Databases = append(note.Databases, created{l.Name, l.OID})
	}
	return note, d.close(ctx, dropped, note)
}

// WouldUndo says what [NewUndo]'s job would do now, a line for each database;
// nothing where it was done before. What it refuses its plan says.
func (c Closing) WouldUndo(ctx context.Context) ([]string, error) {
	if err := c.look(ctx); err != nil {
		return nil, err
	}
	done, ok, err := swapOf(c.Run)
	if err != nil || !ok || has(c.Run, undone) {
		return nil, err
	}
	return []string{
		fmt.Sprintf("rename %s, the restored database, to %s, and keep it", done.Live, done.NewName),
		fmt.Sprintf("rename %s, %s, to %s", done.OldName, leftOld, done.Live),
	}, nil
}

// WouldDrop says what [NewDrop]'s job would drop now.
func (c Closing) WouldDrop(ctx context.Context) ([]string, error) {
	if err := c.look(ctx); err != nil {
		return nil, err
	}
	left, err := drop{c}.left(ctx)
	var lines []string
	for _, l := range left {
		verb := "drop "
		if l.Theirs {
			verb = "leave "
		}
		lines = append(lines, verb+l.String())
	}
	return lines, err
}

// claimFor writes the restore's name into a new run as its request.
func claimFor(run *jobs.Run, restore string) error {
	raw, err := encode(map[string]string{"restore": restore})
	if err != nil {
		return err
	}
	if len(run.Request) > 0 && !strings.Contains(string(run.Request), restore) {
		return errors.New("this run was asked for another restore")
	}
	run.Request = raw
	return nil
}

func encode(v any) (json.RawMessage, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode a note for the journal: %w", err)
	}
	return raw, nil
}
