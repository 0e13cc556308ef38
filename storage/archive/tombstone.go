package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
)

const (
	prunePrefix = "prune/"
	// probeKey is put to learn what time it is for the store.
	probeKey = "prune/clock"
	// pruneGrace is how long what was found unused stays, and how long a backup
	// may take: what it found when it began is there until it commits.
	pruneGrace = 24 * time.Hour
	// lateListing is how late a store may list what was put and still be safe. It
	// is added to the grace twice before anything is deleted: a writer may not have
	// seen the tombstone for so long, and prune not the point that it put last.
	lateListing = time.Hour
	// clockSkew is how far our clock may be from the store's.
	clockSkew = 10 * time.Minute
)

// tombstone is a list of packs to be deleted, as it is kept in the store.
type tombstone struct {
	key   string
	time  time.Time
	packs []doomedPack
}

type doomedPack struct {
	Pack ID    `json:"pack"`
	Size int64 `json:"size"`
}

// tombstoneHeader is its first line.
type tombstoneHeader struct {
	Format  int       `json:"format"`
	Kind    string    `json:"kind"`
	Time    time.Time `json:"time"`
	Program string    `json:"program"`
}

// putTombstone marks packs.
func (a *Archive) putTombstone(ctx context.Context, packs []doomedPack, o *PruneOptions) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	err := enc.Encode(tombstoneHeader{formatVersion, "tombstone", o.Now().UTC(), o.Program})
	for i := range packs {
		if err == nil {
			err = enc.Encode(&packs[i])
		}
	}
	if err != nil {
		return err
	}
	sealed, err := a.sealMeta(b.Bytes())
	if err != nil {
		return err
	}
	key := sumKey(prunePrefix, o.Now(), sealed, 64)
	if err := putVerified(ctx, a.store, key, sealed, storage.PutOptions{}); err != nil {
		return fmt.Errorf("mark what is unused: %w", err)
	}
	return nil
}

// tombstones reads them all. One that is damaged or gone marks nothing: what it
// named is found unused again. The records of object lock are in the same listing.
func (a *Archive) tombstones(ctx context.Context) (all []tombstone, locks []lockRecord, err error) {
	for o, err := range a.store.List(ctx, prunePrefix) {
		if err != nil {
			return nil, nil, fmt.Errorf("list what is marked: %w", err)
		}
		if r, ok := parseLock(o.Key); ok {
			locks = append(locks, r)
		}
		sum, ok := keySum(o.Key, prunePrefix)
		if !ok {
			continue
		}
		t, err := a.readTombstone(ctx, o.Key, sum)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, t)
	}
	return all, locks, nil
}

// readTombstone returns one without packs where the object is of no use.
func (a *Archive) readTombstone(ctx context.Context, key, sum string) (tombstone, error) {
	t := tombstone{key: key}
	sealed, err := fetch(ctx, a.store, key)
	if err == nil {
		err = checkSum(key, sealed, sum)
	}
	var plain []byte
	if err == nil {
		plain, err = a.unsealMeta(key, sealed)
	}
	if errors.Is(err, ErrCorrupt) || errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return t, err
	}
	text, rest, _ := bytes.Cut(plain, []byte("\n"))
	var h tombstoneHeader
	if err := json.Unmarshal(text, &h); err != nil || h.Kind != "tombstone" {
		return t, nil
	}
	if h.Format != formatVersion {
		return t, versionError(key, h.Format)
	}
	t.time = h.Time
	for len(rest) > 0 {
		text, rest, _ = bytes.Cut(rest, []byte("\n"))
		var p doomedPack
		if err := json.Unmarshal(text, &p); err != nil {
			return tombstone{key: key}, nil
		}
		t.packs = append(t.packs, p)
	}
	return t, nil
}

// doom marks the packs of tombstones: they are read as ever, but no new point
// counts on them. One that is gone is no damage: the index object that names it
// is under object lock still.
func (x *index) doom(all []tombstone) {
	x.marked = map[ID]bool{}
	for _, t := range all {
		for _, p := range t.packs {
			x.marked[p.Pack] = true
			n, ok := x.byPack[p.Pack]
			switch {
			case ok && x.packs[n].state == packThere:
				x.packs[n].state = packDoomed
			case ok && x.packs[n].state == packMissing:
				x.packs[n].state = packPruned
			}
		}
	}
}
