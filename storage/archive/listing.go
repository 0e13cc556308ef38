package archive

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// A listing is cut into pages of entries, at places that the paths choose
// themselves: an entry more or less changes its own page and no other, and a
// page that did not change is a blob that the archive has. Synapse puts nearly
// every file into a folder of its own, so that an object for each folder would
// be as many objects as files. The pages are listed in turn, in "contents",
// which the manifest names. FORMAT.md has the bytes.
const (
	// pageOdds is how many entries a page has on average.
	pageOdds = 256
	// pageMost bounds a page, in plain bytes, whatever the paths say.
	pageMost = 1 << 20
	// contentsOdds is how many pages a blob of contents lists on average.
	contentsOdds = 1024
)

// line is the stored form of an Entry.
type line struct {
	Path     string `json:"path,omitempty"`
	Path64   string `json:"path64,omitempty"` // base64, where the path is not UTF-8
	Kind     string `json:"kind,omitempty"`
	Mode     string `json:"mode"` // octal digits
	UID      *int   `json:"uid,omitempty"`
	GID      *int   `json:"gid,omitempty"`
	Modified string `json:"modified"` // seconds since 1970, a dot, nine digits
	Size     int64  `json:"size,omitempty"`
	SHA256   *ID    `json:"sha256,omitempty"` // left out where it is the only blob's ID
	Blobs    []ID   `json:"blobs,omitempty"`
	Sparse   bool   `json:"sparse,omitempty"`
	Target   string `json:"target,omitempty"`
	Target64 string `json:"target64,omitempty"`
}

// pageRef is a line of contents.
type pageRef struct {
	First   string `json:"first,omitempty"` // path of its first entry
	First64 string `json:"first64,omitempty"`
	Page    ID     `json:"page"`
	Size    int64  `json:"size"` // plain bytes
	Entries int64  `json:"entries"`
}

// ComparePaths orders paths as a walk meets them: names by their bytes, a
// folder before what is in it and that before the folder's next neighbour.
func ComparePaths(a, b string) int {
	for i := 0; i < len(a) && i < len(b); i++ {
		if a[i] == b[i] {
			continue
		}
		if a[i] == '/' {
			return -1
		}
		if b[i] == '/' {
			return 1
		}
		return cmp.Compare(a[i], b[i])
	}
	return cmp.Compare(len(a), len(b))
}

// encodeEntry appends a line to b, its newline included.
func encodeEntry(b []byte, e *Entry) ([]byte, error) {
	if simple(e.Path) && simple(e.Target) && e.Mode <= 0o7777 {
		return printEntry(b, e), nil
	}
	return marshalEntry(b, e)
}

// marshalEntry is encodeEntry for all entries.
func marshalEntry(b []byte, e *Entry) ([]byte, error) {
	l := line{
		Kind: e.Kind, Mode: fmt.Sprintf("%04o", e.Mode), Modified: fmt.Sprintf("%d.%09d", e.Modified.Unix(), e.Modified.Nanosecond()),
		Size: e.Size, Blobs: e.Blobs, Sparse: e.Sparse,
	}
	l.Path, l.Path64 = textOrBase64(e.Path)
	l.Target, l.Target64 = textOrBase64(e.Target)
	if e.UID >= 0 {
		l.UID = &e.UID
	}
	if e.GID >= 0 {
		l.GID = &e.GID
	}
	if e.Kind == KindFile && (len(e.Blobs) != 1 || e.Blobs[0] != e.SHA256) {
		l.SHA256 = &e.SHA256
	}
	out := appender{b}
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		return nil, fmt.Errorf("list %q: %w", e.Path, err)
	}
	return out.b, nil
}

func textOrBase64(s string) (text, b64 string) {
	if utf8.ValidString(s) {
		return s, ""
	}
	return "", base64.StdEncoding.EncodeToString([]byte(s))
}

func orBase64(text, b64 string) (string, error) {
	if b64 == "" {
		return text, nil
	}
	raw, err := base64.StdEncoding.DecodeString(b64)
	return string(raw), err
}

// decodeEntry reads a line. What it returns without an error stays below the
// folder it is restored to: no absolute path, no "..".
func decodeEntry(text []byte) (Entry, error) {
	var l line
	if err := json.Unmarshal(text, &l); err != nil {
		return Entry{}, err
	}
	e := Entry{Kind: l.Kind, Size: l.Size, Blobs: l.Blobs, Sparse: l.Sparse, UID: -1, GID: -1}
	var err error
	if e.Path, err = orBase64(l.Path, l.Path64); err != nil {
		return e, fmt.Errorf("path: %w", err)
	}
	if e.Target, err = orBase64(l.Target, l.Target64); err != nil {
		return e, fmt.Errorf("target: %w", err)
	}
	if err := checkPath(e.Path); err != nil {
		return e, err
	}
	if l.UID != nil {
		e.UID = *l.UID
	}
	if l.GID != nil {
		e.GID = *l.GID
	}
	if _, err := fmt.Sscanf(l.Mode, "%o", &e.Mode); err != nil || e.Mode > 0o7777 {
		return e, fmt.Errorf("mode %q", l.Mode)
	}
	if e.Modified, err = parseModified(l.Modified); err != nil {
		return e, err
	}
	switch {
	case l.SHA256 != nil:
		e.SHA256 = *l.SHA256
	case len(e.Blobs) == 1:
		e.SHA256 = e.Blobs[0]
	}
	return e, checkKind(&e)
}

func checkKind(e *Entry) error {
	switch e.Kind {
	case KindFile:
		if e.Size < 0 || e.Size > 0 && len(e.Blobs) == 0 {
			return fmt.Errorf("%q has %d bytes and %d blobs", e.Path, e.Size, len(e.Blobs))
		}
	case KindFolder, KindLink, KindFIFO, KindSocket:
		if len(e.Blobs) > 0 {
			return fmt.Errorf("%q is a %s and has bytes", e.Path, e.Kind)
		}
	default:
		return fmt.Errorf("%q is of kind %q", e.Path, e.Kind)
	}
	return nil
}

// checkPath refuses what would lead out of the folder, or to its own name.
func checkPath(path string) error {
	for part := range strings.SplitSeq(path, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsRune(part, 0) {
			return fmt.Errorf("path %q", path)
		}
	}
	return nil
}

func parseModified(text string) (time.Time, error) {
	var sec, nano int64
	whole, part, _ := strings.Cut(text, ".")
	if _, err := fmt.Sscan(whole, &sec); err != nil || len(part) != 9 {
		return time.Time{}, fmt.Errorf("modified %q", text)
	}
	if _, err := fmt.Sscanf(part, "%09d", &nano); err != nil || nano < 0 {
		return time.Time{}, fmt.Errorf("modified %q", text)
	}
	return time.Unix(sec, nano).UTC(), nil
}
