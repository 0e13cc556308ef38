package restore

import (
	"context"
	"fmt"
	"sync"

	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// blobs reads a blob's plain bytes, verified against its name. It is
// implemented by [archive.Reader].
type blobs interface {
	Blob(ctx context.Context, id archive.ID) ([]byte, error)
}

// stream yields the blobs' bytes in order. The next blob is fetched,
// decrypted and decompressed while yield works on this one: at most two blobs
// (64 MiB) are in memory a stream. what names the reader in errors.
func stream(ctx context.Context, from blobs, what string, list []archive.Blob, yield func([]byte) error) error {
	type fetched struct {
		data []byte
		err  error
	}
	ctx, stop := context.WithCancel(ctx)
	ahead := make(chan fetched)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer stop()
	reading.Go(func() {
		for _, b := range list {
			data, err := from.Blob(ctx, b.ID)
			if err == nil && int64(len(data)) != b.Size {
				err = fmt.Errorf("blob %s has %d bytes, the recovery point promises %d: %w", b.ID, len(data), b.Size, archive.ErrCorrupt)
			}
			select {
			case ahead <- fetched{data, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	})
	for range list {
		var got fetched
		select {
		case got = <-ahead:
		case <-ctx.Done():
			return ctx.Err()
		}
		if got.err != nil {
			return fmt.Errorf("read %s: %w", what, got.err)
		}
		if err := yield(got.data); err != nil {
			return err
		}
	}
	return nil
}
