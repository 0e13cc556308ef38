package archive

import (
	"bytes"
	"context"
)

// PackOf returns the key of the pack a blob is read from.
func PackOf(r *Reader, id ID) string {
	p, _ := first(r.index.places(id))
	return packKey(r.index.packs[p.pack].sum)
}

// EntryForms writes an entry in both ways and reads the first in both ways.
func EntryForms(e Entry) (fast, slow string, scanned, decoded Entry, ok bool, err error) {
	b, err := encodeEntry(nil, &e)
	if err != nil {
		return
	}
	c, err := marshalEntry(nil, &e)
	if err != nil {
		return
	}
	line := bytes.TrimSuffix(b, []byte("\n"))
	scanned, ok = scanEntry(line, string(line), new([]ID))
	decoded, err = decodeEntry(line)
	return string(b), string(c), scanned, decoded, ok, err
}

// LiveBytes returns how many bytes of each pack the points need, by its key.
func (a *Archive) LiveBytes(ctx context.Context) (map[string]int64, error) {
	p := &pruning{a: a, PruneOptions: PruneOptions{Progress: func(int64, int64) {}}}
	if err := p.look(ctx); err != nil {
		return nil, err
	}
	if err := p.count(ctx, p.keep); err != nil {
		return nil, err
	}
	live := map[string]int64{}
	for i, info := range p.x.packs {
		live[packKey(info.sum)] = p.use.live[i]
	}
	return live, nil
}
