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

// steps are the procedure. Each reads what it needs from the notes of those
// before it, so that a run that resumes in another process has it too.
func (j *Job) steps(run *jobs.Run, b *Blueprint) []jobs.Step {
	step := func(name string, do func(context.Context, *jobs.Run) (any, error)) jobs.Step {
		return jobs.Step{Name: name, Do: func(ctx context.Context) (any, error) { return do(ctx, run) }}
	}
	if !j.withDatabase() {
		return append(j.fillSteps(), step(settle, j.settle))
	}
	steps := []jobs.Step{{Name: prepare, Do: func(ctx context.Context) (any, error) { return j.prepare(ctx, b) }}}
	if j.Mode == synapse.ModeInPlace {
		drop := func(ctx context.Context, run *jobs.Run) (any, error) { return j.vacate(ctx, run, b) }
		steps = append(steps, step(rehearse, j.rehearse), step(vacate, drop))
	}
	steps = append(steps, step(create, j.create), step(load, j.load), step(check, j.check))
	steps = append(steps, j.fillSteps()...)
	if j.Mode != synapse.ModeBeside {
		steps = append(steps, step(swap, j.swap))
	}
	return append(steps, step(settle, j.settle))
}

// provesAll says whether every blob is read before anything is touched. It
// costs a second download, so it is for where a damaged blob would be found too
// late: when the live database is dropped already, or a table half loaded.
func (j *Job) provesAll() bool {
	return j.Mode == synapse.ModeInPlace || j.SkipDamaged
}

// prepare fixes what the later steps build on.
func (j *Job) prepare(ctx context.Context, b *Blueprint) (any, error) {
	note := prepared{PartBytes: j.partBytes, LiveOID: b.Server.LiveOID, Owner: j.Owner}
	if note.Owner == "" && j.Mode != synapse.ModeBeside {
		note.Owner = b.Server.LiveOwner
	}
	if note.Owner == "" {
		note.Owner = j.dump.Owner
	}
	found := j.damaged
	if j.provesAll() {
		var err error
		if found, note.Read, err = proveBlobs(ctx, j.Reader, j.Recovery.Manifest, j.Jobs); err != nil {
			return nil, err
		}
		found.add(j.damaged)
	}
	if found.essential != "" {
		return spoiled{true}, fmt.Errorf("%s; nothing was touched; choose another point", found.essential)
	}
	for _, t := range j.wanted() {
		if found.tables[tableName(t)] != "" {
			note.Skipped = append(note.Skipped, tableName(t))
		}
	}
	if len(note.Skipped) > 0 && !j.SkipDamaged {
		return spoiled{true}, fmt.Errorf("%s; nothing was touched; choose another point, or restore the rest with --skip-damaged", damagedText(note.Skipped))
	}
	return note, nil
}

// rehearse loads the schema alone into a throwaway database.
func (j *Job) rehearse(ctx context.Context, run *jobs.Run) (any, error) {
	plan, err := must[prepared](run, prepare)
	if err != nil || plan.LiveOID == 0 {
		return nil, err
	}
	name := slot(run.RunID)
	scratch := derived(j.Live, "rehearsal", name)
	oid, err := j.Server.Create(ctx, name, scratch, j.dump, plan.Owner)
	if err != nil {
		return nil, fmt.Errorf("rehearse, the live database was not touched: %w", err)
	}
	report, err := j.Server.Load(ctx, synapse.LoadRequest{
		Run: name, Database: scratch, Dump: j.dump, TOC: j.toc, Owner: plan.Owner, Jobs: j.Jobs,
		Tables: emptied(j.database().Tables), Stream: j.wholeStream(), SchemaOnly: true,
	})
	// The scratch database goes in any case; a failure is more important than what becomes of it.
	dropErr := j.Server.Drop(context.WithoutCancel(ctx), scratch, oid)
	if err != nil {
		return nil, fmt.Errorf("rehearse, the live database was not touched: %w", err)
	}
	if bad := withoutEmptiness(report.Bad()); len(bad) > 0 {
		return nil, fmt.Errorf("rehearse, the live database was not touched: %s", findingsText(bad))
	}
	return created{Database: scratch, OID: oid}, dropErr
}

