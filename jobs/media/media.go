// Package media is the media part of a recovery point: the files of a Synapse
// media store, from a folder ([Options.Dir]) or a bucket ([Options.Store]),
// into an archive ([NewPart]) and back to a folder ([NewFiller]).
//
// A file with the path, size and time of modification that it had in the point
// before is not read again. What is read is cut into blobs; small ones share
// packs, so that a store of thousands of thumbnails is a few requests. Files
// that vanish or change under the reader are noted and are no failure; a store
// that is not there, or not the one that was there, is.
//
// Memory does not depend on the size of the tree: a window of entries, a page
// of the listing, and one buffer a worker.
//
// It imports jobs, jobs/synapse, storage and storage/archive. It never writes
// to the media store that it backs up, never follows a link, and deletes
// nothing on a restore unless told to.
package media

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// Options are the media part's. One of Dir and Store is needed.
type Options struct {
	Dir string // the media store's folder; itself it may be a link
	// Store has the media where Synapse keeps them in a bucket
	// (synapse-s3-storage-provider): its keys below Prefix are the paths of a
	// media store's folder.
	Store  storage.Store
	Prefix string // of the keys; a slash at its end or not
	Name   string // how messages and the point call Store

	// Classes to take; empty: [DefaultClasses].
	Classes []string
	// ReadAll reads files that look unchanged, too.
	ReadAll bool
	// AllowEmpty takes a store without files for what it is, although the point
	// before had some. Else it is a volume that is not mounted.
	AllowEmpty bool
	Jobs       int // files read at once; 0: as many as CPUs, at least 2; 8 for a bucket
}

// DefaultClasses are those that nobody else has. The others are copies of what
// is to be had elsewhere.
func DefaultClasses() []string {
	return []string{synapse.LocalContent, synapse.LocalThumbnails, synapse.OtherMedia}
}

// ClassOf says which class a path below the media store is of.
func ClassOf(path string) string {
	first, _, _ := strings.Cut(path, "/")
	if first != synapse.OtherMedia && slices.Contains(synapse.MediaClasses(), first) {
		return first
	}
	return synapse.OtherMedia
}

// Part takes the media of a point. It implements backup.Part.
type Part struct {
	opt  Options
	rows *rows // nil: not compared with a database
}

// NewPart returns the part for one run.
func NewPart(o Options) *Part {
	if len(o.Classes) == 0 {
		o.Classes = DefaultClasses()
	}
	if o.Jobs <= 0 {
		o.Jobs = max(2, runtime.NumCPU())
		if o.Store != nil {
			o.Jobs = 8 // they wait for the network most of the time
		}
	}
	return &Part{opt: o}
}

// Name is the part's.
func (*Part) Name() string { return archive.PartMedia }

// Consult reads what the database has of the classes that are taken. Synapse
// writes a file and then its row, and the files are read after the snapshot:
// what a row names is there, unless it was lost or deleted since.
func (p *Part) Consult(ctx context.Context, all synapse.MediaRows) error {
	t := newRows()
	err := all(ctx, func(r synapse.MediaRow) error {
		if slices.Contains(p.opt.Classes, r.Class) {
			t.add(r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	t.seal()
	if t.n > 0 {
		p.rows = t
	}
	return nil
}

// Preview counts what Take would store.
func (p *Part) Preview(ctx context.Context) (synapse.PartPreview, error) {
	v := synapse.PartPreview{Part: archive.PartMedia}
	var c census
	src, err := p.opt.source()
	if err != nil {
		return v, err
	}
	defer src.close()
	for f, err := range src.walk(ctx) {
		if err != nil {
			return v, err
		}
		if f.odd == "" && f.Kind == archive.KindFile {
			c.count(f.Path, f.Size)
		}
	}
	v.Files, v.Bytes = c.files, c.bytes
	for _, class := range c.list(p.opt.Classes) {
		v.Lines = append(v.Lines, fmt.Sprintf("%s: %s, %s", class.Name, jobs.Count(class.Files, "file"), jobs.Size(class.Bytes)))
	}
	if left := p.opt.left(); len(left) > 0 {
		v.Lines = append(v.Lines, "left out: "+strings.Join(left, ", "))
	}
	return v, src.verdict()
}

// left are the classes that are not taken.
func (o *Options) left() []string {
	return slices.DeleteFunc(synapse.MediaClasses(), func(c string) bool { return slices.Contains(o.Classes, c) })
}

// census counts files by class.
type census struct {
	files, bytes int64
	classes      map[string]*archive.Class
}

func (c *census) count(path string, bytes int64) {
	if c.classes == nil {
		c.classes = map[string]*archive.Class{}
	}
	name := ClassOf(path)
	class := c.classes[name]
	if class == nil {
		class = &archive.Class{Name: name}
		c.classes[name] = class
	}
	class.Files++
	class.Bytes += bytes
	c.files++
	c.bytes += bytes
}

// list returns the classes wanted, in the order of [Classes], those without
// files included.
func (c *census) list(wanted []string) (list []archive.Class) {
	for _, name := range synapse.MediaClasses() {
		if class := c.classes[name]; class != nil {
			list = append(list, *class)
		} else if slices.Contains(wanted, name) {
			list = append(list, archive.Class{Name: name})
		}
	}
	return list
}

// found is a file or folder as a walk meets it, without its bytes.
type found struct {
	archive.Entry
	allocated int64  // bytes on the disk; -1: unknown
	odd       string // why it can't be stored; empty if it can
	gone      bool   // it was there a moment ago
}

// settled says whether a file was left alone since well before an instant: a
// write within the same tick of the clock would not show in its time.
func settled(modified, instant time.Time) bool {
	const slack = 2 * time.Second // the clocks of file servers, too
	return modified.Before(instant.Add(-slack))
}
