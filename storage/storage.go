// Package storage is the contract of a store: a place for objects, named by
// keys. The packages beside it implement it: [s3] for buckets, [dir] for
// folders, [mem] for tests. Everything a store can't do by itself (archives,
// locks, journals) is built on these five methods.
//
// It imports the standard library only and knows nothing of what it stores.
//
// [s3]: https://pkg.go.dev/github.com/synapse-maint/synapse-maint/storage/s3
// [dir]: https://pkg.go.dev/github.com/synapse-maint/synapse-maint/storage/dir
// [mem]: https://pkg.go.dev/github.com/synapse-maint/synapse-maint/storage/mem
package storage

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// MaxObject is the largest object a store has to take, in bytes. Objects of
// this size fit in one request of every S3 server and in memory, so that a put
// has no parts, can be repeated as it is, and is never half there.
const MaxObject = 64 << 20

// Errors that callers branch on. Beside them stores return [fs.ErrNotExist]
// (no such key), [fs.ErrExist] (IfAbsent, and the key is there) and
// [fs.ErrPermission] (the store refuses the caller), always wrapped with the
// operation, the store and the key.
var (
	// ErrChanged says that the object is not the one IfMatch names: somebody
	// else has written or deleted it.
	ErrChanged = errors.New("changed by somebody else")
	// ErrDamaged says that the bytes a store returned are not those that were
	// put: its own checksum does not match them.
	ErrDamaged = errors.New("checksum does not match")
	// ErrNoStore says that the bucket or folder itself is missing.
	ErrNoStore = errors.New("no such bucket or folder")
)

// Object describes a stored object.
type Object struct {
	Key      string
	Size     int64     // bytes
	Tag      string    // changes with every put of other bytes; what IfMatch compares; opaque
	Modified time.Time // by the store's clock
	// SHA256 of the bytes, as the store has worked it out, lower-case hex; empty
	// where it keeps none, and always from List.
	SHA256 string
}

// PutOptions are conditions and attributes of a put. The zero value replaces
// whatever is there.
type PutOptions struct {
	IfAbsent    bool      // only if no such key exists, else fs.ErrExist
	IfMatch     string    // only if the object's Tag is this one, else ErrChanged
	RetainUntil time.Time // object lock: undeletable until then; zero for none. Stores without it refuse
	// SHA256 of the body in hex, of a caller that has it at hand: then a store
	// that sends it along need not read the body for it. Empty: not known.
	SHA256 string
}

// Retainer is a [Store] that can lock what is there already.
type Retainer interface {
	// Retain makes the object under key undeletable until then. One that is
	// locked for longer stays as it is, and is no error.
	Retain(ctx context.Context, key string, until time.Time) error
}

// Store keeps objects. Implementations are safe for concurrent use and retry
// by themselves what is worth retrying (a lost connection, 503), so an error
// they return is final for this call. All methods stop when ctx ends.
type Store interface {
	// Put stores body under key, all or nothing: a reader sees the old object,
	// the new one, or none, never a part. When it returns, the object
	// survives a crash of the machine. Of several conditional puts at once,
	// exactly one succeeds. body is not kept after the call. ErrDamaged says
	// that the store took other bytes; they may be there. A conditional put
	// whose answer was lost and that finds its own bytes there has succeeded.
	Put(ctx context.Context, key string, body []byte, opt PutOptions) (Object, error)
	// Get reads n bytes from offset off; n < 0 reads to the end. A range that
	// reaches beyond the end is cut there. The caller closes the reader.
	// Reading a whole object fails with ErrDamaged, at its end at the latest,
	// if the store's checksum does not match.
	Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error)
	// Stat describes the object under key.
	Stat(ctx context.Context, key string) (Object, error)
	// List yields the objects whose keys begin with prefix, in byte order of
	// their keys. It ends after the first error. A prefix that matches
	// nothing yields nothing.
	List(ctx context.Context, prefix string) iter.Seq2[Object, error]
	// Delete removes the object; one that is absent is no error.
	Delete(ctx context.Context, key string) error
}