// withoutEmptiness leaves out what can't be so in a database without rows.
func withoutEmptiness(bad []synapse.Finding) []synapse.Finding {
	return slices.DeleteFunc(bad, func(f synapse.Finding) bool {
		return f.Name == "schema version" || f.Name == "schema compat version"
	})
}

// vacate drops the live database: the point of no return of mode in-place. An
// attempt that was killed after the drop has nothing left to be confirmed.
func (j *Job) vacate(ctx context.Context, run *jobs.Run, b *Blueprint) (any, error) {
	plan, err := must[prepared](run, prepare)
	if err != nil || plan.LiveOID == 0 {
		return nil, err
	}
	if b.Server.LiveExists && !j.ConfirmedDrop {
		return nil, fmt.Errorf("drop the live database %s: not confirmed", j.Live)
	}
	return created{Database: j.Live, OID: plan.LiveOID}, j.Server.Vacate(ctx, j.Live, plan.LiveOID, j.Terminate)
}

func (j *Job) create(ctx context.Context, run *jobs.Run) (any, error) {
	plan, err := must[prepared](run, prepare)
	if err != nil {
		return nil, err
	}
	name := slot(run.RunID)
	target := j.loadName(name)
	oid, err := j.Server.Create(ctx, name, target, j.dump, plan.Owner)
	return created{Database: target, OID: oid}, err
}

func (j *Job) load(ctx context.Context, run *jobs.Run) (any, error) {
	plan, err := must[prepared](run, prepare)
	if err != nil {
		return nil, err
	}
	q := synapse.LoadRequest{
		Run: slot(run.RunID), Database: j.loadName(slot(run.RunID)), Dump: j.dump, TOC: j.toc,
		Only: j.Tables, Empty: plan.Skipped, Owner: plan.Owner, Jobs: j.Jobs, KeepOTK: j.KeepOTK, OnProgress: j.progress,
	}
	if q.Stream = j.wholeStream(); q.Stream == nil {
		if err := j.tables(ctx, &q, plan); err != nil {
			return nil, err
		}
	}
	report, err := j.Server.Load(ctx, q)
	if errors.Is(err, archive.ErrCorrupt) && j.Mode != synapse.ModeInPlace {
		return spoiled{true}, fmt.Errorf("%w; the live database was not touched; choose another point, or restore the rest with --skip-damaged", err)
	}
	return report, err
}

// wholeStream yields the dump of a point that is one stream; nil where it is not.
func (j *Job) wholeStream() func(context.Context, func([]byte) error) error {
	list := j.database().Stream
	if len(list) == 0 {
		return nil
	}
	return func(ctx context.Context, yield func([]byte) error) error {
		return stream(ctx, j.Reader, "the dump", list, yield)
	}
}

func (j *Job) progress(done, total int64) {
	if j.Progress != nil {
		j.Progress(jobs.Progress{What: "rows", Done: done, Total: total})
	}
}

// tables fills in the tables and how to fetch their parts.
func (j *Job) tables(ctx context.Context, q *synapse.LoadRequest, plan prepared) error {
	var all [][]part
	for _, t := range j.wanted() {
		if slices.Contains(plan.Skipped, tableName(t)) {
			t = empty(t)
		}
		parts, err := split(t, plan.PartBytes)
		if err != nil {
			return err
		}
		all = append(all, parts)
		q.Tables = append(q.Tables, loadTable(t, parts))
	}
	tables, kept := q.Tables, small(ctx, j.Reader, all)
	q.Fetch = func(ctx context.Context, table, p int, yield func([]byte) error) error {
		list := all[table][p].blobs
		if pieces, ok := cached(kept, list); ok {
			for _, data := range pieces {
				if err := yield(data); err != nil {
					return err
				}
			}
			return nil
		}
		return stream(ctx, j.Reader, "table "+tables[table].Schema+"."+tables[table].Name, list, yield)
	}
	return nil
}

