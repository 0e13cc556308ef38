package restore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// Blueprint says what the run would do, or go on with. It reads only.
func (j *Job) Blueprint(ctx context.Context, run *jobs.Run) (*Blueprint, error) {
	if err := j.readTOC(ctx); err != nil {
		return nil, err
	}
	b := &Blueprint{
		Homeserver: j.homeserver(), Run: run.RunID.String(), Resumes: nextStep(run),
		Point: j.Point, Taken: j.Recovery.Taken, Age: ageText(j.Now().Sub(j.Recovery.Taken)), Verified: j.Recovery.Verified,
		Request: j.Request, Lacks: j.Recovery.Manifest.Lacks, Degraded: j.Recovery.Manifest.Degraded,
	}
	if j.withDatabase() {
		if err := j.planDatabase(ctx, run, b); err != nil {
			return nil, err
		}
	}
	if err := j.planFillers(ctx, run, b); err != nil {
		return nil, err
	}
	b.Steps = j.describe(b)
	return b, nil
}

func (j *Job) planDatabase(ctx context.Context, run *jobs.Run, b *Blueprint) error {
	b.Database, b.DumpVersion = j.loadName(slot(run.RunID)), j.dump.Version
	if err := j.survey(ctx, run, b); err != nil {
		return err
	}
	for _, t := range j.wanted() {
		b.Tables, b.Rows, b.Load = b.Tables+1, b.Rows+t.Rows, b.Load+t.Bytes
	}
	for _, s := range j.database().Stream {
		b.Load += s.Size
	}
	b.Bytes += b.Load
	if has(run, load) {
		return nil
	}
	return j.assess(ctx, run, b)
}

// nextStep is the step at which a run goes on; empty for a new one.
func nextStep(run *jobs.Run) string {
	for _, s := range run.Steps {
		if !has(run, s.Name) {
			return s.Name
		}
	}
	return ""
}

// survey asks the server.
func (j *Job) survey(ctx context.Context, run *jobs.Run, b *Blueprint) error {
	var err error
	if b.Server, err = j.Server.Inspect(ctx, j.question(slot(run.RunID))); err != nil {
		return err
	}
	j.chosen = b.Server.Tables
	var made created
	isMade := has(run, create)
	if isMade {
		if made, err = loaded(run); err != nil {
			return err
		}
	}
	if isMade && b.Server.LiveOID == made.OID && j.Mode != synapse.ModeBeside {
		return nil // swapped already, though perhaps not journalled: nothing can stand in the way any more
	}
	b.Problems = append(b.Problems, b.Server.Problems...)
	b.Warnings = append(b.Warnings, b.Server.Warnings...)
	if isMade && !b.Server.TargetExists {
		b.Problems = append(b.Problems, fmt.Sprintf(
			"database %s, which this run loaded, is gone: drop the run (restore drop %s) and restore afresh", made.Database, b.Run))
	}
	j.surveyLocale(b)
	if j.Mode == synapse.ModeInPlace {
		j.surveyInPlace(b)
	}
	return nil
}

// surveyLocale says before the load, not after it, that Synapse refuses to start
// on any locale but C: the database comes back in the one that it had.
func (j *Job) surveyLocale(b *Blueprint) {
	d := j.dump
	if d.Schema == nil || d.Collate == "C" && d.CType == "C" {
		return
	}
	text := fmt.Sprintf("the point's database has the locale %s, with which Synapse refuses to start unless its allow_unsafe_locale is set", d.Collate)
	if j.Mode == synapse.ModeBeside || j.Force {
		b.Warnings = append(b.Warnings, text)
		return
	}
	b.Problems = append(b.Problems, text+": restore with --mode beside, or with --force if it is set")
}

// surveyInPlace judges the space: what the live database occupies will be free.
func (j *Job) surveyInPlace(b *Blueprint) {
	b.Server.NeedBytes = j.dump.Size
	if b.Server.TargetExists || b.Server.FreeBytes < 0 {
		return
	}
	if free := b.Server.FreeBytes + b.Server.LiveSize; free < j.dump.Size {
		b.Problems = append(b.Problems, fmt.Sprintf("the server's disk has %s even without the live database, the restored one needs about %s",
			jobs.Size(free), jobs.Size(j.dump.Size)))
	}
}

