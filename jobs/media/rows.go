package media

import (
	"bytes"
	"compress/flate"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"io"
	"slices"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// rows is what the database knows of media files: of two million of them in
// some 150 MiB. A row is 32 bytes, found through a hash of its path; the paths
// themselves, which only those of missing files are asked for, are compressed.
type rows struct {
	seed  maphash.Seed
	list  []row
	table []uint32 // row number + 1; 0 is free; length a power of two; linear probing
	n     int64

	paths  [][]byte // compressed, pathsEach a piece, in the order of list
	buf    bytes.Buffer
	packer *flate.Writer
}

type row struct {
	path uint64   // its hash
	sum  [16]byte // the first half of the SHA-256
	size uint64   // 40 bits of length + 1, 0 where the database does not say; above them flags
}

const (
	rowSize   = 1<<40 - 1
	rowHasSum = 1 << 40
	rowSeen   = 1 << 41
	rowLocal  = 1 << 42 // of local content
	pathsEach = 1 << 10
)

func newRows() *rows {
	return &rows{seed: maphash.MakeSeed(), table: make([]uint32, 1<<10)}
}

func (t *rows) slot(hash uint64) int {
	mask := len(t.table) - 1
	for i := int(hash) & mask; ; i = (i + 1) & mask {
		if r := t.table[i]; r == 0 || t.list[r-1].path == hash {
			return i
		}
	}
}

// add takes a row. A path that comes twice is one file.
func (t *rows) add(m synapse.MediaRow) {
	if (len(t.list)+1)*4 > len(t.table)*3 {
		t.table = make([]uint32, 2*len(t.table))
		for i := range t.list {
			t.table[t.slot(t.list[i].path)] = uint32(i) + 1
		}
	}
	r := row{path: maphash.String(t.seed, m.Path)}
	i := t.slot(r.path)
	if t.table[i] != 0 {
		return
	}
	if m.Length >= 0 {
		r.size = uint64(m.Length)&(rowSize>>1) + 1
	}
	if sum, err := hex.DecodeString(m.SHA256); err == nil && len(sum) == 32 {
		copy(r.sum[:], sum)
		r.size |= rowHasSum
	}
	if m.Class == synapse.LocalContent {
		r.size |= rowLocal
	}
	t.list = append(t.list, r)
	t.n++
	t.table[i] = uint32(len(t.list))
	t.buf.WriteString(m.Path)
	t.buf.WriteByte(0)
	if len(t.list)%pathsEach == 0 {
		t.endPaths()
	}
}

// seal ends the adding.
func (t *rows) seal() {
	if t.buf.Len() > 0 {
		t.endPaths()
	}
	t.buf, t.packer = bytes.Buffer{}, nil
}

func (t *rows) endPaths() {
	var out bytes.Buffer
	if t.packer == nil {
		t.packer, _ = flate.NewWriter(&out, flate.BestSpeed) // the level is right
	} else {
		t.packer.Reset(&out)
	}
	_, _ = t.packer.Write(t.buf.Bytes()) // into memory
	_ = t.packer.Close()
	t.paths = append(t.paths, slices.Clone(out.Bytes()))
	t.buf.Reset()
}

// find returns the row of a path; nil if there is none.
func (t *rows) find(path string) *row {
	i := t.table[t.slot(maphash.String(t.seed, path))]
	if i == 0 {
		return nil
	}
	return &t.list[i-1]
}

// path returns that of a row, by its number.
func (t *rows) path(i int) (string, error) {
	raw, err := io.ReadAll(flate.NewReader(bytes.NewReader(t.paths[i/pathsEach])))
	if err != nil {
		return "", fmt.Errorf("the paths of the database's media: %w", err)
	}
	for range i % pathsEach {
		_, raw, _ = bytes.Cut(raw, []byte{0})
	}
	raw, _, _ = bytes.Cut(raw, []byte{0})
	return string(raw), nil
}

// forget makes every row unseen, for another attempt.
func (t *rows) forget() {
	for i := range t.list {
		t.list[i].size &^= rowSeen
	}
}

// length is what the database says; -1 where it does not.
func (r *row) length() int64 { return int64(r.size&rowSize) - 1 }
