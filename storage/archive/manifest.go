package archive

import (
	"encoding/json"
	"iter"
	"time"
)

// Manifest is a recovery point: everything that is needed to restore it, with
// the blobs' names. It is written last, once, and never changed. Its JSON form
// is the stored format (FORMAT.md).
type Manifest struct {
	Format     int       `json:"format"`
	Homeserver string    `json:"homeserver"`
	Started    time.Time `json:"started"` // when its run began
	Taken      time.Time `json:"taken"`   // when the database snapshot was taken: the instant it restores
	Finished   time.Time `json:"finished"`
	Program    string    `json:"program"` // name and version of the writer
	Run        string    `json:"run"`     // its run in the journal
	Database   *Database `json:"database,omitempty"`
	Media      *Media    `json:"media,omitempty"`
	Secrets    *Secrets  `json:"secrets,omitempty"`
	// Lacks are the parts that the point does not have, and why. Points of
	// programs that knew the database only have none.
	Lacks []Lack `json:"lacks,omitempty"`
	// Degraded says, a line each, what of the homeserver was lost already when
	// the point was taken: local media that the database names and nobody has.
	Degraded []string `json:"degraded,omitempty"`
	Sizes    Sizes    `json:"sizes"`
	// Origin is the point of another archive that this one is a copy of, under
	// other keys: the archive's ID, a slash, and the point's. Else empty.
	Origin string `json:"origin,omitempty"`
}

// Sizes of a recovery point, in bytes.
type Sizes struct {
	Logical int64 `json:"logical"` // what it holds, plain
	New     int64 `json:"new"`     // of it, plain bytes that the archive did not have
	Stored  int64 `json:"stored"`  // bytes its run added to the store, compressed and encrypted
}

// Database is the database part of a recovery point.
type Database struct {
	// Info describes the database (name, owner, version, locale, …): the
	// program's own record, kept here as it is.
	Info json.RawMessage `json:"info"`
	// TOC is the directory archive's toc.dat, split into blobs. Empty for a
	// stream.
	TOC []Blob `json:"toc,omitempty"`
	// Tables in the order of the table of contents. Empty for a stream.
	Tables []Table `json:"tables,omitempty"`
	// Stream is a whole custom-format archive of pg_dump, for databases whose
	// tables can't be copied one by one.
	Stream []Blob `json:"stream,omitempty"`
	// Reason says why it is a stream.
	Reason string `json:"reason,omitempty"`
}

// Table is a table's rows, as COPY's text format, in order.
type Table struct {
	DumpID int    `json:"dump_id"`
	Schema string `json:"schema"`
	Name   string `json:"name"`
	Copy   string `json:"copy"`
	Pages  int64  `json:"pages"`
	Range  int64  `json:"range,omitempty"` // pages a range; 0 where it was copied whole
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"`
	Blobs  []Blob `json:"blobs,omitempty"`
}

// Blob names a blob and says what is in it.
type Blob struct {
	ID   ID    `json:"id"`
	Size int64 `json:"size"`           // plain bytes
	Rows int64 `json:"rows,omitempty"` // rows that end in it
	Open bool  `json:"open,omitempty"` // its last row goes on in the next blob
}

// Names of the parts of a recovery point. Stored data.
const (
	PartDatabase = "database"
	PartMedia    = "media"
	PartSecrets  = "secrets"
)

// Has says whether the point has a part.
func (m *Manifest) Has(part string) bool {
	switch part {
	case PartDatabase:
		return m.Database != nil
	case PartMedia:
		return m.Media != nil
	case PartSecrets:
		return m.Secrets != nil
	}
	return false
}

// Parts are the names of the parts that the point has.
func (m *Manifest) Parts() []string {
	parts := []string{}
	for _, name := range []string{PartDatabase, PartMedia, PartSecrets} {
		if m.Has(name) {
			parts = append(parts, name)
		}
	}
	return parts
}

func (m *Manifest) tables() []Table {
	if m.Database == nil {
		return nil
	}
	return m.Database.Tables
}

// parts yields the lists of blobs a manifest names, each with the name that
// reports call it by: schema.table, "table of contents", "pg_dump stream",
// "media listing", "secrets". What the listing names besides, it has to be read
// for.
func (m *Manifest) parts() iter.Seq2[string, []Blob] {
	return func(yield func(string, []Blob) bool) {
		if m.Media != nil && !yield("media listing", m.Media.Listing) {
			return
		}
		if m.Secrets != nil && !yield("secrets", m.Secrets.Blobs) {
			return
		}
		if m.Database == nil {
			return
		}
		if !yield("table of contents", m.Database.TOC) || !yield("pg_dump stream", m.Database.Stream) {
			return
		}
		for i := range m.Database.Tables {
			t := &m.Database.Tables[i]
			if !yield(t.Schema+"."+t.Name, t.Blobs) {
				return
			}
		}
	}
}
