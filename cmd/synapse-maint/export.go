package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/synapse-maint/synapse-maint/cmd/internal/app"
	"github.com/synapse-maint/synapse-maint/cmd/internal/progress"
	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/export"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

type exportOptions struct {
	export.Options
	at, dir string
	dryRun  bool
}

func (p *program) exportCommand() *cobra.Command {
	var o exportOptions
	cmd := &cobra.Command{
		Use:   "export ID DIR",
		Short: "Write a recovery point as stock files: pg_dump's, the media tree, the secrets",
		Long: `Writes a recovery point to a folder: DIR/database is what pg_restore of stock PostgreSQL
reads, DIR/media_store the media, DIR/secrets signing key and configuration, for their owner
only. What is there already is refused. Nothing of it needs this program any more. ID is
one from list, its beginning, a time, or latest.`,
		Args: between(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.at, o.dir = args[0], args[1]
			return p.runExport(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Compression, "compression", "", "of the tables' files: none, gzip or zstd (pg_restore 16 and later); default: the best that every fitting pg_restore reads")
	f.BoolVar(&o.SkipDamaged, "skip-damaged", false, "leave damaged tables empty instead of failing")
	f.BoolVar(&o.dryRun, "dry-run", false, "only say what would be written")
	return cmd
}

// exportPlan is what an export would write.
type exportPlan struct {
	Point  string `json:"point"`
	Dir    string `json:"dir"`
	Tables int    `json:"tables"`
	Bytes  int64  `json:"bytes"` // plain

	Lacks []archive.Lack `json:"lacks,omitempty"`
}

func (p *program) runExport(ctx context.Context, o exportOptions) error {
	switch {
	case o.dir == "":
		return app.Usagef("export: DIR is empty: name a folder")
	case strings.Contains(o.dir, "://"):
		return app.Usagef("export: DIR is a URL, and a point is written to a folder: copy it to a bucket from there")
	}
	if !slices.Contains([]string{"", "none", "gzip", "zstd"}, o.Compression) {
		return app.Usagef("--compression %s: it is none, gzip or zstd", o.Compression)
	}
	a, err := p.archive(ctx, "")
	if err != nil {
		return err
	}
	pt, err := a.Point(ctx, o.at)
	if err != nil {
		return err
	}
	if o.dryRun {
		if err := a.CheckExport(ctx, pt, o.dir, o.Options); err != nil {
			return err
		}
		plan := exportPlan{Point: pt.ID, Dir: o.dir, Bytes: pt.Manifest.Sizes.Logical, Lacks: pt.Manifest.Lacks}
		if d := pt.Manifest.Database; d != nil {
			plan.Tables = len(d.Tables)
		}
		text := fmt.Sprintf("Would write recovery point %s to %s: %s, %s before compression\n",
			plan.Point, plan.Dir, jobs.Count(int64(plan.Tables), "table"), jobs.Size(plan.Bytes))
		var b strings.Builder
		partLines(func(name, format string, args ...any) {
			fmt.Fprintf(&b, "  %-9s %s\n", name, fmt.Sprintf(format, args...))
		}, pt.Manifest.Media, secretsOf(pt.Manifest), pt.Manifest.Lacks, nil)
		return p.print(plan, text+progress.Fold(b.String()))
	}
	p.report.Start("export")
	r, err := exportTo(ctx, a, pt, o)
	p.report.Stop()
	if err != nil && !errors.Is(err, jobs.ErrIncomplete) {
		return hinted{err, "nothing was exported; begin again"}
	}
	if perr := p.print(r, exportText(r)); perr != nil {
		return perr
	}
	return err
}

// exportTo makes the folder, and removes it again if nothing comes of it.
func exportTo(ctx context.Context, a *app.Archive, pt archive.Point, o exportOptions) (app.Exported, error) {
	_, serr := os.Stat(o.dir)
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return app.Exported{}, fmt.Errorf("export to %s: the folder can't be made: %w: choose one below a folder that you can write to", o.dir, plainError(err))
	}
	r, err := a.Export(ctx, pt, o.dir, o.Options)
	if err != nil && errors.Is(serr, fs.ErrNotExist) {
		_ = os.Remove(o.dir) // what is not empty stays
	}
	return r, err
}

// plainError is an error of the file system without the path, which the text has.
func plainError(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return pe.Err
	}
	return err
}

func secretsOf(m *archive.Manifest) int {
	if m.Secrets == nil {
		return 0
	}
	return len(m.Secrets.Files)
}

func exportText(r app.Exported) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Recovery point %s is in %s\n", r.Point, r.Dir)
	if r.Media != nil {
		fmt.Fprintf(&b, "  %-9s %s, %s\n", "media", jobs.Count(r.Media.Files, "file"), jobs.Size(r.Media.Bytes))
	}
	if len(r.Secrets) > 0 {
		fmt.Fprintf(&b, "  %-9s %s, for their owner only\n", "secrets", jobs.Count(int64(len(r.Secrets)), "file"))
	}
	for _, l := range r.Lacks {
		fmt.Fprintf(&b, "  %-9s %s: %s\n", "lacks", l.Part, l.Why)
	}
	if r.Path == "" {
		return b.String() // without a database
	}
	if r.Format == "directory" {
		fmt.Fprintf(&b, "  %-9s %s, %s\n", "database", jobs.Count(int64(r.Tables), "table"), jobs.Count(r.Rows, "row"))
	}
	fmt.Fprintf(&b, "  %-9s %s, %s on the disk (compression: %s), in %s\n", "size", jobs.Size(r.Bytes), jobs.Size(r.Written),
		r.Compression, progress.Duration(time.Duration(r.Seconds*float64(time.Second))))
	for _, t := range r.Damaged {
		fmt.Fprintf(&b, "  %-9s %s is empty: its data is damaged\n", "DAMAGED", t)
	}
	workers := " -j4"
	if r.Format != "directory" {
		workers = ""
	}
	fmt.Fprintf(&b, "  %-9s pg_restore%s -d postgres://…/empty_database %s\n", "restore", workers, r.Path)
	return b.String()
}
