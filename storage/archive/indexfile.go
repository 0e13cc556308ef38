package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/synapse-maint/synapse-maint/storage"
)

const (
	indexPrefix = "index/"
	packPrefix  = "packs/"
	// readers bounds the metadata objects in memory at once, while they are
	// read side by side: a store's latency, not its bandwidth, is what costs.
	readers = 8
)

// errNoBlob is an [fs.ErrNotExist].
var errNoBlob = fmt.Errorf("no index object names it: %w", fs.ErrNotExist)

// errGone says that what was listed is not there any more: a prune replaces
// index objects, and drops points.
var errGone = errors.New("it is gone")

func gone(key string) error { return fmt.Errorf("%s is %w: %w", key, ErrCorrupt, errGone) }

// packRecord is a line of an index object.
type packRecord struct {
	Pack  ID           `json:"pack"`
	Size  int64        `json:"size"`
	Blobs []blobRecord `json:"blobs"`
}

type blobRecord struct {
	ID     ID    `json:"id"`
	Offset int64 `json:"offset"`
	Stored int64 `json:"stored"`
	Size   int64 `json:"size"`
}

// indexHeader is its first line.
type indexHeader struct {
	Format int    `json:"format"`
	Kind   string `json:"kind"`
	// Nonce gives no two objects one name: a prune that replaces the objects it
	// has read must not delete one that a backup writes meanwhile, of the same
	// packs and in the same second as one of those.
	Nonce string `json:"nonce,omitempty"`
}

