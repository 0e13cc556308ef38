package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
)

// BlobSource yields blobs in order, and says in which order they lie together.
// A [Reader] and a [Writer] are ones.
type BlobSource interface {
	Blobs(ctx context.Context, ids []ID) iter.Seq2[[]byte, error]
	Near(ids []ID) []ID
}

// Entries yields what a media part lists, in the order of [ComparePaths]. It
// holds the list of pages and 8 MiB of pages. A page that is damaged is yielded as
// an error that says which paths it had, and those after it follow; every other
// error is the last.
func Entries(ctx context.Context, src BlobSource, m *Media) iter.Seq2[Entry, error] {
	return EntriesUnder(ctx, src, m, "")
}

// EntriesUnder yields the entries of a folder, itself included, or of a file,
// and reads no more pages than that takes. The empty path is everything.
func EntriesUnder(ctx context.Context, src BlobSource, m *Media, path string) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		refs, err := readContents(ctx, src, m)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		for rest := pagesOf(refs, path); len(rest) > 0; {
			var some []pageAt
			some, rest = together(rest)
			pages := readPages(ctx, src, some)
			for _, r := range some {
				if ctx.Err() != nil { // an end without it would say that there are no more
					yield(Entry{}, context.Cause(ctx))
					return
				}
				if p := pages[r.Page]; !yieldPage(p.text, p.err, r, path, yield) {
					return
				}
			}
		}
	}
}

// heldBytes is how much of a listing is held, so that its pages are fetched
// in the order in which they lie in packs: in that of the paths a page of last
// night follows one of a year ago, and each would be a request.
const heldBytes = 8 << 20

// together cuts off the pages that are read together.
func together(refs []pageAt) (some, rest []pageAt) {
	n, size := 0, int64(0)
	for n < len(refs) && (n == 0 || size+refs[n].Size <= heldBytes) {
		size += refs[n].Size
		n++
	}
	return refs[:n], refs[n:]
}

// pageRead is a page, or why there is none.
type pageRead struct {
	text []byte
	err  error
}

func readPages(ctx context.Context, src BlobSource, refs []pageAt) map[ID]pageRead {
	pages := make(map[ID]pageRead, len(refs))
	ids := make([]ID, 0, len(refs))
	for _, r := range refs {
		if _, twice := pages[r.Page]; !twice {
			pages[r.Page] = pageRead{}
			ids = append(ids, r.Page)
		}
	}
	ids, n := src.Near(ids), 0
	for text, err := range src.Blobs(ctx, ids) {
		pages[ids[n]] = pageRead{bytes.Clone(text), err}
		n++
	}
	return pages
}

// pageAt is a pageRef as it is used.
type pageAt struct {
	pageRef
	first string
}

// ListingPages returns the pages of a media part, in order: blobs that the
// point needs besides those that its manifest and its entries name.
func ListingPages(ctx context.Context, src BlobSource, m *Media) ([]Blob, error) {
	refs, err := readContents(ctx, src, m)
	pages := make([]Blob, len(refs))
	for i, r := range refs {
		pages[i] = Blob{ID: r.Page, Size: r.Size}
	}
	return pages, err
}

// PageEntries reads a page of a listing, which [ListingPages] names.
func PageEntries(page []byte) ([]Entry, error) {
	n := bytes.Count(page, []byte("\n"))
	all := make([]Entry, 0, n)
	ids := make([]ID, 0, n) // most entries have one blob
	whole := string(page)   // which the paths are parts of
	for len(page) > 0 {
		at := len(whole) - len(page)
		var text []byte
		text, page, _ = bytes.Cut(page, []byte("\n"))
		e, ok := scanEntry(text, whole[at:at+len(text)], &ids)
		var err error
		if !ok {
			e, err = decodeEntry(text)
		}
		if err != nil {
			return all, fmt.Errorf("a page of the media listing is %w: line %d: %w", ErrCorrupt, len(all)+1, err)
		}
		all = append(all, e)
	}
	return all, nil
}

func readContents(ctx context.Context, src BlobSource, m *Media) ([]pageAt, error) {
	var refs []pageAt
	for text, err := range src.Blobs(ctx, idsOf(m.Listing)) {
		if err != nil {
			return refs, fmt.Errorf("the contents of the media listing: %w", err)
		}
		for len(text) > 0 {
			var one []byte
			one, text, _ = bytes.Cut(text, []byte("\n"))
			var r pageAt
			if err := json.Unmarshal(one, &r.pageRef); err != nil {
				return refs, fmt.Errorf("the contents of the media listing are %w: %w", ErrCorrupt, err)
			}
			if r.first, err = orBase64(r.First, r.First64); err != nil {
				return refs, fmt.Errorf("the contents of the media listing are %w: %w", ErrCorrupt, err)
			}
			refs = append(refs, r)
		}
	}
	return refs, ctx.Err()
}

func idsOf(blobs []Blob) []ID {
	ids := make([]ID, len(blobs))
	for i, b := range blobs {
		ids[i] = b.ID
	}
	return ids
}

// pagesOf returns the pages that can have entries of path or below it.
func pagesOf(refs []pageAt, path string) []pageAt {
	if path == "" {
		return refs
	}
	from, to := 0, len(refs)
	for i, r := range refs {
		if ComparePaths(r.first, path) <= 0 {
			from = i
		}
		if ComparePaths(r.first, path) > 0 && !within(r.first, path) {
			to = i
			break
		}
	}
	return refs[from:to]
}

func within(path, folder string) bool {
	return folder == "" || path == folder || len(path) > len(folder) && path[:len(folder)] == folder && path[len(folder)] == '/'
}

// yieldPage says whether to go on.
func yieldPage(text []byte, err error, r pageAt, path string, yield func(Entry, error) bool) bool {
	var entries []Entry
	if err == nil {
		entries, err = PageEntries(text)
	}
	if err == nil && int64(len(entries)) != r.Entries {
		err = fmt.Errorf("a page of the media listing is %w: %d entries, not %d", ErrCorrupt, len(entries), r.Entries)
	}
	if err != nil {
		return yield(Entry{}, fmt.Errorf("the %d entries from %q on: %w", r.Entries, r.first, err))
	}
	for _, e := range entries {
		if within(e.Path, path) && !yield(e, nil) {
			return false
		}
	}
	return true
}
