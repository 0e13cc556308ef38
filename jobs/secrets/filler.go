package secrets

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// Filler writes a point's secrets in the course of a restore, as package
// restore wants it.
type Filler struct {
	src  archive.BlobSource
	part *archive.Secrets
	dir  string
}

// NewFiller returns the filler for a folder.
func NewFiller(src archive.BlobSource, part *archive.Secrets, dir string) *Filler {
	return &Filler{src, part, dir}
}

// Name is the part's.
func (*Filler) Name() string { return archive.PartSecrets }

// Plan looks. It reads the secrets, so that one without a fitting identity
// learns it before the database is loaded.
func (f *Filler) Plan(ctx context.Context) (synapse.FillPlan, error) {
	p := synapse.FillPlan{Part: archive.PartSecrets, Where: f.dir}
	dir, err := filepath.Abs(f.dir)
	if err != nil {
		return p, err
	}
	items, err := read(ctx, f.src, f.part)
	if err != nil {
		return p, err
	}
	text := fmt.Sprintf("write the secrets to %s, for their owner only:", dir)
	there, err := look(dir, items)
	if err != nil {
		p.Problems = append(p.Problems, err.Error())
	}
	for _, i := range items {
		text += fmt.Sprintf("\n       %s: %s, %s", printable(i.Name), i.What, i.origin())
		if there[i.Name] {
			p.Same++
			continue
		}
		p.Files++
		p.Bytes += int64(len(i.Data))
	}
	p.Lines = []string{text}
	return p, nil
}

// origin says where a secret was, and whose.
func (i Item) origin() string {
	text := fmt.Sprintf("was %s, mode %04o", printable(i.From), i.Mode)
	if i.UID >= 0 && i.GID >= 0 {
		text += fmt.Sprintf(", owner %d:%d", i.UID, i.GID)
	}
	return text
}

// filled is the note of the step. It has no names: the journal is not
// encrypted. Stored data.
type filled struct {
	Dir   string `json:"dir"`
	Files int    `json:"files"`
	Kept  int    `json:"kept"` // of these: were there already
}

// Fill writes them.
func (f *Filler) Fill(ctx context.Context, report func(jobs.Progress)) (any, error) {
	files, err := Write(ctx, f.src, f.part, f.dir)
	note := filled{Dir: f.dir, Files: len(files)}
	for n, w := range files {
		if w.Kept {
			note.Kept++
		}
		report(jobs.Progress{What: "secrets", Done: int64(n + 1), Total: int64(len(files))})
	}
	return note, err
}