// marshalIndex makes the plain bytes of an index object.
func marshalIndex(packs []packRecord, nonce string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	if err := enc.Encode(indexHeader{formatVersion, "index", nonce}); err != nil {
		return nil, err
	}
	for i := range packs {
		if err := enc.Encode(&packs[i]); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// parseIndex reads the plain bytes of an index object. What it returns without
// an error is consistent: blobs lie within their pack, one behind the other.
func parseIndex(key string, plain []byte) ([]packRecord, error) {
	line, rest, _ := bytes.Cut(plain, []byte("\n"))
	var h indexHeader
	if err := json.Unmarshal(line, &h); err != nil || h.Kind != "index" {
		return nil, corrupt(key, "it does not begin as an index object does")
	}
	if h.Format != formatVersion {
		return nil, versionError(key, h.Format)
	}
	var packs []packRecord
	for n := 2; len(rest) > 0; n++ {
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		p, err := parsePack(line)
		if err != nil {
			return nil, corrupt(key, "line %d: %v", n, err)
		}
		packs = append(packs, p)
	}
	return packs, nil
}

func parsePack(line []byte) (packRecord, error) {
	p, ok := scanPack(line)
	if !ok {
		p = packRecord{}
		if err := json.Unmarshal(line, &p); err != nil {
			return p, err
		}
	}
	var end int64
	for _, b := range p.Blobs {
		if b.Offset != end || b.Stored <= 0 || b.Stored > storage.MaxObject || b.Size < 0 || b.Size > maxBlob {
			return p, fmt.Errorf("blob %s can't be there", b.ID)
		}
		end += b.Stored
	}
	if end != p.Size || p.Size > storage.MaxObject || p.Pack == (ID{}) {
		return p, fmt.Errorf("pack %s is not as long as its blobs", p.Pack)
	}
	return p, nil
}

// loadIndex reads index objects. Those that are damaged, and their copies, too,
// are left out and kept in the index's broken; other errors are returned.
func (a *Archive) loadIndex(ctx context.Context, pairs map[string]indexPair) (*index, error) {
	if a.keyring.locked != nil {
		return nil, a.keyring.locked
	}
	x := newIndex()
	whole, lone := x.sortOut(pairs)
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for _, key := range whole {
		g.Go(func() error {
			f, err := a.readIndex(gctx, key, pairs[key].sum)
			mu.Lock()
			defer mu.Unlock()
			return x.addFile(key, &f, err)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, key := range lone {
		f, err := a.readIndex(ctx, key, pairs[key].sum)
		if err := x.addFile(key, &f, err); err != nil {
			return nil, err
		}
	}
	return x, nil
}

// addFile adds what was read of an index object, with the error of that.
func (x *index) addFile(key string, f *indexFile, err error) error {
	if errors.Is(err, ErrCorrupt) {
		x.broken = append(x.broken, err)
		return nil
	}
	if err != nil {
		return err
	}
	x.files = append(x.files, key)
	if f.fault != nil {
		x.faults[key] = f.fault
		x.doubtful[key] = true
	}
	for i := range f.packs {
		x.addPack(&f.packs[i], key)
	}
	return nil
}

// listPacks returns the size of every pack in the store.
func (a *Archive) listPacks(ctx context.Context) (map[ID]int64, error) {
	packs := map[ID]int64{}
	for o, err := range a.store.List(ctx, packPrefix) {
		if err != nil {
			return nil, fmt.Errorf("list the packs: %w", err)
		}
		if sum, ok := packSum(o.Key); ok {
			packs[sum] = o.Size
		}
	}
	return packs, nil
}

// lookFor looks for the packs that are not listed: some stores list late. Those
// that a prune has marked it will have deleted.
func (a *Archive) lookFor(ctx context.Context, x *index, marked []tombstone) error {
	pruned := map[ID]bool{}
	for _, t := range marked {
		for _, p := range t.packs {
			pruned[p.Pack] = true
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i := range x.packs {
		p := &x.packs[i]
		if p.state != packMissing || pruned[p.sum] {
			continue
		}
		g.Go(func() error {
			switch o, err := a.store.Stat(ctx, packKey(p.sum)); {
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				return about("look at", packKey(p.sum), err)
			case o.Size != p.size:
				p.state = packShort
			default:
				p.state = packThere
			}
			return nil
		})
	}
	return g.Wait()
}

// stillThere lists the packs once more, before a point is put. One that was
// there when the run began, or that it has put, and that is gone was deleted by
// somebody whose clock is wrong, or by hand, and the point may count on it. A
// store may list late what was put just now.
func (a *Archive) stillThere(ctx context.Context, x *index, put []ID) error {
	listed, err := a.listPacks(ctx)
	if err != nil {
		return err
	}
	for _, p := range x.packs {
		if p.state == packThere {
			put = append(put, p.sum)
		}
	}
	for _, sum := range put {
		if _, ok := listed[sum]; ok {
			continue
		}
		listed[sum] = 0 // it is looked for once
		key := packKey(sum)
		switch _, err := a.store.Stat(ctx, key); {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%s was there when this run needed it and is gone: look at the clocks of the machines that prune, and run it again", key)
		case err != nil:
			return fmt.Errorf("look at %s: %w", key, err)
		}
	}
	return nil
}

// packSum undoes packKey.
func packSum(key string) (sum ID, ok bool) {
	_, name, _ := strings.Cut(strings.TrimPrefix(key, packPrefix), "/")
	return sum, sum.UnmarshalText([]byte(name)) == nil && key == packKey(sum)
}

func packKey(sum ID) string {
	name := sum.String()
	return packPrefix + name[:2] + "/" + name
}

// sumKey makes a key of a time and the first digits of the SHA-256 of body.
func sumKey(prefix string, t time.Time, body []byte, digits int) string {
	sum := sha256.Sum256(body)
	return prefix + t.UTC().Format(keyTime) + "-" + hex.EncodeToString(sum[:])[:digits]
}

// keySum returns the hexadecimal part of a key that sumKey made.
func keySum(key, prefix string) (string, bool) {
	name, ok := strings.CutPrefix(key, prefix)
	stamp, sum, cut := strings.Cut(name, "-")
	if !ok || !cut || len(sum) < 16 {
		return "", false
	}
	if _, err := time.Parse(keyTime, stamp); err != nil {
		return "", false
	}
	if strings.Trim(sum, "0123456789abcdef") != "" {
		return "", false
	}
	return sum, true
}

// checkSum compares bytes with the digits in their key.
func checkSum(key string, body []byte, digits string) error {
	sum := sha256.Sum256(body)
	if got := hex.EncodeToString(sum[:]); !strings.HasPrefix(got, digits) {
		return corrupt(key, "its bytes have SHA-256 %s…, not the one in its name", got[:16])
	}
	return nil
}
