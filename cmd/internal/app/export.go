package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/export"
	"github.com/synapse-maint/synapse-maint/jobs/media"
	"github.com/synapse-maint/synapse-maint/jobs/secrets"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// Folders of an export.
const (
	exportDatabase = "database"
	exportMedia    = "media_store"
	exportSecrets  = "secrets"
)

// Exported is what an export wrote.
type Exported struct {
	export.Result
	Media   *media.Filled     `json:"media,omitempty"`
	Secrets []secrets.Written `json:"secrets,omitempty"`
	Lacks   []archive.Lack    `json:"lacks,omitempty"` // what the point does not have
}

// CheckExport says why an export would fail, as far as that can be known without
// writing.
func (a *Archive) CheckExport(ctx context.Context, point archive.Point, dir string, o export.Options) error {
	reader, err := a.Reader(ctx)
	if err != nil {
		return err
	}
	if err := a.exportable(ctx, reader, point, dir); err != nil {
		return err
	}
	if m := point.Manifest; m != nil && m.Database == nil {
		if err := export.Reachable(dir, m.Sizes.Logical); err != nil {
			return fmt.Errorf("export of %s: %w", point.ID, err)
		}
		return nil
	}
	return a.Keyed(export.Check(ctx, reader, point, filepath.Join(dir, exportDatabase), o))
}

// exportable looks at what takes no writing: the folders, and whether media and
// secrets can be opened.
func (a *Archive) exportable(ctx context.Context, reader *archive.Reader, point archive.Point, dir string) error {
	m := point.Manifest
	if m == nil {
		return nil // the database's export says why
	}
	fail := func(err error) error { return fmt.Errorf("export of %s: %w", point.ID, err) }
	for _, part := range []struct {
		name string
		has  bool
	}{{exportMedia, m.Media != nil}, {exportSecrets, m.Secrets != nil}} {
		if err := mustBeEmpty(filepath.Join(dir, part.name)); part.has && err != nil {
			return fail(err)
		}
	}
	if m.Database == nil { // else its table of contents is read
		if err := reader.Opens(ctx, m); err != nil {
			return a.Keyed(fail(err))
		}
	}
	return nil
}

// Export writes a recovery point to a folder: the database as a stock archive,
// the media tree, and the secrets. A part that could be written in part only is
// [jobs.ErrIncomplete].
func (a *Archive) Export(ctx context.Context, point archive.Point, dir string, o export.Options) (Exported, error) {
	r := Exported{Result: export.Result{Point: point.ID, Dir: dir}}
	reader, err := a.Reader(ctx)
	if err != nil {
		return r, err
	}
	m := point.Manifest
	if err := a.exportable(ctx, reader, point, dir); err != nil {
		return r, err
	}
	if m != nil {
		r.Lacks = m.Lacks
	}
	var partial error
	if m == nil || m.Database != nil {
		o.Jobs, o.Progress = a.app.conf.Jobs, a.app.opt.Progress
		r.Result, partial = export.Export(ctx, reader, point, filepath.Join(dir, exportDatabase), o)
		if partial != nil && !errors.Is(partial, jobs.ErrIncomplete) {
			return r, a.Keyed(partial)
		}
	}
	if m != nil && m.Media != nil {
		note, err := media.NewFiller(media.FillOptions{
			Reader: reader, Media: m.Media, Dir: filepath.Join(dir, exportMedia), Jobs: a.app.conf.Jobs,
		}).Fill(ctx, a.report)
		if filled, ok := note.(media.Filled); ok {
			r.Media = &filled
		}
		if err != nil && !errors.Is(err, jobs.ErrIncomplete) {
			return r, fmt.Errorf("export of %s: media: %w", point.ID, a.Keyed(err))
		}
		partial = errors.Join(partial, err)
	}
	if m != nil && m.Secrets != nil {
		if r.Secrets, err = secrets.Write(ctx, reader, m.Secrets, filepath.Join(dir, exportSecrets)); err != nil {
			return r, fmt.Errorf("export of %s: %w", point.ID, a.Keyed(err))
		}
	}
	return r, partial
}

func (a *Archive) report(p jobs.Progress) {
	if a.app.opt.Progress != nil {
		a.app.opt.Progress(p)
	}
}

// mustBeEmpty refuses a folder with anything in it.
func mustBeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty: name another folder", dir)
	}
	return nil
}
