package testbed

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

const (
	mediaLetters     = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	mediaHosts       = 40
	tinyHosts        = 10 // fewer folders: millions of files fit into memory
	video            = "video/mp4"
	contentShare     = 0.3     // of the files; the rest are thumbnails
	tinyContentShare = 1.0 / 6 // every size of thumbnail, as Synapse makes them at the start
	meanThumbnail    = 11 << 10
	originalsKept    = 400 // how far back a duplicate reaches
	largestRepeat    = 2 << 20
	hashedFrom       = 0.1 // the oldest tenth has no hash in the database
	previewsKept     = 7   // days
	thumbnailSizes   = 5
)

// mediaEpoch is when the store is filled, so that the times of its files are
// the same each time.
func mediaEpoch() time.Time { return time.Date(2026, 6, 1, 4, 0, 0, 0, time.UTC) }

// plan says what files there shall be: no bytes yet, and no hashes.
func (m *Media) plan(r *rand.Rand, o MediaOptions) []*MediaItem {
	share := contentShare
	if o.Bytes == 0 {
		share = tinyContentShare
	}
	items := make([]*MediaItem, max(1, int(float64(o.Files)*share)))
	videos := min(len(items)-1, int(math.Ceil(float64(o.Files)*o.Videos)))
	for i := range items {
		items[i] = m.item(r, i < videos)
	}
	m.resize(items, videos, o)
	r.Shuffle(len(items), func(a, b int) { items[a], items[b] = items[b], items[a] })
	m.date(r, items)
	m.repeat(r, items, o.Duplicates)
	m.thumbnails(r, items, o.Files-len(items))
	return items
}

// item draws an item with its size in a store of no particular size.
func (m *Media) item(r *rand.Rand, isVideo bool) *MediaItem {
	i := &MediaItem{Type: "image/jpeg", stream: m.stream()}
	hosts := mediaHosts
	if m.options.Bytes == 0 {
		hosts = tinyHosts
	}
	switch w := r.Float64(); {
	case w < 0.55:
		i.Class, i.ID = "local_content", letters(r, 24)
	case w < 0.93 || isVideo: // previews have none
		i.Class, i.ID, i.FileID = "remote_content", letters(r, 24), letters(r, 24)
		i.Origin = fmt.Sprintf("hs%d.example.org", r.IntN(hosts))
	default:
		i.Class, i.ID = "url_cache", letters(r, 16)
	}
	switch {
	case m.options.Bytes == 0:
		i.Size = tinySize(r)
	case isVideo:
		i.Type, i.Size = video, int64(triangular(r, 5, 8, 50)*(1<<20))
	default:
		kib := math.Exp(4.9 + 0.6*r.NormFloat64())
		i.Size = int64(min(500, max(50, kib)) * 1024)
	}
	if !isVideo && r.IntN(3) == 0 {
		i.Type = "image/png"
	}
	return i
}

// resize makes the whole about as large as wanted: by the images, and where
// those cannot do it, by the videos too. Later changes keep the scale.
func (m *Media) resize(items []*MediaItem, videos int, o MediaOptions) {
	if o.Bytes == 0 {
		return
	}
	var moving, still int64
	for n, i := range items {
		if n < videos {
			moving += i.Size
		} else {
			still += i.Size
		}
	}
	if m.scale == 0 {
		left := o.Bytes - int64(o.Files-len(items))*meanThumbnail
		m.scale = float64(left-moving) / float64(max(1, still))
		if m.scale < 0.5 {
			m.scale = max(0.01, float64(left)/float64(moving+still))
			scaleSizes(items[:videos], m.scale)
		}
	}
	scaleSizes(items[videos:], m.scale)
}

func scaleSizes(items []*MediaItem, by float64) {
	for _, i := range items {
		i.Size = max(1024, int64(float64(i.Size)*by))
	}
}

// date spreads the items over a year, or over the day of a change; previews
// are kept for some days only, and their IDs tell which.
func (m *Media) date(r *rand.Rand, items []*MediaItem) {
	end, span := mediaEpoch().AddDate(0, 0, m.nights), 24*time.Hour
	if m.nights == 0 {
		span *= 365
	}
	for n, i := range items {
		i.Created = end.Add(-span + span/time.Duration(len(items))*time.Duration(n))
		i.Unhashed = m.nights == 0 && float64(n) < hashedFrom*float64(len(items))
		if i.Class == "url_cache" {
			if m.nights == 0 {
				i.Created, i.Unhashed = end.Add(-time.Duration(r.Int64N(int64(previewsKept*24*time.Hour)))), false
			}
			i.ID = i.Created.Format(time.DateOnly) + "_" + i.ID
		}
	}
}

// repeat gives a share of the items the bytes of earlier ones.
func (m *Media) repeat(r *rand.Rand, items []*MediaItem, share float64) {
	var originals []*MediaItem
	for _, i := range m.Items[max(0, len(m.Items)-originalsKept):] {
		if i.Size <= largestRepeat && i.Type != video {
			originals = append(originals, i)
		}
	}
	for _, i := range items {
		if i.Size > largestRepeat || i.Type == video {
			continue
		}
		if len(originals) > 0 && r.Float64() < share {
			o := originals[r.IntN(len(originals))]
			i.Type, i.Size, i.stream = o.Type, o.Size, o.stream
		} else if len(originals) < originalsKept {
			originals = append(originals, i)
		}
	}
}

// thumbnails spreads so many of them evenly over the images, in Synapse's
// default sizes.
func (m *Media) thumbnails(r *rand.Rand, items []*MediaItem, count int) {
	sizes := [thumbnailSizes]MediaThumbnail{
		{Width: 32, Height: 32, Method: "crop"},
		{Width: 96, Height: 96, Method: "crop"},
		{Width: 320, Height: 240, Method: "scale"},
		{Width: 640, Height: 480, Method: "scale"},
		{Width: 800, Height: 600, Method: "scale"},
	}
	for n, i := range items {
		if i.Type == video {
			continue
		}
		k := min(thumbnailSizes, int(math.Round(float64(count)/float64(len(items)-n))))
		for _, t := range sizes[:k] {
			t.stream, t.Size = m.stream(), 2048+r.Int64N(18<<10)
			if m.options.Bytes == 0 {
				t.Size = tinySize(r)
			}
			i.Thumbnails = append(i.Thumbnails, t)
		}
		count -= k
	}
}

// expired draws items with about so many files in all, four of five of them
// from the caches.
func (m *Media) expired(r *rand.Rand, files int) map[*MediaItem]bool {
	gone := map[*MediaItem]bool{}
	for files > 0 && len(gone) < len(m.Items)/2 {
		i := m.Items[r.IntN(len(m.Items))]
		if gone[i] || i.Class == "local_content" && r.IntN(4) > 0 {
			continue
		}
		gone[i] = true
		files -= 1 + len(i.Thumbnails)
	}
	return gone
}

func (m *Media) stream() uint64 { m.streams++; return m.streams }

func tinySize(r *rand.Rand) int64 { return 20 + r.Int64N(181) }

func letters(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = mediaLetters[r.IntN(len(mediaLetters))]
	}
	return string(b)
}

// triangular draws between low and high, most often near mode.
func triangular(r *rand.Rand, low, mode, high float64) float64 {
	u, c := r.Float64(), (mode-low)/(high-low)
	if u < c {
		return low + math.Sqrt(u*(high-low)*(mode-low))
	}
	return high - math.Sqrt((1-u)*(high-low)*(high-mode))
}
