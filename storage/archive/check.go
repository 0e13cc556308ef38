package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// Levels of a check. Stored data.
const (
	levelMetadata = "metadata"
	levelData     = "data"
)

// CheckOptions say how much to check.
type CheckOptions struct {
	Points   []string                // IDs, whose packs alone are read; none is all of the archive
	ReadData float64                 // share of the packs to read, 0 to 1
	Seed     uint64                  // picks the packs: the same seed, the same packs
	Program  string                  // name and version of who checks
	Progress func(done, total int64) // bytes of packs; may be nil; one call at a time
	// Unrecorded leaves the store as it is: the result is in the report alone.
	Unrecorded bool
}

// CheckReport is what a check found.
type CheckReport struct {
	Started  time.Time
	Finished time.Time
	Points   []PointReport // those that were asked for, oldest first
	Damaged  []Damage      // in order of their keys
	Packs    int           // that the index names
	Read     int           // packs read
	Bytes    int64         // of these
	// Limits says what could not be looked at for want of an identity; empty
	// if nothing.
	Limits string
	// Unrecorded is why the result could not be kept in the store; nil if it was.
	Unrecorded error
}

// PointReport is what a check found of a recovery point.
type PointReport struct {
	ID string
	Verification
	Tables   []string // which can't be restored in full; other parts by their names
	Problems []string // a line each, the first few
}

// Damage is an object that is not what was put, or is missing.
type Damage struct {
	Key     string
	Problem string
	Since   time.Time // when a check found it first
	Touches []Touch   // what can't be restored because of it; none if nothing

	blobs []ID // of a pack that is what its name says, those that are not
}

// Touch names what of a point needs a damaged object.
type Touch struct {
	Point  string
	Tables []string
}

// OK says whether nothing was found. Damage that touches no point counts.
func (r *CheckReport) OK() bool {
	return len(r.Damaged) == 0 && !slices.ContainsFunc(r.Points, func(p PointReport) bool { return !p.OK })
}

// checker is a check under way.
type checker struct {
	a      *Archive
	opt    CheckOptions
	index  *index
	last   *checkRecord // the newest record of a check; nil if there is none
	report *CheckReport

	mu      sync.Mutex
	damaged map[string]*Damage // by key
	bad     map[uint32]*badPack
	read    map[uint32]bool // packs that were read in this check
	done    int64
	total   int64

	media sync.Mutex         // one point's media at a time
	pages map[ID]pageVerdict // of their listings
}

// Check looks at everything the archive is made of: that archive.json and its
// copy, the script, every index object, its copy, manifest and record of a check are what
// was put, that every pack the index names is there in full, and that every
// blob of the points is indexed. ReadData reads packs besides: their checksums
// need no identity; with one, each blob is decrypted, decompressed and compared
// with its ID. Packs that an earlier check found damaged are always read again.
//
// Damage is in the report, not the error. The result is recorded in the store
// for [Archive.Points] to show; if that can't be done the report says so. Memory: four blobs at a time, and the index.
func (a *Archive) Check(ctx context.Context, o CheckOptions) (CheckReport, error) {
	c := &checker{
		a: a, opt: o, report: &CheckReport{Started: time.Now().UTC()},
		damaged: map[string]*Damage{}, bad: map[uint32]*badPack{}, read: map[uint32]bool{}, pages: map[ID]pageVerdict{},
	}
	if c.opt.Program == "" {
		c.opt.Program = a.program
	}
	err := c.run(ctx)
	c.report.Finished = time.Now().UTC()
	c.report.Damaged = c.sortedDamage()
	if err == nil && a.keyring.locked == nil && !o.Unrecorded {
		c.report.Unrecorded = c.record(ctx)
	}
	return *c.report, err
}

func (c *checker) run(ctx context.Context) error {
	if err := c.plainObjects(ctx); err != nil {
		return err
	}
	if len(c.opt.Points) == 0 {
		if err := c.sums(ctx, checkPrefix); err != nil {
			return err
		}
	}
	if c.a.keyring.locked != nil {
		return c.withoutKey(ctx)
	}
	// The points before the index: a backup puts its own last, and what is listed
	// of it here is in the index there.
	points, err := c.choosePoints(ctx)
	if err != nil {
		return err
	}
	if c.last, err = c.a.lastCheck(ctx); err != nil {
		return err
	}
	if c.index, err = c.a.openIndex(ctx); err != nil {
		return err
	}
	c.report.Packs = len(c.index.packs)
	for _, err := range c.index.broken {
		c.damage(brokenKey(err), err)
	}
	if err := c.indexCopies(ctx); err != nil {
		return err
	}
	for n := range c.index.packs {
		switch p := &c.index.packs[n]; p.state {
		case packMissing:
			c.wholePack(uint32(n), corrupt(packKey(p.sum), "it is missing"))
		case packShort:
			c.wholePack(uint32(n), corrupt(packKey(p.sum), "its size is not the %d bytes the index says", p.size))
		}
	}
	if err := c.readPacks(ctx, points); err != nil {
		return err
	}
	if c.report.Read > 0 && !c.decodes() {
		c.report.Limits = "blobs were not decrypted: no identity of a recipient was given; packs were compared with their checksums"
	}
	if err := c.judge(ctx, points); err != nil {
		return err
	}
	c.healed()
	return nil
}

