package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
)

// recoder copies between archives with other keys, or without: it reads blobs
// and adds them to the other archive, under the names they have there.
type recoder struct {
	from, to *Archive
	opt      CopyOptions
	reader   *Reader
	report   CopyReport
	total    int64

	mu   sync.Mutex
	ids  map[ID]ID // of blobs that were copied: name there by name here
	done int64
}

// origin names a point of another archive. Stored data.
func (a *Archive) origin(point string) string { return a.conf.ID + "/" + point }

func copyRecoded(ctx context.Context, from, to *Archive, points []CopiedPoint, o CopyOptions) (CopyReport, error) {
	c := &recoder{from: from, to: to, opt: o, ids: map[ID]ID{}, report: CopyReport{Points: points, Recoded: true}}
	there, err := c.copied(ctx)
	if err != nil {
		return c.report, err
	}
	if c.reader, err = from.Reader(ctx, ReaderOptions{Warn: o.Warn}); err != nil {
		return c.report, fmt.Errorf("the archives have different keys, so that every blob has to be opened: %w", err)
	}
	manifests := make([]*Manifest, len(points))
	for i := range points {
		p := &points[i]
		if old := there[from.origin(p.ID)]; old.good {
			p.As, p.There = old.ID, true
			continue
		}
		m, err := from.readManifest(ctx, p.ID)
		if err != nil && !lost(err) {
			return c.report, fmt.Errorf("recovery point %s: %w", p.ID, err)
		}
		if manifests[i], p.Err = m, err; err == nil {
			c.total += m.Sizes.Logical
		}
	}
	for i, m := range manifests {
		if m == nil {
			continue
		}
		p := &points[i]
		had := len(m.Lacks)
		p.As, p.Err = c.point(ctx, m, p.ID, there[from.origin(p.ID)])
		p.Left = m.Lacks[had:]
		if p.Err != nil {
			p.Err = fmt.Errorf("recovery point %s: %w", p.ID, p.Err)
			if !lost(p.Err) {
				return c.report, p.Err
			}
		}
	}
	return c.report, nil
}

// earlier is a copy of a point that is there already. One that is not good is
// copied once more.
type earlier struct {
	Point
	good bool
}

// copied are the points of to that were copied from another archive, by their
// origins.
func (c *recoder) copied(ctx context.Context) (map[string]earlier, error) {
	points, err := c.to.Points(ctx)
	if err != nil || len(points) == 0 {
		return nil, err
	}
	report, err := c.to.Check(ctx, CheckOptions{Unrecorded: true})
	if err != nil {
		return nil, err
	}
	good := map[string]bool{}
	for _, r := range report.Points {
		good[r.ID] = r.OK
	}
	there := map[string]earlier{}
	for _, p := range points {
		if errors.Is(p.Err, ErrNoKey) {
			return nil, p.Err
		}
		if p.Manifest == nil || p.Manifest.Origin == "" {
			continue
		}
		if !there[p.Manifest.Origin].good {
			there[p.Manifest.Origin] = earlier{p, good[p.ID]}
		}
	}
	return there, nil
}

// point copies one point and returns its ID in to: that of old, a damaged copy
// from earlier, if that has all it needs now.
func (c *recoder) point(ctx context.Context, m *Manifest, id string, old earlier) (string, error) {
	w, err := c.to.Writer(ctx, WriterOptions{Workers: c.opt.Jobs, Retain: c.opt.Retain, Warn: c.opt.Warn})
	if err != nil {
		return "", ofTarget(err)
	}
	defer w.Abort()
	m.Origin = c.from.origin(id)
	if m.Database != nil {
		if err := c.database(ctx, w, m.Database); err != nil {
			return "", err
		}
	}
	if m.Media != nil {
		if err := c.media(ctx, w, m.Media); err != nil {
			return "", fmt.Errorf("media: %w", err)
		}
	}
	if m.Secrets != nil && !c.to.Encrypted() {
		m.Secrets = nil
		m.Lacks = append(m.Lacks, Lack{Part: PartSecrets, Why: "left behind when the point was copied: they are never stored unencrypted"})
	}
	if m.Secrets != nil {
		if m.Secrets.Blobs, err = c.blobs(ctx, w, m.Secrets.Blobs); err != nil {
			return "", fmt.Errorf("secrets: %w", err)
		}
	}
	st, err := w.Close(ctx)
	if err != nil {
		return "", ofTarget(err)
	}
	m.Sizes.New, m.Sizes.Stored = st.NewBytes, st.StoredBytes
	c.report.Packs += st.Packs
	c.report.Bytes += st.StoredBytes
	c.report.Unlocked = st.Unlocked
	if old.Manifest != nil && sameBlobs(old.Manifest, m) {
		return old.ID, nil
	}
	there, err := c.to.Commit(ctx, m)
	return there, ofTarget(err)
}

