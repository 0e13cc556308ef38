package secrets

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// document is the stored form of a secret, a line of JSON; FORMAT.md. Random
// comes first, and makes every blob one that nobody can guess, neither from its
// ID nor by its bytes.
type document struct {
	Random   []byte    `json:"random"`
	Name     string    `json:"name"`
	From     string    `json:"from"`
	What     string    `json:"what"`
	Mode     string    `json:"mode"` // octal digits
	UID      *int      `json:"uid,omitempty"`
	GID      *int      `json:"gid,omitempty"`
	Modified time.Time `json:"modified"`
	Data     []byte    `json:"data"`
}

const randomBytes = 32

// encode makes a line, with the newline.
func encode(i Item) ([]byte, error) {
	d := document{
		Random: make([]byte, randomBytes), Name: i.Name, From: i.From, What: i.What,
		Mode: fmt.Sprintf("%04o", i.Mode), Modified: i.Modified.UTC(), Data: i.Data,
	}
	rand.Read(d.Random) //nolint:errcheck // never fails
	if i.UID >= 0 {
		d.UID = &i.UID
	}
	if i.GID >= 0 {
		d.GID = &i.GID
	}
	if d.Data == nil {
		d.Data = []byte{} // null is nothing to decode
	}
	line, err := json.Marshal(d)
	if err != nil {
		return nil, fmt.Errorf("store %s: it has no JSON form", i.From)
	}
	return append(line, '\n'), nil
}

// errDocument is all that is said of a line that can't be read: the decoder's
// own words may quote it.
var errDocument = errors.New("a line of it can't be read")

// decode reads a line. What it returns stays below the folder it is restored to.
func decode(line []byte) (Item, error) {
	var d document
	if json.Unmarshal(line, &d) != nil || !fs.ValidPath(d.Name) || d.Name == "." {
		return Item{}, errDocument
	}
	i := Item{Name: d.Name, From: d.From, What: d.What, Modified: d.Modified, Data: d.Data, UID: -1, GID: -1}
	if _, err := fmt.Sscanf(d.Mode, "%o", &i.Mode); err != nil {
		return Item{}, errDocument
	}
	if d.UID != nil {
		i.UID = *d.UID
	}
	if d.GID != nil {
		i.GID = *d.GID
	}
	return i, nil
}

// read returns the secrets of a point. They are those that its manifest names,
// or it is an error.
func read(ctx context.Context, src archive.BlobSource, part *archive.Secrets) ([]Item, error) {
	ids := make([]archive.ID, len(part.Blobs))
	for n, b := range part.Blobs {
		ids[n] = b.ID
	}
	var items []Item
	for text, err := range src.Blobs(ctx, ids) {
		if err != nil {
			return nil, fmt.Errorf("the secrets: %w", err)
		}
		for len(text) > 0 {
			var line []byte
			line, text, _ = bytes.Cut(text, []byte("\n"))
			i, err := decode(line)
			if err != nil {
				return nil, fmt.Errorf("the secrets are %w: %w", archive.ErrCorrupt, err)
			}
			items = append(items, i)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	return items, sameFiles(items, part.Files)
}

// sameFiles compares what was read with what the manifest names.
func sameFiles(items []Item, files []archive.SecretFile) error {
	if len(items) != len(files) {
		return fmt.Errorf("the secrets are %w: %d files, the manifest names %d", archive.ErrCorrupt, len(items), len(files))
	}
	seen := map[string]bool{}
	for n, f := range files {
		if i := items[n]; i.Name != f.Name || int64(len(i.Data)) != f.Size || seen[f.Name] {
			return fmt.Errorf("the secrets are %w: file %d is not %s, which the manifest names", archive.ErrCorrupt, n+1, f.Name)
		}
		seen[f.Name] = true
	}
	return nil
}
