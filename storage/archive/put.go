package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/sync/errgroup"

	"github.com/synapse-maint/synapse-maint/storage"
)

// putVerified puts an object of metadata and reads it back in full. A store
// that says a put is done is not believed: what it acknowledged has been
// truncated or lost before. Where that happens and the put has no condition, it
// is repeated once. A caller that gives the checksum takes the same one in the
// store's answer for proof.
func putVerified(ctx context.Context, s storage.Store, key string, body []byte, opt storage.PutOptions) error {
	for try := 1; ; try++ {
		var got []byte
		o, err := s.Put(ctx, key, body, opt)
		switch {
		case errors.Is(err, storage.ErrDamaged):
			err = storeError(key, err)
		case err != nil:
			return about("put", key, err)
		case opt.SHA256 != "" && o.SHA256 == opt.SHA256:
			return nil
		default:
			got, err = fetch(ctx, s, key)
		}
		switch {
		case err == nil && bytes.Equal(got, body):
			return nil
		case err == nil:
			err = corrupt(key, "the store acknowledged %d bytes and returned %d others", len(body), len(got))
		case errors.Is(err, fs.ErrNotExist):
			err = corrupt(key, "the store acknowledged it and does not have it")
		case !errors.Is(err, ErrCorrupt):
			return fmt.Errorf("read back: %w", err)
		}
		if opt.IfAbsent || try > 1 {
			return fmt.Errorf("read back: %w", err)
		}
	}
}

// putPack puts a pack, and proves that it arrived: by the checksum of what the
// store says it took, else, and where whole says so, by reading it. A store
// that took other bytes, or has others, is sent it once more, as in
// putVerified. Of a pack that the checksum alone proves seen is false: it is
// still to be seen that the store has it, see seePacks.
func putPack(ctx context.Context, s storage.Store, sum ID, body []byte, opt storage.PutOptions, whole bool) (seen bool, err error) {
	key := packKey(sum)
	opt.SHA256 = sum.String()
	for try := 1; ; try++ {
		o, err := s.Put(ctx, key, body, opt)
		switch {
		case errors.Is(err, storage.ErrDamaged):
			err = storeError(key, err)
		case err != nil:
			return false, about("put", key, err)
		case !whole && o.SHA256 == sum.String():
			return false, nil
		default:
			if err = checkPack(ctx, s, sum, int64(len(body)), whole); err == nil {
				return true, nil
			}
		}
		if try > 1 || !errors.Is(err, ErrCorrupt) {
			return false, fmt.Errorf("read back: %w", err)
		}
	}
}

// seePacks proves that packs are there, with the size that they ought to have:
// the store has said that it took them, with their checksums. A listing shows a
// thousand packs with one request; it is read unless there are so many in the
// archive that to look at each new one takes fewer. A store may list late: what
// is not listed is looked at.
func (a *Archive) seePacks(ctx context.Context, packs []packRecord, inArchive int) (err error) {
	const page = 1000 // objects, of S3's ListObjectsV2
	listed := map[ID]int64{}
	if len(packs) > 1+inArchive/page { // a listing costs as many pages
		if listed, err = a.listPacks(ctx); err != nil {
			return err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, p := range packs {
		if size, ok := listed[p.Pack]; ok && size == p.Size {
			continue
		}
		g.Go(func() error {
			err := checkPack(ctx, a.store, p.Pack, p.Size, false)
			if errors.Is(err, ErrCorrupt) {
				return fmt.Errorf("the store acknowledged a pack of this run and does not have it so; run it again: %w", err)
			}
			return err
		})
	}
	return g.Wait()
}

// checkPack compares a pack in the store with what it ought to be: by the size
// and checksum that the store has of it, else, and where whole says so, by
// reading it.
func checkPack(ctx context.Context, s storage.Store, sum ID, size int64, whole bool) error {
	key := packKey(sum)
	o, err := s.Stat(ctx, key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return corrupt(key, "it is missing")
	case err != nil:
		return fmt.Errorf("look at %s: %w", key, err)
	case o.Size != size:
		return corrupt(key, "it has %d bytes, not %d", o.Size, size)
	case o.SHA256 != "" && o.SHA256 != sum.String():
		return corrupt(key, "the store's checksum of it is %.16s…, not the one in its name", o.SHA256)
	case o.SHA256 != "" && !whole:
		return nil
	}
	r, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return storeError(key, err)
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return storeError(key, err)
	}
	if ID(h.Sum(nil)) != sum {
		return corrupt(key, "its bytes have another SHA-256 than the one in its name")
	}
	return nil
}
