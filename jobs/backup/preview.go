package backup

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
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
}

// PreviewTable is a table that a backup would copy.
type PreviewTable struct {
	Name  string `json:"name"`
	Bytes int64  `json:"bytes"`
}

// Preview takes a snapshot, says what is in it, and lets it go.
func (j *Job) Preview(ctx context.Context) (Preview, error) {
	snap, err := j.opt.Source(ctx)
	if err != nil {
		return Preview{}, fmt.Errorf("backup of %s: %w", j.opt.Archive.Homeserver(), err)
	}
	defer j.closeSnapshot(ctx, snap)
	p := Preview{
		Homeserver: j.opt.Archive.Homeserver(), Database: snap.Database(), Ranges: len(snap.Ranges()),
		Jobs: j.opt.Jobs, Stream: snap.StreamReason(), Encrypted: j.opt.Archive.Encrypted(),
	}
	for _, t := range snap.Tables() {
		p.Pages += t.Pages
		p.Tables = append(p.Tables, PreviewTable{t.Schema + "." + t.Name, t.Pages * pageSize})
	}
	p.Bytes = p.Pages * pageSize
	slices.SortStableFunc(p.Tables, func(a, b PreviewTable) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return p, nil
}