// sameBlobs says whether two manifests are the same but for what was new at the time.
func sameBlobs(a, b *Manifest) bool {
	x, y := *a, *b
	x.Sizes, y.Sizes = Sizes{}, Sizes{}
	left, err := json.Marshal(x)
	right, rerr := json.Marshal(y)
	return err == nil && rerr == nil && bytes.Equal(left, right)
}

func (c *recoder) database(ctx context.Context, w *Writer, d *Database) (err error) {
	if d.TOC, err = c.blobs(ctx, w, d.TOC); err != nil {
		return fmt.Errorf("table of contents: %w", err)
	}
	if d.Stream, err = c.blobs(ctx, w, d.Stream); err != nil {
		return fmt.Errorf("pg_dump stream: %w", err)
	}
	for i := range d.Tables {
		t := &d.Tables[i]
		if t.Blobs, err = c.blobs(ctx, w, t.Blobs); err != nil {
			return fmt.Errorf("%s.%s: %w", t.Schema, t.Name, err)
		}
	}
	return nil
}

// blobs copies blobs and returns them by their names in to.
func (c *recoder) blobs(ctx context.Context, w *Writer, blobs []Blob) ([]Blob, error) {
	ids, err := c.remap(ctx, w, idsOf(blobs))
	if err != nil {
		return nil, err
	}
	out := slices.Clone(blobs)
	for i := range out {
		out[i].ID = ids[i]
	}
	return out, nil
}

// remapGroup is how many blobs one goroutine copies: neighbours are read with
// one request.
const remapGroup = 16

// remap copies blobs and returns their names in to, in order.
func (c *recoder) remap(ctx context.Context, w *Writer, ids []ID) ([]ID, error) {
	out := make([]ID, len(ids))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(c.opt.Jobs)
	at := 0
	for group := range slices.Chunk(ids, remapGroup) {
		to := out[at : at+len(group)]
		at += len(group)
		g.Go(func() error { return c.remapSome(gctx, w, group, to) })
	}
	return out, g.Wait()
}

func (c *recoder) remapSome(ctx context.Context, w *Writer, ids, out []ID) error {
	var unread []ID
	for _, id := range ids {
		if _, ok := c.known(w, id); !ok {
			unread = append(unread, id)
		}
	}
	i := 0
	for plain, err := range c.reader.Blobs(ctx, unread) {
		if err != nil {
			return err
		}
		id, _, err := w.Add(ctx, plain)
		if err != nil {
			return ofTarget(err)
		}
		c.mu.Lock()
		c.ids[unread[i]] = id
		c.done += int64(len(plain))
		c.opt.Progress(min(c.done, c.total), c.total)
		c.mu.Unlock()
		i++
	}
	for n, id := range ids {
		out[n], _ = c.known(w, id)
	}
	return ctx.Err()
}

// known is the name in to of a blob that was copied: by this writer, or by one
// that was closed in order.
func (c *recoder) known(w *Writer, id ID) (ID, bool) {
	c.mu.Lock()
	there, ok := c.ids[id]
	c.mu.Unlock()
	return there, ok && w.Has(there)
}

// media copies the files, and lists them anew: a listing names blobs.
func (c *recoder) media(ctx context.Context, w *Writer, m *Media) (err error) {
	l := w.Listing()
	var page []Entry
	for e, err := range Entries(ctx, c.reader, m) {
		if err != nil {
			return err
		}
		page = append(page, e)
		if len(page) == pageOdds {
			if err := c.entries(ctx, w, l, page); err != nil {
				return err
			}
			page = page[:0]
		}
	}
	if err := c.entries(ctx, w, l, page); err != nil {
		return err
	}
	m.Listing, err = l.Close(ctx)
	return ofTarget(err)
}

func (c *recoder) entries(ctx context.Context, w *Writer, l *ListingWriter, page []Entry) error {
	var ids []ID
	for _, e := range page {
		ids = append(ids, e.Blobs...)
	}
	there, err := c.remap(ctx, w, ids)
	if err != nil {
		return err
	}
	for _, e := range page {
		n := len(e.Blobs)
		e.Blobs, there = there[:n:n], there[n:]
		if err := l.Add(ctx, e); err != nil {
			return ofTarget(err)
		}
	}
	return nil
}
