package restore

import (
	"bytes"
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

// Small tables are read ahead, all together: most of a Synapse's tables have a
// few rows, and a request each would cost more than the rows.
const (
	smallTable  = 64 << 10 // bytes
	smallTables = 16 << 20 // bytes of all that are kept in memory
)

// small reads the small tables' blobs in as few requests as it can. What can't
// be read is left out: whoever needs it reads it again and hears why.
func small(ctx context.Context, from *archive.Reader, tables [][]part) map[archive.ID][]byte {
	var ids []archive.ID
	left := int64(smallTables)
	for _, parts := range tables {
		if len(parts) != 1 || parts[0].Bytes > min(smallTable, left) {
			continue
		}
		left -= parts[0].Bytes
		for _, b := range parts[0].blobs {
			ids = append(ids, b.ID)
		}
	}
	ids = from.Near(ids)
	kept := make(map[archive.ID][]byte, len(ids))
	i := 0
	for data, err := range from.Blobs(ctx, ids) {
		if err == nil {
			kept[ids[i]] = bytes.Clone(data)
		}
		i++
	}
	return kept
}

// cached returns a part's bytes where all of them are kept.
func cached(kept map[archive.ID][]byte, list []archive.Blob) ([][]byte, bool) {
	var out [][]byte
	for _, b := range list {
		data, ok := kept[b.ID]
		if !ok || int64(len(data)) != b.Size {
			return nil, false
		}
		out = append(out, data)
	}
	return out, true
}
