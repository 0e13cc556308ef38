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
// is repeated once.
func putVerified(ctx context.Context, s storage.Store, key string, body []byte, opt storage.PutOptions) error {
	for try := 1; ; try++ {
		if _, err := s.Put(ctx, key, body, opt); err != nil {
			return about("put", key, err)
		}
		got, err := fetch(ctx, s, key)
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

// putPack puts a pack and proves that it arrived: by size and checksum where
// the store keeps a checksum of its own, which it says, else, and where whole
// says so, by reading it in full. It is repeated once, as in putVerified.
func putPack(ctx context.Context, s storage.Store, sum ID, body []byte, opt storage.PutOptions, whole bool) (keeps bool, err error) {
	for try := 1; ; try++ {
		if err := sendPack(ctx, s, sum, body, opt); err != nil {
			return false, err
		}
		keeps, err = checkPack(ctx, s, sum, int64(len(body)), whole)
		if err == nil {
			return keeps, nil
		}
		if try > 1 || !errors.Is(err, ErrCorrupt) {
			return false, fmt.Errorf("read back: %w", err)
		}
	}
}

// sendPack puts a pack and believes the store.
func sendPack(ctx context.Context, s storage.Store, sum ID, body []byte, opt storage.PutOptions) error {
	key := packKey(sum)
	opt.SHA256 = sum.String()
	if _, err := s.Put(ctx, key, body, opt); err != nil {
		return about("put", key, err)
	}
	return nil
}

// seePacks proves that packs are there, with the size that they ought to have,
// in a store that keeps checksums: it has compared the bytes with one when they
// came. A listing shows a thousand packs with one request; it is read unless
// there are so many in the archive that to look at each new one takes fewer.
// A store may list late: what is not listed is looked at.
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
			_, err := checkPack(ctx, a.store, p.Pack, p.Size, false)
			if errors.Is(err, ErrCorrupt) {
				return fmt.Errorf("the store acknowledged a pack of this run and does not have it so; run it again: %w", err)
			}
			return err
		})
	}
	return g.Wait()
}

// checkPack compares a pack in the store with what it ought to be. keeps says
// that the store has a checksum of its own of it.
func checkPack(ctx context.Context, s storage.Store, sum ID, size int64, whole bool) (keeps bool, err error) {
	key := packKey(sum)
	o, err := s.Stat(ctx, key)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, corrupt(key, "it is missing")
	case err != nil:
		return false, fmt.Errorf("look at %s: %w", key, err)
	case o.Size != size:
		return false, corrupt(key, "it has %d bytes, not %d", o.Size, size)
	case o.SHA256 != "" && o.SHA256 != sum.String():
		return false, corrupt(key, "the store's checksum of it is %.16s…, not the one in its name", o.SHA256)
	case o.SHA256 != "" && !whole:
		return true, nil
	}
	r, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return false, storeError(key, err)
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return false, storeError(key, err)
	}
	if ID(h.Sum(nil)) != sum {
		return false, corrupt(key, "its bytes have another SHA-256 than the one in its name")
	}
	return o.SHA256 != "", nil
}
