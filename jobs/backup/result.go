package backup

import (
	"encoding/json"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// Result is what a backup did. Stored data (the note of its last step).
type Result struct {
	Point    string         `json:"point"` // ID
	Taken    time.Time      `json:"taken"`
	Database string         `json:"database"`
	Server   int            `json:"server_version"` // server_version_num
	Tables   int            `json:"tables"`
	Rows     int64          `json:"rows"`
	Emptied  []string       `json:"emptied,omitempty"` // tables whose rows were left out on purpose
	Logical  int64          `json:"logical"`           // bytes the point holds, plain
	New      int64          `json:"new"`               // of these, plain bytes that the archive did not have
	Stored   int64          `json:"stored"`            // bytes added to the store
	Seconds  float64        `json:"seconds"`
	Stream   string         `json:"stream,omitempty"` // why the database is one stream
	Parts    []string       `json:"parts"`            // that the point has
	Media    *Media         `json:"media,omitempty"`
	Secrets  int            `json:"secrets,omitempty"` // files
	Lacks    []archive.Lack `json:"lacks,omitempty"`
	Degraded []string       `json:"degraded,omitempty"` // what was lost already when the point was taken
	Warnings []string       `json:"warnings,omitempty"`
	Copies   []Copied       `json:"copies,omitempty"` // in other stores
}

// ResultOf returns the result of a run that is done.
func ResultOf(run *jobs.Run) (Result, error) {
	var r Result
	if err := run.Note(stepCommit, &r); err != nil {
		return r, err
	}
	r.Copies = copiesOf(run)
	return r, nil
}

// Media is what a result says of the media part: the manifest's, without the
// listing.
type Media = archive.Media

func resultOf(point string, m *archive.Manifest) Result {
	r := Result{
		Point: point, Taken: m.Taken, Seconds: m.Finished.Sub(m.Started).Seconds(), Parts: m.Parts(),
		Logical: m.Sizes.Logical, New: m.Sizes.New, Stored: m.Sizes.Stored, Lacks: m.Lacks, Degraded: m.Degraded,
	}
	if d := m.Database; d != nil {
		r.Tables, r.Rows, r.Stream = len(d.Tables), rows(d), d.Reason
		var db synapse.Database
		if json.Unmarshal(d.Info, &db) == nil { // it is for people, and may be of a later version
			r.Database, r.Server, r.Emptied = db.Name, db.Version, db.Emptied
		}
	}
	if m.Media != nil {
		media := *m.Media
		media.Listing = nil
		r.Media = &media
	}
	if m.Secrets != nil {
		r.Secrets = len(m.Secrets.Files)
	}
	return r
}

func rows(d *archive.Database) (n int64) {
	for _, t := range d.Tables {
		n += t.Rows
	}
	return n
}

// logical is how many bytes the database part holds.
func logical(d *archive.Database) (n int64) {
	for _, b := range d.TOC {
		n += b.Size
	}
	for _, t := range d.Tables {
		n += t.Bytes
	}
	for _, b := range d.Stream {
		n += b.Size
	}
	return n
}

// held is how many bytes a point holds, plain.
func held(m *archive.Manifest) (n int64) {
	if m.Database != nil {
		n += logical(m.Database)
	}
	if m.Media != nil {
		n += m.Media.Bytes
	}
	if m.Secrets != nil {
		for _, f := range m.Secrets.Files {
			n += f.Size
		}
	}
	return n
}
