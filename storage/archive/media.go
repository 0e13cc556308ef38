package archive

import "time"

// Media is the media part of a recovery point: files, found through a listing
// (see [Entry]) that is kept as blobs of its own, so that a night with few new
// files writes little of it.
type Media struct {
	Source  string   `json:"source"`  // the folder or bucket it was read from; informative
	Listing []Blob   `json:"listing"` // the contents of the listing; FORMAT.md
	Files   int64    `json:"files"`
	Bytes   int64    `json:"bytes"` // of the files
	Classes []Class  `json:"classes,omitempty"`
	Left    []string `json:"left,omitempty"` // classes that the configuration leaves out
	// Unstable are files that were still being written when they were read, the
	// second time too: what was stored of them is what was seen.
	Unstable *Findings `json:"unstable,omitempty"`
	// Vanished were listed by their folder and gone when they were to be read.
	Vanished *Findings `json:"vanished,omitempty"`
	// Odd are no files, folders or links, and can't be stored (devices), or
	// can't be read (permissions).
	Odd   *Findings `json:"odd,omitempty"`
	Proof *Proof    `json:"proof,omitempty"` // nil where it was not compared with the database
}

// Class is how much of Synapse's kinds of media a point has.
type Class struct {
	Name  string `json:"name"` // local_content, local_thumbnails, …; other
	Files int64  `json:"files"`
	Bytes int64  `json:"bytes"`
}

// Proof is what the database says of the files.
type Proof struct {
	Rows   int64 `json:"rows"`   // of the database's media tables, of the classes the point has
	Proved int64 `json:"proved"` // files whose SHA-256 is the one the database has
	// Unproved are files with a row, but Synapse has recorded no SHA-256.
	Unproved int64 `json:"unproved"`
	// Missing are in the database, not among the files; Lost are those of local
	// content, which nobody else has: with them the point is degraded.
	Missing *Findings `json:"missing,omitempty"`
	Lost    *Findings `json:"lost,omitempty"`
	// Orphans are files that no row of the database names.
	Orphans *Findings `json:"orphans,omitempty"`
	// Mismatches are files with another SHA-256 or length than the database has.
	Mismatches *Findings `json:"mismatches,omitempty"`
}

// Findings count files and name the first few.
type Findings struct {
	Count int64    `json:"count"`
	Bytes int64    `json:"bytes,omitempty"`
	First []string `json:"first,omitempty"` // paths, at most [FindingsNamed]
}

// FindingsNamed is how many files [Findings] name.
const FindingsNamed = 20

// Note counts a file. The nil Findings is none: keep what it returns.
func (f *Findings) Note(path string, bytes int64) *Findings {
	if f == nil {
		f = &Findings{}
	}
	f.Count++
	f.Bytes += bytes
	if len(f.First) < FindingsNamed {
		f.First = append(f.First, path)
	}
	return f
}

// Number is how many there are; 0 of the nil Findings.
func (f *Findings) Number() int64 {
	if f == nil {
		return 0
	}
	return f.Count
}

// Secrets is the secrets part of a recovery point: signing key, configuration
// and what it names. Only encrypted archives have it.
type Secrets struct {
	// Files say what there is, without a byte of it.
	Files []SecretFile `json:"files"`
	// Blobs, one after the other, are a line of JSON for each file, in the same
	// order, with its bytes; FORMAT.md. Each has a random member, so that an ID
	// tells nothing to those who guess.
	Blobs []Blob `json:"blobs"`
}

// SecretFile names a file of the secrets part.
type SecretFile struct {
	Name string `json:"name"` // as it is restored: a relative path
	From string `json:"from"` // where it was: an absolute path, or Secret namespace/name key
	What string `json:"what"` // signing key, configuration, named in homeserver.yaml as …
	Size int64  `json:"size"`
}

// Lack is a part that a recovery point does not have.
type Lack struct {
	Part string `json:"part"` // database, media or secrets
	Why  string `json:"why"`
	// Failed says that it should have been there: the run ended incomplete.
	Failed bool `json:"failed,omitempty"`
}

// Kinds of entries of a listing.
const (
	KindFile   = ""
	KindFolder = "folder"
	KindLink   = "link"
	KindFIFO   = "fifo"
	KindSocket = "socket"
)

// Entry is a file or folder of the media part, a line of the listing.
type Entry struct {
	Path     string    // below the media folder, with slashes; any bytes but NUL
	Kind     string    // one of the Kind constants
	Mode     uint32    // permissions: the lower 12 bits of st_mode
	UID, GID int       // -1: unknown (media in a bucket)
	Modified time.Time // to the nanosecond
	Size     int64     // bytes of a file
	SHA256   ID        // of a file's bytes
	Blobs    []ID      // a file's bytes, one after the other
	Sparse   bool      // it had holes
	Target   string    // of a link
}
