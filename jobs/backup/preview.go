package backup

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// Preview is what a backup would copy. How much of it the archive has already
// is known only by reading it.
type Preview struct {
	Homeserver string           `json:"homeserver"`
	Database   synapse.Database `json:"database"`
	Tables     []PreviewTable   `json:"tables"` // largest first
	Pages      int64            `json:"pages"`  // of 8 KiB, of all tables
	Bytes      int64            `json:"bytes"`  // on the server's disk, without indexes and TOAST
	Ranges     int              `json:"ranges"`
	Jobs       int              `json:"jobs"`
	Stream     string           `json:"stream,omitempty"` // why it would be one stream
	Encrypted  bool             `json:"encrypted"`
	Parts      []PartPreview    `json:"parts,omitempty"` // beside the database
	Lacks      []archive.Lack   `json:"lacks,omitempty"`
}

// PreviewTable is a table that a backup would copy.
type PreviewTable struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// Preview takes a snapshot, says what is in it, and lets it go.
func (j *Job) Preview(ctx context.Context) (Preview, error) {
	p := Preview{
		Homeserver: j.opt.Archive.Homeserver(), Jobs: j.opt.Jobs, Encrypted: j.opt.Archive.Encrypted(),
		Lacks: slices.Clone(j.opt.Lacks),
	}
	if j.opt.Source != nil {
		if err := j.previewDatabase(ctx, &p); err != nil {
			return Preview{}, fmt.Errorf("backup of %s: %w", p.Homeserver, err)
		}
	}
	for _, part := range j.opt.Parts {
		one, err := part.Preview(ctx)
		switch {
		case err == nil:
			p.Parts = append(p.Parts, one)
		case ctx.Err() != nil:
			return Preview{}, context.Cause(ctx)
		default:
			p.Lacks = append(p.Lacks, archive.Lack{Part: part.Name(), Why: err.Error(), Failed: true})
		}
	}
	return p, nil
}

func (j *Job) previewDatabase(ctx context.Context, p *Preview) error {
	snap, err := j.opt.Source(ctx)
	if err != nil {
		return err
	}
	defer j.closeSnapshot(ctx, snap)
	p.Database, p.Ranges, p.Stream = snap.Database(), len(snap.Ranges()), snap.StreamReason()
	for _, t := range snap.Tables() {
		p.Pages += t.Pages
		p.Tables = append(p.Tables, PreviewTable{t.Schema + "." + t.Name, t.Pages * pageSize})
	}
	p.Bytes = p.Pages * pageSize
	slices.SortStableFunc(p.Tables, func(a, b PreviewTable) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return nil
}
