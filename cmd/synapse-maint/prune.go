package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/synapse-maint/synapse-maint/cmd/internal/app"
	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/prune"
)

type pruneOptions struct {
	policy               prune.Policy
	drop                 []string
	dryRun, yes, despite bool
}

func (p *program) pruneCommand() *cobra.Command {
	var o pruneOptions
	cmd := &cobra.Command{
		Use:   "prune [--keep-daily N …]",
		Short: "Apply retention",
		Long: `Drops the recovery points that no rule wants, and removes what only they needed. The
rules are the configuration's, or, if any --keep flag is given, these flags'. Only points
whose every blob is there count, and the newest good point of each part always stays; while
it lacks media or secrets that an older one has, the newest that has them stays, too.

Objects go in two steps, a day apart: what one prune finds unused, a prune on a later day
deletes, if it still is. Nothing is deleted while backups fail, nor while a point is of the
future: either the clock here is wrong, or it was when that point was taken. In that case
--drop ID removes the point, and nothing else.`,
		Args: between(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.runPrune(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.IntVar(&o.policy.Last, "keep-last", 0, "keep the newest `N` points")
	f.IntVar(&o.policy.Hourly, "keep-hourly", 0, "keep the newest of each of `N` hours that have one")
	f.IntVar(&o.policy.Daily, "keep-daily", 0, "of each of `N` days, in UTC")
	f.IntVar(&o.policy.Weekly, "keep-weekly", 0, "of each of `N` weeks")
	f.IntVar(&o.policy.Monthly, "keep-monthly", 0, "of each of `N` months")
	f.IntVar(&o.policy.Yearly, "keep-yearly", 0, "of each of `N` years")
	f.StringSliceVar(&o.drop, "drop", nil, "drop only this point, an `ID` of list: it is of the future, since the clock was wrong when it was taken")
	f.BoolVar(&o.despite, "despite-failures", false, "prune although backups fail or are old: when the store is full")
	f.BoolVar(&o.dryRun, "dry-run", false, "only say which points go, why the others stay, and what that frees")
	f.BoolVar(&o.yes, "yes", false, "don't ask")
	p.waitFlag(cmd)
	return cmd
}

// pruned is a prune in JSON.
type pruned struct {
	prune.Result
	DryRun bool `json:"dry_run,omitempty"`
}

func (p *program) runPrune(ctx context.Context, o pruneOptions) error {
	a, err := p.archive(ctx, "")
	if err != nil {
		return err
	}
	q := app.PruneRequest{Policy: o.policy, Despite: o.despite}
	for _, id := range o.drop {
		pt, err := a.Lookup(ctx, id)
		if err != nil {
			return a.Keyed(err)
		}
		q.Drop = append(q.Drop, pt.ID)
	}
	job, err := a.Prune(q)
	if err != nil {
		return err
	}
	p.report.Start("prune, plan")
	plan, err := job.Preview(ctx)
	p.report.Stop()
	if err != nil {
		return a.Keyed(err)
	}
	if o.dryRun {
		return p.print(pruned{plan, true}, p.pruneText(plan, true, a))
	}
	going := going(plan)
	if len(going) > 0 {
		p.aside(p.choices(plan) + "\n")
		what := fmt.Sprintf("prune deletes %s of %s", jobs.Count(int64(len(going)), "point"), a.Name)
		if err := p.confirm(ctx, o.yes, a.Name, what); err != nil {
			return err
		}
	}
	if !o.yes { // who says so beforehand agrees to the rules, whatever points there are when the lock is had
		q.Agreed = append([]string{}, going...)
	}
	if job, err = a.Prune(q); err != nil {
		return err
	}
	run, err := a.Run(ctx, job, jobs.RunID{})
	if err != nil && !errors.Is(err, jobs.ErrIncomplete) {
		return hinted{err, "what is needed by a point is untouched; run it again"}
	}
	r, rerr := prune.ResultOf(run)
	if rerr != nil {
		return rerr
	}
	if perr := p.print(pruned{Result: r}, p.pruneText(r, false, a)); perr != nil {
		return perr
	}
	return err
}

func going(r prune.Result) (ids []string) {
	for _, c := range r.Points {
		if !c.Keep {
			ids = append(ids, c.ID)
		}
	}
	return ids
}

// choices is the table of points.
func (p *program) choices(r prune.Result) string {
	var rows [][]string
	for _, c := range r.Points {
		fate := "stays"
		if !c.Keep {
			fate = "GOES"
		}
		rows = append(rows, []string{c.ID, fate, strings.Join(c.Why, ", ")})
	}
	return p.table([]string{"ID", "FATE", "WHY"}, rows)
}

func (p *program) pruneText(r prune.Result, dryRun bool, a *app.Archive) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	gone := len(going(r))
	if dryRun {
		b.WriteString(p.choices(r) + "\n")
		fmt.Fprintf(&b, "Would drop %s of %s of %s\n", jobs.Count(int64(gone), ""), jobs.Count(int64(len(r.Points)), "point"), a.Name)
	} else {
		fmt.Fprintf(&b, "Dropped %s of %s of %s\n", jobs.Count(int64(len(r.Report.Dropped)), ""), jobs.Count(int64(len(r.Points)), "point"), a.Name)
	}
	v := r.Report
	line("policy", "%s", r.Policy)
	if copies := a.CopyNames(); len(copies) > 0 {
		line("copies", "%s keep their points: prune --store NAME", strings.Join(copies, ", "))
	}
	if dryRun {
		line("frees", "%s, once the grace of a day is over", jobs.Size(v.Freed))
	}
	packs := func(name, what string, n, bytes int64) {
		if n > 0 {
			line(name, "%s, %s: %s", jobs.Count(n, "pack"), jobs.Size(bytes), what)
		}
	}
	packs("deleted", "unused for longer than the grace", v.Deleted, v.DeletedBytes)
	packs("marked", "unused now, deleted by a prune after the grace", v.Marked, v.MarkedBytes)
	packs("waiting", "marked earlier, the grace is not over", v.Waiting, v.WaitingBytes)
	packs("repacked", "what is needed of mostly unused ones, stored anew", v.Repacked, v.RepackedBytes)
	if v.Merged > 0 {
		line("index", "%s merged into one", jobs.Count(int64(v.Merged), "object"))
	}
	if n := len(v.Locked); n > 0 {
		line("locked", "%s stay until their object lock ends, or the right to delete is there; %s and others", jobs.Count(int64(n), "object"), v.Locked[0])
	}
	return b.String()
}
