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
	cmd.Flags().BoolVar(&q.AllowEmpty, "allow-empty-media", false, "the media store is meant to be empty, though the last point had files")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be copied")
	p.waitFlag(cmd)
	return cmd
}

func (p *program) runBackup(ctx context.Context, q app.BackupRequest, dryRun bool) error {
	a, err := p.archive(ctx, "")
	if err != nil {
		return err
	}
	job, err := a.Backup(ctx, q)
	if err != nil {
		return err
	}
	if dryRun {
		preview, err := job.Preview(ctx)
		if err != nil {
			return err
		}
		return p.print(preview, previewText(preview, a))
	}
	run, err := a.Run(ctx, job, jobs.RunID{})
	if err != nil && !errors.Is(err, jobs.ErrIncomplete) {
		return hinted{err, "no recovery point was listed; what was stored so far is not sent again by the next backup"}
	}
	r, rerr := backup.ResultOf(run)
	if rerr != nil {
		return rerr
	}
	if perr := p.print(r, backupText(r, a)); perr != nil {
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
	partLines(line, r.Media, r.Secrets, r.Lacks, r.Degraded)
	line("size", "%s, of which %s were new; %s stored", progress.Size(r.Logical), progress.Size(r.New), progress.Size(r.Stored))
	line("store", "%s, written and read back", a.Store)
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
			jobs.Count(int64(len(v.Tables)), "table"), progress.Size(v.Database.Size))
		if v.Stream != "" {
			line("how", "one stream of pg_dump: %s", v.Stream)
		} else {
			line("how", "%s, %d at once", jobs.Count(int64(v.Ranges), "range"), v.Jobs)
		}
	}
	for _, part := range v.Parts {
		line(part.Part, "%s, %s", jobs.Count(part.Files, "file"), progress.Size(part.Bytes))
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
		line("largest", "%s, %s", t.Name, progress.Size(t.Bytes))
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
