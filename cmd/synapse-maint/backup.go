package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/synapse-maint/synapse-maint/cmd/internal/app"
	"github.com/synapse-maint/synapse-maint/cmd/internal/progress"
	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/backup"
)

func (p *program) backupCommand() *cobra.Command {
	var q app.BackupRequest
	var dryRun bool
	cmd := &cobra.Command{
		Use:   "backup [--only database,media,secrets]",
		Short: "Take a recovery point now",
		Long: `Copies a snapshot of the database into the archive, then the media files and the secrets
that are configured, reads back what it wrote, and then lists it as a recovery point.
Synapse runs on meanwhile.

Media that have the name, size and time that they had in the last point are not read again.
Secrets (signing key, homeserver.yaml, what it names) are kept in encrypted archives only.
What the point lacks, and why, is said; where it should have had it, the exit code is 3.`,
		Args: between(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.runBackup(cmd.Context(), q, dryRun) },
	}
	cmd.Flags().StringSliceVar(&q.Only, "only", nil, "only these `PARTS`: database, media, secrets")
	cmd.Flags().BoolVar(&q.ReadAll, "read-all", false, "read media that look unchanged, too")
	cmd.Flags().BoolVar(&q.AllowEmpty, "allow-empty-media", false, "the media store is meant to be empty, though the last point had files, or the database knows of some")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be copied")
	p.waitFlag(cmd)
	return cmd
}

// backedUp is a backup in JSON.
type backedUp struct {
	backup.Result
	Store   string `json:"store"`
	Instead string `json:"instead_of,omitempty"` // why it is not in the homeserver's own store
}

func (p *program) runBackup(ctx context.Context, q app.BackupRequest, dryRun bool) error {
	a, err := p.ownArchive(ctx)
	if err != nil {
		if dryRun {
			return err
		}
		return p.backUpElsewhere(ctx, q, err)
	}
	if dryRun {
		job, err := a.Backup(ctx, q)
		if err != nil {
			return err
		}
		preview, err := job.Preview(ctx)
		if err != nil {
			return err
		}
		return p.print(preview, previewText(preview, a))
	}
	err = p.backUp(ctx, a, q, nil)
	if err == nil || p.printed || ctx.Err() != nil {
		return err
	}
	if _, lost := p.ownArchive(ctx); lost != nil { // it is the store that failed
		return p.backUpElsewhere(ctx, q, err)
	}
	return err
}

// backUpElsewhere takes the point in one of the stores for copies, if there are
// any: tonight's point is worth more than its place.
func (p *program) backUpElsewhere(ctx context.Context, q app.BackupRequest, cause error) error {
	conf, err := p.app()
	if err != nil || len(conf.Copies()) == 0 || errors.Is(cause, app.ErrUsage) || errors.Is(cause, app.ErrNothing) || ctx.Err() != nil {
		return cause
	}
	a, err := conf.Elsewhere(ctx)
	if err != nil {
		return fmt.Errorf("%w; and of the stores for copies %w", cause, err)
	}
	p.warn(fmt.Sprintf("the homeserver's store fails (%v): the point goes to %s", cause, a.Store))
	return p.backUp(ctx, a, q, cause)
}

// backUp takes a point and prints it. instead says why it is taken in another
// store than the homeserver's own.
func (p *program) backUp(ctx context.Context, a *app.Archive, q app.BackupRequest, instead error) error {
	job, err := a.Backup(ctx, q)
	if err != nil {
		return err
	}
	run, err := a.Run(ctx, job, jobs.RunID{})
	var r backup.Result
	listed := err
	if run != nil { // it was at work
		r, listed = backup.ResultOf(run)
	}
	switch {
	case listed != nil && (err == nil || errors.Is(err, jobs.ErrIncomplete)):
		return listed
	case listed != nil:
		return hinted{err, "no recovery point was listed; what was stored so far is not sent again by the next backup"}
	case err != nil && !errors.Is(err, jobs.ErrIncomplete):
		err = hinted{err, fmt.Sprintf("recovery point %s is in %s; synapse-maint copy brings it to the other stores", r.Point, a.Store)}
	}
	out := backedUp{Result: r, Store: a.Store}
	if instead != nil {
		out.Instead = instead.Error()
		err = errors.Join(err, fmt.Errorf("%w: the point is in %s only: %w; copy it when that works again", jobs.ErrIncomplete, a.Store, instead))
	}
	if perr := p.print(out, backupText(r, a)); perr != nil {
		return perr
	}
	return err
}

func backupText(r backup.Result, a *app.Archive) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "Recovery point %s of %s\n", r.Point, a.Name)
	line("taken", "%s, in %s", stamp(r.Taken), progress.Duration(time.Duration(r.Seconds*float64(time.Second))))
	switch {
	case r.Stream != "":
		line("database", "%s, PostgreSQL %s, as one stream of pg_dump: %s", r.Database, serverVersion(r.Server), r.Stream)
	case r.Database != "":
		line("database", "%s, PostgreSQL %s: %s, %s", r.Database, serverVersion(r.Server), jobs.Count(int64(r.Tables), "table"), jobs.Count(r.Rows, "row"))
	}
	emptiedLine(line, r.Emptied)
	partLines(line, r.Media, r.Secrets, r.Lacks, r.Degraded)
	line("size", "%s, of which %s were new; %s stored", jobs.Size(r.Logical), jobs.Size(r.New), jobs.Size(r.Stored))
	line("store", "%s, written and proved to be there", a.Store)
	for _, c := range r.Copies {
		if c.Error != "" {
			line("FAILED", "copy to %s: %s", c.Store, c.Error)
		} else {
			line("copy", "%s, %s sent", c.Store, jobs.Size(c.Bytes))
		}
		for _, w := range c.Warnings {
			line("warning", "copy to %s: %s", c.Store, w)
		}
	}
	for _, w := range r.Warnings {
		line("warning", "%s", w)
	}
	return progress.Fold(b.String())
}

func previewText(v backup.Preview, a *app.Archive) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "Would take a recovery point of %s\n", a.Name)
	if v.Database.Name != "" {
		line("database", "%s, PostgreSQL %s: %s, %s on the server's disk", v.Database.Name, serverVersion(v.Database.Version),
			jobs.Count(int64(len(v.Tables)), "table"), jobs.Size(v.Database.Size))
		if v.Stream != "" {
			line("how", "one stream of pg_dump: %s", v.Stream)
		} else {
			line("how", "%s, %d at once", jobs.Count(int64(v.Ranges), "range"), v.Jobs)
		}
	}
	for _, part := range v.Parts {
		line(part.Part, "%s, %s", jobs.Count(part.Files, "file"), jobs.Size(part.Bytes))
		for _, text := range part.Lines {
			line("", "%s", text)
		}
	}
	lackLines(line, v.Lacks)
	line("store", "%s, %s", a.Store, encryption(v.Encrypted))
	const most = 5
	for i, t := range v.Tables {
		if i == most {
			line("", "and %d more", len(v.Tables)-most)
			break
		}
		line("largest", "%s, %s", t.Name, jobs.Size(t.Bytes))
	}
	return progress.Fold(b.String())
}

func encryption(encrypted bool) string {
	if encrypted {
		return "encrypted"
	}
	return "NOT encrypted"
}

// stamp is a time for people.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// serverVersion is server_version_num as people write it.
func serverVersion(v int) string { return fmt.Sprintf("%d.%d", v/10000, v%10000) }
