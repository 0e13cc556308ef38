package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
)

// ListingWriter makes the listing of a media part. It is not safe for
// concurrent use, and holds one page and one blob of contents.
type ListingWriter struct {
	w        *Writer
	page     bytes.Buffer
	line     []byte  // scratch
	ref      pageRef // of the page
	last     string  // path
	contents bytes.Buffer
	pages    []Blob // of contents
}

// Listing begins a listing.
func (w *Writer) Listing() *ListingWriter { return &ListingWriter{w: w} }

// Add appends an entry. Paths have to ascend, as [ComparePaths] orders them.
func (l *ListingWriter) Add(ctx context.Context, e Entry) error {
	if err := checkPath(e.Path); err != nil {
		return fmt.Errorf("list: %w", err)
	}
	if l.last != "" && ComparePaths(l.last, e.Path) >= 0 {
		return fmt.Errorf("list %q: it does not come after %q", e.Path, l.last)
	}
	if err := checkKind(&e); err != nil {
		return fmt.Errorf("list: %w", err)
	}
	l.last = e.Path
	text, err := encodeEntry(l.line[:0], &e)
	if err != nil {
		return err
	}
	l.line = text
	if l.ref.Entries > 0 && (opensPage(e.Path) || l.page.Len()+len(text) > pageMost) {
		if err := l.endPage(ctx); err != nil {
			return err
		}
	}
	if l.ref.Entries == 0 {
		l.ref.First, l.ref.First64 = textOrBase64(e.Path)
	}
	l.ref.Entries++
	l.page.Write(text)
	return nil
}

// opensPage says whether a page begins at an entry: a matter of its path alone,
// so that the places stay where they are whatever comes and goes around them.
func opensPage(path string) bool {
	h := fnv.New64a()
	h.Write([]byte(path))
	return h.Sum64()%pageOdds == 0
}

func (l *ListingWriter) endPage(ctx context.Context) error {
	id, _, err := l.w.AddMeta(ctx, l.page.Bytes())
	if err != nil {
		return err
	}
	l.ref.Page, l.ref.Size = id, int64(l.page.Len())
	text, err := json.Marshal(l.ref)
	if err != nil {
		return err
	}
	l.contents.Write(append(text, '\n'))
	l.page.Reset()
	l.ref = pageRef{}
	if (uint(id[0])<<8|uint(id[1]))%contentsOdds == 0 || l.contents.Len() > pageMost {
		return l.endContents(ctx)
	}
	return nil
}

func (l *ListingWriter) endContents(ctx context.Context) error {
	id, _, err := l.w.AddMeta(ctx, l.contents.Bytes())
	if err != nil {
		return err
	}
	l.pages = append(l.pages, Blob{ID: id, Size: int64(l.contents.Len())})
	l.contents.Reset()
	return nil
}

// Close ends the listing and returns the blobs of its contents: what the
// manifest names.
func (l *ListingWriter) Close(ctx context.Context) ([]Blob, error) {
	if l.ref.Entries > 0 {
		if err := l.endPage(ctx); err != nil {
			return nil, err
		}
	}
	if l.contents.Len() > 0 {
		if err := l.endContents(ctx); err != nil {
			return nil, err
		}
	}
	return l.pages, nil
}
