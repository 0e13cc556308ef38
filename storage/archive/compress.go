package archive

import (
	"errors"

	"github.com/klauspost/compress/zstd"
)

// sampled is how many bytes of a blob are tried before all of it is compressed.
const sampled = 64 << 10

// compressor compresses blobs. Most of a media store does not get smaller, and
// the highest levels take twenty times as long as the fastest to find that out
// (170 MB/s instead of 3,700): a blob whose first bytes the fastest makes no
// smaller by a thirty-second is left to that.
type compressor struct {
	level   *zstd.Encoder
	fastest *zstd.Encoder // the same, if that is the level
}

func newCompressor(level, workers int) (*compressor, error) {
	level = max(level, 1)
	c := &compressor{}
	var err, ferr error
	c.level, err = newEncoder(level, workers)
	c.fastest = c.level
	if level > 1 {
		c.fastest, ferr = newEncoder(1, workers)
	}
	return c, errors.Join(err, ferr)
}

// append appends plain, compressed, to dst.
func (c *compressor) append(dst, plain []byte) []byte {
	if c.fastest == c.level || pays(c.fastest, dst, plain) {
		return c.level.EncodeAll(plain, dst)
	}
	return c.fastest.EncodeAll(plain, dst)
}

// pays says whether the beginning of plain gets smaller. It uses what is free of dst.
func pays(e *zstd.Encoder, dst, plain []byte) bool {
	sample := plain[:min(len(plain), sampled)]
	return len(e.EncodeAll(sample, dst))-len(dst) < len(sample)-len(sample)/32
}
