package synapse

import "context"

// Classes of media, the folders of Synapse's media store, as they are named
// there. What lies beside them is of class other.
const (
	LocalContent       = "local_content"
	LocalThumbnails    = "local_thumbnails"
	RemoteContent      = "remote_content"
	RemoteThumbnails   = "remote_thumbnail" // Synapse writes no s
	URLCache           = "url_cache"
	URLCacheThumbnails = "url_cache_thumbnails"
	OtherMedia         = "other"
)

// MediaClasses are all of them.
func MediaClasses() []string {
	return []string{LocalContent, LocalThumbnails, RemoteContent, RemoteThumbnails, URLCache, URLCacheThumbnails, OtherMedia}
}

// MediaRow is what Synapse's database knows of one file of its media store.
type MediaRow struct {
	Class  string // one of the classes
	Path   string // below the media store's folder, as Synapse makes it of the row
	Length int64  // bytes; -1 where the database does not say
	SHA256 string // lower-case hex; empty where Synapse has not recorded it
}

// MediaRows yields the rows of a database, in any order. A database that has
// none of Synapse's tables yields nothing.
type MediaRows func(ctx context.Context, yield func(MediaRow) error) error

// PartPreview is what a part of a recovery point would store, counted and not
// read.
type PartPreview struct {
	Part  string   `json:"part"`
	Files int64    `json:"files"`
	Bytes int64    `json:"bytes"`
	Lines []string `json:"lines,omitempty"` // what else there is to say
}

// FillPlan is what a restore of a part that is not the database would do.
type FillPlan struct {
	Part     string   `json:"part"`
	Where    string   `json:"where"`    // folder
	Files    int64    `json:"files"`    // to be written
	Bytes    int64    `json:"bytes"`    // of these
	Same     int64    `json:"same"`     // files that are there already
	Replaces int64    `json:"replaces"` // of Files: those that are there, and differ
	Deletes  int64    `json:"deletes"`  // files to be deleted
	Lines    []string `json:"lines"`    // what it does, a step each
	Warnings []string `json:"warnings,omitempty"`
	Problems []string `json:"problems,omitempty"` // each refuses the restore
}
