package testbed

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"time"
)

// MediaOptions say what [FillMedia] makes. Start from [BenchMedia],
// [SmallMedia] or [TinyMedia].
type MediaOptions struct {
	Files      int     // content and thumbnails, three to seven
	Bytes      int64   // of all files, about; 0: 20 to 200 bytes a file
	Duplicates float64 // share of the content files whose bytes are another's, as of forwarded pictures
	Videos     float64 // share of all files that are videos, of 5 to 50 MiB where Bytes has room for them
	Seed       uint64
	User       string // who uploaded the local ones
}

// BenchMedia is the media store that the peers are measured on: 20,000 files,
// 2.5 GiB.
func BenchMedia() MediaOptions {
	return MediaOptions{Files: 20_000, Bytes: 5 << 29, Duplicates: 0.05, Videos: 0.002, User: "@alice:matrix.example.com"}
}

// SmallMedia is of the same shape, with 300 files and 4 MiB, for tests.
func SmallMedia() MediaOptions {
	o := BenchMedia()
	o.Files, o.Bytes, o.Videos = 300, 4<<20, 0.007
	return o
}

// TinyMedia has files of 20 to 200 bytes: what matters is how many they are.
// A million take about 6 GB and 1.5 million inodes on ext4, with Synapse's many
// folders, and every image has thumbnails of all sizes.
func TinyMedia(files int) MediaOptions {
	o := BenchMedia()
	o.Files, o.Bytes, o.Videos = files, 0, 0
	return o
}

// Media is a media store that [FillMedia] made, and what Synapse knows of it.
type Media struct {
	Dir   string
	Items []*MediaItem // the oldest first

	options MediaOptions
	scale   float64 // of the sizes of images
	nights  int     // how often Change ran
	streams uint64  // of random bytes, handed out so far
}

// MediaItem is a content file and its thumbnails: what Synapse's database has
// a row for.
type MediaItem struct {
	Class      string // of the content: "local_content", "remote_content" or "url_cache"
	Origin     string // of remote content, the homeserver it came from
	ID         string // media_id; of a URL preview with its date before it
	FileID     string // of remote content: filesystem_id
	Type       string // "image/png"
	Size       int64
	SHA256     string // in hexadecimal
	Created    time.Time
	Unhashed   bool // Synapse had no column for the hash yet when it took the file
	Thumbnails []MediaThumbnail

	stream uint64 // of its random bytes; a duplicate has its original's
}

// MediaThumbnail is a smaller picture of an item.
type MediaThumbnail struct {
	Width, Height int
	Method        string // "crop" or "scale"
	Size          int64

	stream uint64
}

// FillMedia fills an empty folder as Synapse's media_store. The same options
// give the same names, sizes, times of modification and bytes.
func FillMedia(ctx context.Context, dir string, options MediaOptions) (*Media, error) {
	m := &Media{Dir: dir, options: options}
	items := m.plan(m.random(), options)
	if err := m.write(ctx, items); err != nil {
		return nil, fmt.Errorf("fill media store: %w", err)
	}
	m.Items = items
	return m, nil
}

// Change does to the store what some days of a homeserver do: new content with
// its thumbnails, in all so many per cent of the files, and a fifth as many
// deleted, most of them from the caches.
func (m *Media) Change(ctx context.Context, percent float64) error {
	m.nights++
	r := m.random()
	count := max(5, int(float64(m.Files())*percent/100))
	if err := m.remove(m.expired(r, count/5)); err != nil {
		return fmt.Errorf("change media store: %w", err)
	}
	o := m.options
	o.Files, o.Videos = count, 0
	items := m.plan(r, o)
	if err := m.write(ctx, items); err != nil {
		return fmt.Errorf("change media store: %w", err)
	}
	m.Items = append(m.Items, items...)
	return nil
}

// random is the source of all but the files' bytes.
func (m *Media) random() *rand.Rand {
	return rand.New(rand.NewPCG(m.options.Seed, uint64(m.nights)))
}

// Files is how many files the store has.
func (m *Media) Files() int {
	n := len(m.Items)
	for _, i := range m.Items {
		n += len(i.Thumbnails)
	}
	return n
}

// Bytes is how many bytes they have.
func (m *Media) Bytes() int64 {
	var n int64
	for _, i := range m.Items {
		n += i.Size
		for _, t := range i.Thumbnails {
			n += t.Size
		}
	}
	return n
}

// Path is where the content lies below the media store.
func (i *MediaItem) Path() string { return path.Join(i.Class, i.below()) }

// ThumbnailPath is where one of its thumbnails lies below the media store.
func (i *MediaItem) ThumbnailPath(t MediaThumbnail) string {
	return path.Join(i.thumbnailFolder(), fmt.Sprintf("%d-%d-%s-%s", t.Width, t.Height, strings.Replace(i.Type, "/", "-", 1), t.Method))
}

func (i *MediaItem) thumbnailFolder() string {
	class := map[string]string{"local_content": "local_thumbnails", "remote_content": "remote_thumbnail", "url_cache": "url_cache_thumbnails"}[i.Class]
	return path.Join(class, i.below())
}

// below is the path that content and thumbnails have in common: two folders of
// two letters from the ID, or the date of a preview.
func (i *MediaItem) below() string {
	id := i.ID
	if i.Class == "url_cache" {
		return path.Join(id[:10], id[11:])
	}
	if i.Class == "remote_content" {
		id = i.FileID
	}
	return path.Join(i.Origin, id[:2], id[2:4], id[4:])
}