// healed takes back the damage of packs that are missing where every point has
// all it needs: what was in them has been stored again, or is no point's. The
// index names them until a prune writes it anew. So is it with what a prune has
// deleted since it was listed: marked packs, and index objects.
func (c *checker) healed() {
	whole := !slices.ContainsFunc(c.report.Points, func(p PointReport) bool { return !p.OK })
	if !whole {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.index.packs {
		if p.state == packPruned || p.state == packMissing && len(c.opt.Points) == 0 {
			delete(c.damaged, packKey(p.sum))
		}
	}
	for _, err := range c.index.broken {
		if errors.Is(err, errGone) && len(c.opt.Points) == 0 {
			delete(c.damaged, brokenKey(err))
		}
	}
}

// withoutKey checks what needs no identity: every object against its name.
func (c *checker) withoutKey(ctx context.Context) error {
	c.report.Limits = "names and checksums only: " + c.a.keyring.locked.Error()
	for _, prefix := range []string{indexPrefix, indexCopyPrefix, pointPrefix} {
		if err := c.sums(ctx, prefix); err != nil {
			return err
		}
	}
	listed, err := c.a.listPacks(ctx)
	if err != nil {
		return err
	}
	c.index = newIndex()
	for sum, size := range listed {
		c.index.addPack(&packRecord{Pack: sum, Size: size}, "")
	}
	c.report.Packs = len(c.index.packs)
	c.opt.Points = nil
	return c.readPacks(ctx, nil)
}

// plainObjects checks what has no checksum in its name.
func (c *checker) plainObjects(ctx context.Context) error {
	for key, check := range map[string]func([]byte) error{
		configKey: func(b []byte) error { _, err := parseConfig(b); return err },
		copyKey:   c.checkCopy,
		rescueKey: checkRescue,
	} {
		body, err := fetch(ctx, c.a.store, key)
		if errors.Is(err, fs.ErrNotExist) {
			err = corrupt(key, "it is missing; init puts it there again")
		} else if err == nil {
			err = check(body)
		}
		if errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion) {
			c.damage(key, err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) checkCopy(body []byte) error {
	conf, err := parseConfig(body)
	switch {
	case errors.Is(err, ErrVersion):
		return err
	case err != nil:
		return corrupt(copyKey, "its checksum does not match")
	case conf.SHA256 != c.a.conf.SHA256:
		return corrupt(copyKey, "it is not that of archive.json")
	}
	return nil
}

// sums compares all objects below prefix with the checksums in their names.
func (c *checker) sums(ctx context.Context, prefix string) error {
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for o, err := range c.a.store.List(ctx, prefix) {
		if err != nil {
			return errors.Join(g.Wait(), fmt.Errorf("list %s: %w", prefix, err))
		}
		sum, ok := keySum(o.Key, prefix)
		if !ok {
			continue
		}
		g.Go(func() error {
			body, err := fetch(gctx, c.a.store, o.Key)
			if err == nil {
				err = checkSum(o.Key, body, sum)
			}
			switch {
			case errors.Is(err, ErrCorrupt):
				c.damage(o.Key, err)
			case err != nil && !errors.Is(err, fs.ErrNotExist): // a prune has deleted it since
				return err
			}
			return nil
		})
	}
	return g.Wait()
}

// damage notes a damaged object, once.
func (c *checker) damage(key string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.damaged[key]; !ok {
		c.damaged[key] = &Damage{Key: key, Problem: err.Error(), Since: c.since(key)}
	}
}

// since is when a check found the damage first.
func (c *checker) since(key string) time.Time {
	if c.last != nil {
		for _, d := range c.last.Damaged {
			if d.Key == key {
				return d.Since
			}
		}
	}
	return c.report.Started
}

func (c *checker) sortedDamage() []Damage {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []Damage
	for _, d := range c.damaged {
		all = append(all, *d)
	}
	slices.SortFunc(all, func(x, y Damage) int { return strings.Compare(x.Key, y.Key) })
	return all
}

// brokenKey returns the key that an error of [corrupt] begins with.
func brokenKey(err error) string {
	key, _, _ := strings.Cut(err.Error(), " ")
	return strings.TrimSuffix(key, ":")
}