func loadTable(t archive.Table, parts []part) synapse.LoadTable {
	return synapse.LoadTable{
		Table: synapse.Table{DumpID: t.DumpID, Schema: t.Schema, Name: t.Name, Copy: t.Copy, Pages: t.Pages},
		Rows:  t.Rows, Parts: shapes(parts),
	}
}

// empty is a table without its rows.
func empty(t archive.Table) archive.Table {
	t.Rows, t.Bytes, t.Blobs = 0, 0, nil
	return t
}

func emptied(tables []archive.Table) []synapse.LoadTable {
	out := make([]synapse.LoadTable, len(tables))
	for i, t := range tables {
		out[i] = loadTable(empty(t), nil)
	}
	return out
}

func (j *Job) check(_ context.Context, run *jobs.Run) (any, error) {
	report, err := must[synapse.LoadReport](run, load)
	if err != nil {
		return nil, err
	}
	found, err := j.judge(report, run.RunID.String())
	j.logWarnings(found)
	return found, err
}

func (j *Job) swap(ctx context.Context, run *jobs.Run) (any, error) {
	plan, err := must[prepared](run, prepare)
	if err != nil {
		return nil, err
	}
	made, err := loaded(run)
	if err != nil {
		return nil, err
	}
	q := synapse.SwapRequest{
		Run: slot(run.RunID), Live: j.Live, New: made.Database, NewOID: made.OID,
		OldOID: plan.LiveOID, Terminate: j.Terminate,
	}
	if j.Mode == synapse.ModeInPlace {
		q.OldOID = 0 // it was dropped
	}
	done, err := j.Server.Swap(ctx, q)
	if err != nil {
		return nil, err
	}
	if done.NewOID != made.OID {
		return nil, fmt.Errorf("swap: %s is the database with OID %d now, not the restored one (%d)", j.Live, done.NewOID, made.OID)
	}
	return done, nil
}

// settle looks once more at what bears the name, and says what is left to do.
func (j *Job) settle(ctx context.Context, run *jobs.Run) (any, error) {
	if !j.withDatabase() {
		return settled{}, nil
	}
	made, err := loaded(run)
	if err != nil {
		return nil, err
	}
	plan, err := must[prepared](run, prepare)
	if err != nil {
		return nil, err
	}
	note := settled{Database: made.Database, OID: made.OID, Skipped: plan.Skipped}
	if s, ok, err := swapOf(run); err != nil {
		return nil, err
	} else if ok {
		seen, err := j.Server.Inspect(ctx, j.question(slot(run.RunID)))
		if err != nil {
			return nil, err
		}
		if seen.LiveOID != made.OID {
			return nil, fmt.Errorf("after the swap %s is the database with OID %d, not the restored one (%d): see restore status", j.Live, seen.LiveOID, made.OID)
		}
		note.Database = s.Live
		if s.OldOID != 0 {
			note.Kept = &created{Database: s.OldName, OID: s.OldOID}
			note.KeptTill = j.Now().UTC().Add(j.KeepOld)
		}
	}
	if len(note.Skipped) > 0 {
		return note, fmt.Errorf("%w: %s left empty%s", jobs.ErrIncomplete, strings.Join(note.Skipped, ", "), unproved(run))
	}
	return note, nil
}

// unproved says which foreign keys do not hold because tables were left empty.
func unproved(run *jobs.Run) string {
	report, _, _ := read[synapse.LoadReport](run, load) // who wanted what is in it has read it before
	if len(report.Unproved) == 0 {
		return ""
	}
	return "; foreign keys that point there: " + strings.Join(report.Unproved, ", ")
}
