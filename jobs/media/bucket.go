package media

import (
	"container/heap"
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// bucket is a media store in a store, as synapse-s3-storage-provider keeps it:
// the keys are the paths.
type bucket struct {
	store   storage.Store
	name    string
	classes []string
}

func newBucket(o *Options) *bucket {
	return &bucket{storage.Sub(o.Store, strings.Trim(o.Prefix, "/")), o.name(), o.Classes}
}

func (*bucket) close() {}

// verdict: a list that was cut would have been an error.
func (*bucket) verdict() error { return nil }

// bucketMode is what Synapse's own files would mostly have.
const bucketMode = 0o640

// walk lists the keys. A store has them in the order of their bytes, in which
// "a.b" comes before "a/c", and a walk the other way around: an entry is held
// until none that belongs before it can come. Mostly those are a few; of remote
// media, those of all homeservers whose names begin alike.
func (s *bucket) walk(ctx context.Context) iter.Seq2[found, error] {
	return func(yield func(found, error) bool) {
		var held heldBack
		for o, err := range s.store.List(ctx, "") {
			if err != nil {
				yield(found{}, err)
				return
			}
			if !s.wanted(o.Key) {
				continue
			}
			for held.Len() > 0 && held.passed(o.Key) {
				if !yield(heap.Pop(&held).(key).found(), nil) {
					return
				}
			}
			heap.Push(&held, key{o.Key, o.Size, o.Modified.UnixNano()})
		}
		for held.Len() > 0 {
			if !yield(heap.Pop(&held).(key).found(), nil) {
				return
			}
		}
		if err := context.Cause(ctx); err != nil {
			yield(found{}, err)
		}
	}
}

// wanted leaves out markers of folders, too, which some programs put.
func (s *bucket) wanted(key string) bool {
	return slices.Contains(s.classes, ClassOf(key)) && !strings.HasSuffix(key, "/")
}

// key is what is held of an object: little, as there can be millions.
type key struct {
	path     string
	size     int64
	modified int64 // nanoseconds since 1970
}

func (k key) found() found {
	f := found{Entry: archive.Entry{
		Path: k.path, Size: k.size, Modified: time.Unix(0, k.modified).UTC(), Mode: bucketMode, UID: -1, GID: -1,
	}, allocated: -1}
	if !fs.ValidPath(k.path) || strings.ContainsRune(k.path, 0) {
		f.odd = "a name that no file can have"
	}
	return f
}

// heldBack is a heap, the first in the order of a walk on top.
type heldBack []key

func (h heldBack) Len() int           { return len(h) }
func (h heldBack) Less(i, j int) bool { return archive.ComparePaths(h[i].path, h[j].path) < 0 }
func (h heldBack) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements [heap.Interface].
func (h *heldBack) Push(k any) { *h = append(*h, k.(key)) }

// Pop implements [heap.Interface].
func (h *heldBack) Pop() any {
	last := len(*h) - 1
	k := (*h)[last]
	(*h)[last] = key{}
	*h = (*h)[:last]
	return k
}

// passed says whether nothing that comes before the first can come after now
// any more, in a list in the order of bytes. What could: paths with a slash
// where the first has a byte below it.
func (h heldBack) passed(now string) bool {
	first := h[0].path
	for i := 0; i < len(first) && i < len(now); i++ {
		if first[i] != now[i] {
			return first[i] >= '/' || now[i] > '/'
		}
		if first[i] < '/' {
			return false
		}
	}
	return true
}

func (s *bucket) open(ctx context.Context, f *found) (content, error) {
	body, err := s.store.Get(ctx, f.Path, 0, -1)
	if err != nil {
		return nil, err
	}
	return &object{body, f.Size, f.Modified}, nil
}

// object is an object that is being read. The store's reader vouches for its
// being one object from the beginning to the end.
type object struct {
	io.ReadCloser
	size     int64
	modified time.Time
}

func (o *object) now() (int64, time.Time, error) { return o.size, o.modified, nil }

func (*object) sparse() bool { return false }

// String is how messages name the bucket.
func (s *bucket) String() string { return fmt.Sprintf("the bucket %s", s.name) }