// question is what the server is asked. In-place is a swap to it, too: the live
// database is dropped instead of renamed, and the load goes beside its name all
// the same, so that a Synapse that is started too early finds no database
// rather than half of one.
func (j *Job) question(run string) synapse.Request {
	q := synapse.Request{
		Run: run, Mode: j.Mode, Live: j.Live, Target: j.loadName(run), Owner: j.Owner,
		Dump: j.dump, TOC: j.toc, Only: j.Tables, Terminate: j.Terminate,
	}
	if j.Mode == synapse.ModeInPlace {
		q.Mode, q.NeedBytes = synapse.ModeSwap, 1
	}
	return q
}

// assess looks at the point's blobs in the archive, and at the request.
func (j *Job) assess(ctx context.Context, run *jobs.Run, b *Blueprint) error {
	var err error
	if j.damaged, err = inspectBlobs(ctx, j.Archive, j.Point); err != nil {
		return err
	}
	if lost := j.damaged.essential; lost != "" {
		b.Problems = append(b.Problems, lost+"; this point can't be restored: choose another one")
	}
	known, _, err := read[prepared](run, prepare)
	if err != nil {
		return err
	}
	for _, t := range j.wanted() {
		if _, err := split(t, partBytes); err != nil {
			b.Problems = append(b.Problems, err.Error())
		}
		if name := tableName(t); j.damaged.tables[name] != "" && !slices.Contains(known.Skipped, name) {
			b.Damaged = append(b.Damaged, name)
		}
	}
	if len(b.Damaged) > 0 && !j.SkipDamaged {
		b.Problems = append(b.Problems, damagedText(b.Damaged)+
			": choose another point, or restore the rest with --skip-damaged")
	}
	if len(b.Damaged) > 0 && j.SkipDamaged {
		b.Warnings = append(b.Warnings, damagedText(b.Damaged)+": left empty")
	}
	return nil
}

func damagedText(tables []string) string {
	return "blobs are damaged or missing in the archive of " + strings.Join(tables, ", ")
}

// wanted are the tables to restore: of a request for some those that the server
// has found in the table of contents, so that a partitioned table's are with it.
func (j *Job) wanted() []archive.Table {
	if len(j.Tables) == 0 {
		return j.database().Tables
	}
	var some []archive.Table
	for _, t := range j.database().Tables {
		if slices.Contains(j.chosen, tableName(t)) {
			some = append(some, t)
		}
	}
	return some
}

// describe is what the steps will do, for people.
func (j *Job) describe(b *Blueprint) []string {
	var d []string
	say := func(format string, args ...any) { d = append(d, fmt.Sprintf(format, args...)) }
	fill := func() {
		for _, p := range b.Fill {
			d = append(d, p.Lines...)
		}
	}
	if !j.withDatabase() {
		fill()
		return d
	}
	if j.provesAll() {
		say("read every blob of the point and compare it with its name")
	} else {
		say("look that every blob of the point is in the archive")
	}
	if j.Mode == synapse.ModeInPlace {
		if b.Server.LiveExists {
			if len(j.toc) > 0 {
				say("load the schema without rows into a throwaway database, to try rights, roles and extensions")
			}
			say("DROP the live database %s (%s): it is gone from here on", j.Live, jobs.Size(b.Server.LiveSize))
		}
	}
	switch {
	case b.Server.TargetOurs:
		say("go on with database %s, %s in all", b.Database, jobs.Size(b.Load))
	case b.Server.TargetExists:
		say("load %s into database %s, which is there and empty; its owner, settings and grants stay", jobs.Size(b.Load), b.Database)
	default:
		say("create database %s and load %s into it", b.Database, jobs.Size(b.Load))
	}
	say("check it: rows, sequences, constraints, indexes, what Synapse needs")
	fill()
	switch {
	case j.Mode == synapse.ModeInPlace || j.Mode == synapse.ModeSwap && !b.Server.LiveExists:
		say("rename it to %s", j.Live)
	case j.Mode == synapse.ModeSwap:
		say("rename %s aside and %s to %s; restore undo %s reverses it for %s", j.Live, b.Database, j.Live, b.Run, ageText(j.KeepOld))
	}
	return d
}
