package archive

import (
	"encoding/binary"
	"fmt"
	"iter"
)

// index says where each blob lies. Two million blobs take about 110 MiB: an
// entry is 48 bytes, without pointers, in segments so that growth copies
// nothing, found through a hash table of 4-byte entry numbers. It is not safe
// for concurrent changes.
type index struct {
	packs  []packInfo
	byPack map[ID]uint32
	segs   [][]entry
	table  []uint32 // entry number + 1, 0 is free; length a power of two; linear probing
	n      int
	more   map[ID][]place // further places of blobs that several packs hold: rare
	broken []error        // index objects that can't be read, each wrapping ErrCorrupt
	files  []string       // keys of those that were read
	marked map[ID]bool    // packs that tombstones name, in the index or not
	locks  []lockRecord

	// Of index objects, by their keys:
	copies   bool             // whether any has a copy
	faults   map[string]error // why the copy was read
	doubtful map[string]bool  // it or its copy may be to be put again
	leftover map[string]bool  // see settle
}

// packInfo is a pack, as an index object tells.
type packInfo struct {
	sum    ID // SHA-256 of its stored bytes: its name
	size   int64
	source string    // key of the index object that named it first; empty for this process
	state  packState // what is known of the pack itself
}

type packState uint8

const (
	packThere   packState = iota
	packDoomed            // there, and marked to be deleted
	packSuspect           // the last check found it damaged
	packShort             // in the store, with another size
	packMissing           // not in the store
	packPruned            // not in the store, and marked: a prune has deleted it
)

// place is where a blob's stored bytes are.
type place struct {
	pack   uint32
	offset uint32
	stored uint32
	size   uint32 // plain
}

type entry struct {
	id ID
	place
}

const segment = 1 << 14

func newIndex() *index {
	return &index{
		byPack: map[ID]uint32{}, table: make([]uint32, 1<<10), more: map[ID][]place{},
		faults: map[string]error{}, doubtful: map[string]bool{}, leftover: map[string]bool{},
	}
}

func (x *index) at(i uint32) *entry { return &x.segs[i/segment][i%segment] }

// slot returns the table position of id, or of the free slot where it belongs.
func (x *index) slot(id ID) int {
	mask := len(x.table) - 1
	// IDs are hashes already.
	for i := int(binary.LittleEndian.Uint64(id[:8])) & mask; ; i = (i + 1) & mask {
		if e := x.table[i]; e == 0 || x.at(e-1).id == id {
			return i
		}
	}
}

// addPack adds a pack and its blobs. One that is there already is left as it is.
func (x *index) addPack(p *packRecord, source string) {
	if _, ok := x.byPack[p.Pack]; ok {
		return
	}
	n := uint32(len(x.packs))
	x.packs = append(x.packs, packInfo{sum: p.Pack, size: p.Size, source: source})
	x.byPack[p.Pack] = n
	for _, b := range p.Blobs {
		x.add(b.ID, place{pack: n, offset: uint32(b.Offset), stored: uint32(b.Stored), size: uint32(b.Size)})
	}
}

func (x *index) add(id ID, p place) {
	if (x.n+1)*4 > len(x.table)*3 {
		x.grow()
	}
	i := x.slot(id)
	if x.table[i] != 0 {
		x.more[id] = append(x.more[id], p)
		return
	}
	if x.n%segment == 0 {
		x.segs = append(x.segs, make([]entry, 0, segment))
	}
	last := len(x.segs) - 1
	x.segs[last] = append(x.segs[last], entry{id: id, place: p})
	x.n++
	x.table[i] = uint32(x.n)
}

func (x *index) grow() {
	x.table = make([]uint32, 2*len(x.table))
	for i := range x.n {
		x.table[x.slot(x.at(uint32(i)).id)] = uint32(i) + 1
	}
}

// places yields where a blob is: places in packs that are there first, then in
// those that are to be deleted or are suspect; never in packs that are missing or short.
func (x *index) places(id ID) iter.Seq[place] {
	return func(yield func(place) bool) {
		for _, want := range []packState{packThere, packDoomed, packSuspect} {
			for p := range x.allPlaces(id) {
				if x.packs[p.pack].state == want && !yield(p) {
					return
				}
			}
		}
	}
}

func (x *index) allPlaces(id ID) iter.Seq[place] {
	return func(yield func(place) bool) {
		i := x.slot(id)
		if x.table[i] == 0 || !yield(x.at(x.table[i]-1).place) || len(x.more) == 0 {
			return
		}
		for _, p := range x.more[id] {
			if !yield(p) {
				return
			}
		}
	}
}

// has says whether the archive can be trusted to have a blob.
func (x *index) has(id ID) bool {
	for p := range x.allPlaces(id) {
		if x.packs[p.pack].state == packThere {
			return true
		}
	}
	return false
}

// compare sets the packs' states by what the store lists.
func (x *index) compare(listed map[ID]int64) {
	for i := range x.packs {
		p := &x.packs[i]
		switch size, ok := listed[p.sum]; {
		case !ok:
			p.state = packMissing
		case size != p.size:
			p.state = packShort
		}
	}
}

// suspect marks packs that a check found damaged.
func (x *index) suspect(keys map[string]bool) {
	if len(keys) == 0 {
		return
	}
	for i := range x.packs {
		if p := &x.packs[i]; p.state == packThere && keys[packKey(p.sum)] {
			p.state = packSuspect
		}
	}
}

// absent says why a blob can't be read though its ID is wanted.
func (x *index) absent(id ID) error {
	for p := range x.allPlaces(id) {
		info := x.packs[p.pack]
		if info.state == packShort {
			return fmt.Errorf("blob %s: %w", id, corrupt(packKey(info.sum), "its size is not the %d bytes the index says", info.size))
		}
		return fmt.Errorf("blob %s: %w", id, corrupt(packKey(info.sum), "it is missing"))
	}
	if len(x.broken) > 0 {
		return fmt.Errorf("blob %s is in no index object that can be read: %w", id, x.broken[0])
	}
	return fmt.Errorf("blob %s is not in the archive: %w", id, errNoBlob)
}
