package synapse

import "strings"

// Where Synapse keeps a file of its media store, as its media/filepath.py says:
// the ID's first two and next two letters are folders. An ID that is too short
// for that names no file: the empty path.

// Thumbnail names one, by the texts of its row.
type Thumbnail struct {
	Width, Height string // pixels
	Type          string // image/jpeg
	Method        string // crop or scale; empty in rows of very old versions
}

func (t Thumbnail) file() string {
	name := t.Width + "-" + t.Height + "-" + strings.ReplaceAll(t.Type, "/", "-")
	if t.Method != "" {
		name += "-" + t.Method
	}
	return name
}

func spread(folder, id string) string {
	if len(id) < 5 || strings.Contains(id, "/") {
		return ""
	}
	return folder + "/" + id[:2] + "/" + id[2:4] + "/" + id[4:]
}

func below(folder, file string) string {
	if folder == "" {
		return ""
	}
	return folder + "/" + file
}

// LocalContentPath is the file of an upload.
func LocalContentPath(id string) string { return spread(LocalContent, id) }

// LocalThumbnailPath is a thumbnail of an upload.
func LocalThumbnailPath(id string, t Thumbnail) string {
	return below(spread(LocalThumbnails, id), t.file())
}

// RemoteContentPath is a copy of another server's file.
func RemoteContentPath(origin, id string) string { return spread(RemoteContent+"/"+origin, id) }

// RemoteThumbnailPath is a thumbnail of another server's file.
func RemoteThumbnailPath(origin, id string, t Thumbnail) string {
	return below(spread(RemoteThumbnails+"/"+origin, id), t.file())
}

// URLCachePath is the file of a preview: by its day, in the IDs of all but very
// old versions (2026-11-25_abcdefghijklmnop).
func URLCachePath(id string) string { return dated(URLCache, id) }

// URLCacheThumbnailPath is a thumbnail of a preview.
func URLCacheThumbnailPath(id string, t Thumbnail) string {
	return below(dated(URLCacheThumbnails, id), t.file())
}

func dated(folder, id string) string {
	const day = len("2026-11-25")
	if len(id) <= day+1 || id[4] != '-' || id[7] != '-' || strings.Trim(id[:day], "0123456789-") != "" {
		return spread(folder, id)
	}
	return folder + "/" + id[:day] + "/" + id[day+1:]
}

// IsMediaPath says whether a path below the media store is one that Synapse
// makes. What else lies there is none of its business.
func IsMediaPath(path string) bool {
	class, rest, _ := strings.Cut(path, "/")
	names := strings.Split(rest, "/")
	switch class {
	case RemoteContent, RemoteThumbnails:
		names = names[1:] // the homeserver
	}
	if class == LocalThumbnails || class == RemoteThumbnails || class == URLCacheThumbnails {
		if len(names) == 0 || strings.Count(names[len(names)-1], "-") < 3 {
			return false
		}
		names = names[:len(names)-1]
	}
	switch class {
	case LocalContent, LocalThumbnails, RemoteContent, RemoteThumbnails:
		return isSpread(names)
	case URLCache, URLCacheThumbnails:
		return isSpread(names) || len(names) == 2 && len(names[0]) == len("2026-11-25") && names[0][4] == '-'
	}
	return false
}

func isSpread(names []string) bool {
	return len(names) == 3 && len(names[0]) == 2 && len(names[1]) == 2 && names[2] != ""
}
