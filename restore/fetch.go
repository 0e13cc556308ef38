package restore

import (
	"context"
	"fmt"

	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// stream yields the plain bytes of blobs in order, each verified against its
// name and valid until yield returns. The reader fetches what follows while
// yield works. what names the bytes in errors.
func stream(ctx context.Context, from *archive.Reader, what string, list []archive.Blob, yield func([]byte) error) error {
	ids := make([]archive.ID, len(list))
	for i, b := range list {
		ids[i] = b.ID
	}
	i := 0
	for data, err := range from.Blobs(ctx, ids) {
		if err == nil && int64(len(data)) != list[i].Size {
			err = fmt.Errorf("blob %s has %d bytes, the recovery point promises %d: %w", ids[i], len(data), list[i].Size, archive.ErrCorrupt)
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", what, err)
		}
		if err := yield(data); err != nil {
			return err
		}
		i++
	}
	if i < len(list) {
		return fmt.Errorf("read %s: %d of %d blobs came: %w", what, i, len(list), context.Cause(ctx))
	}
	return nil
}
