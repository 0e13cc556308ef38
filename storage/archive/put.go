package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"

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
// the store keeps a checksum of its own, else, and where whole says so, by
// reading it in full. It is repeated once, as in putVerified.
func putPack(ctx context.Context, s storage.Store, sum ID, body []byte, opt storage.PutOptions, whole bool) error {
	key := packKey(sum)
	opt.SHA256 = sum.String()
	for try := 1; ; try++ {
		if _, err := s.Put(ctx, key, body, opt); err != nil {
			return about("put", key, err)
		}
		err := checkPack(ctx, s, sum, int64(len(body)), whole)
		if err == nil {
			return nil
		}
		if try > 1 || !errors.Is(err, ErrCorrupt) {
			return fmt.Errorf("read back: %w", err)
		}
	}
}

// checkPack compares a pack in the store with what it ought to be.
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
