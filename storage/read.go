package storage

import (
	"bytes"
	"context"
	"fmt"
	"io"
)

// ReadAll returns the whole object under key. It refuses objects larger than
// [MaxObject], which nobody can have put through a [Store].
func ReadAll(ctx context.Context, s Store, key string) ([]byte, error) {
	r, err := s.Get(ctx, key, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var buf bytes.Buffer
	// Stores whose readers know how much is to come save us the copies of a
	// growing buffer; one byte more keeps ReadFrom from growing it at the end.
	if sized, ok := r.(interface{ Size() int64 }); ok && sized.Size() <= MaxObject {
		buf.Grow(int(sized.Size()) + bytes.MinRead)
	}
	n, err := buf.ReadFrom(io.LimitReader(r, MaxObject+1))
	if err != nil {
		return nil, err // the store's reader says which object
	}
	if n > MaxObject {
		return nil, fmt.Errorf("read %s: larger than %d bytes", key, MaxObject)
	}
	return buf.Bytes(), nil
}
