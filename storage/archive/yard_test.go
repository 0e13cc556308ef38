package archive_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"filippo.io/age"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

// yard is an archive whose points come and go, and what each point must hold.
// It lives in a bubble: a day is nothing.
type yard struct {
	t     *testing.T
	rnd   *rand.Rand
	store *mem.Store
	a     *archive.Archive // as its owner opens it
	owner []age.Identity   // what he has
	job   []age.Identity   // what a job has
	pool  [][]byte         // the bytes that blobs are made of
	want  map[string][]int
	lock  time.Duration // object lock of what backups write
	// unlocked is what the last backup could not lock again.
	unlocked error

	spoilt bool     // an index object is damaged, and readers may say so
	warned []string // what they said
}

// inYard runs a test in a bubble.
func inYard(t *testing.T, seed uint64, test func(t *testing.T, y *yard)) {
	t.Helper()
	inYardOf(t, seed, false, test)
}

// inYardOf is inYard with an archive that may be encrypted.
func inYardOf(t *testing.T, seed uint64, encrypted bool, test func(t *testing.T, y *yard)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		y := &yard{t: t, rnd: rand.New(rand.NewPCG(seed, 7)), store: mem.New(), want: map[string][]int{}}
		if encrypted {
			k := newKeys(t)
			_, err := archive.Init(t.Context(), y.store, k.opt)
			ok(t, err)
			y.job, y.owner = []age.Identity{k.job}, []age.Identity{k.owner}
			y.a, err = archive.Open(t.Context(), y.store, k.owner)
			ok(t, err)
		} else {
			y.a = plainArchive(t, y.store)
		}
		for i := range 60 {
			y.pool = append(y.pool, rows(seed<<16+uint64(i), 400+i*20))
		}
		test(t, y)
	})
}

// later lets time pass.
func later(d time.Duration) { <-time.After(d) }

// draft is a backup that is under way.
type draft struct {
	w     *archive.Writer
	a     *archive.Archive
	blobs []archive.Blob
	which []int
}

// begin opens an archive and a writer, as a backup does, and stores some of the
// pool.
func (y *yard) begin(s storage.Store) (*draft, error) {
	y.t.Helper()
	var which []int
	first := y.rnd.IntN(len(y.pool))
	for i := range 4 + y.rnd.IntN(12) {
		which = append(which, (first+i)%len(y.pool))
	}
	return y.beginWith(s, which)
}

// beginWith is begin with certain of the pool.
func (y *yard) beginWith(s storage.Store, which []int) (*draft, error) {
	y.t.Helper()
	a, err := archive.Open(y.t.Context(), s, y.job...)
	if err != nil {
		return nil, err
	}
	w, err := a.Writer(y.t.Context(), archive.WriterOptions{PackSize: 1500, Retain: y.lock})
	if err != nil {
		return nil, err
	}
	d := &draft{w: w, a: a, which: which}
	for _, n := range which {
		id, _, err := w.Add(y.t.Context(), y.pool[n])
		if err != nil {
			w.Abort()
			return nil, err
		}
		d.blobs = append(d.blobs, archive.Blob{ID: id, Size: int64(len(y.pool[n]))})
	}
	return d, nil
}

// commit makes the draft a point: of its first blobs a stream of pg_dump, of
// the others files of the media part.
func (y *yard) commit(d *draft) error {
	y.t.Helper()
	ctx := y.t.Context()
	defer d.w.Abort()
	m := &archive.Manifest{Homeserver: server, Started: time.Now(), Taken: time.Now(), Database: &archive.Database{Info: []byte("{}"), Reason: "test"}}
	half := len(d.blobs) / 2
	m.Database.Stream = d.blobs[:half]
	l := d.w.Listing()
	for i, b := range d.blobs[half:] {
		e := archive.Entry{Path: fmt.Sprintf("f%02d", i), Size: b.Size, SHA256: b.ID, Blobs: []archive.ID{b.ID}}
		if err := l.Add(ctx, e); err != nil {
			return err
		}
	}
	listing, err := l.Close(ctx)
	if err != nil {
		return err
	}
	m.Media = &archive.Media{Listing: listing}
	stats, err := d.w.Close(ctx)
	if err != nil {
		return err
	}
	y.unlocked = stats.Unlocked
	id, err := d.a.Commit(ctx, m)
	if err == nil {
		y.want[id] = d.which
	}
	return err
}

// backup takes a point.
func (y *yard) backup() {
	y.t.Helper()
	d, err := y.begin(y.store)
	ok(y.t, err)
	ok(y.t, y.commit(d))
}

// backupOf takes a point of certain of the pool.
func (y *yard) backupOf(which []int) {
	y.t.Helper()
	d, err := y.beginWith(y.store, which)
	ok(y.t, err)
	ok(y.t, y.commit(d))
}

func (y *yard) points(s storage.Store) []archive.Point {
	y.t.Helper()
	a, err := archive.Open(y.t.Context(), s, y.job...)
	ok(y.t, err)
	list, err := a.Points(y.t.Context())
	ok(y.t, err)
	return list
}

// prune drops a share of the points.
func (y *yard) prune(s storage.Store, share float64) (archive.PruneReport, error) {
	y.t.Helper()
	var drop []string
	for _, p := range y.points(y.store) {
		if y.rnd.Float64() < share {
			drop = append(drop, p.ID)
		}
	}
	a, err := archive.Open(y.t.Context(), s, y.job...)
	if err != nil {
		return archive.PruneReport{}, err
	}
	return a.Prune(y.t.Context(), archive.PruneOptions{Drop: drop, Program: "test"})
}

// whole proves that every listed point comes back bit by bit.
func (y *yard) whole(when string) {
	y.t.Helper()
	ctx := y.t.Context()
	list := y.points(y.store)
	if len(list) == 0 {
		return
	}
	r, err := y.a.Reader(ctx, archive.ReaderOptions{Warn: func(err error) {
		if y.warned = append(y.warned, err.Error()); strings.HasPrefix(err.Error(), "index") && !y.spoilt {
			y.t.Errorf("%s: %v", when, err)
		}
	}})
	ok(y.t, err)
	for _, p := range list {
		ids := make([]archive.ID, 0, 20)
		for _, b := range p.Manifest.Database.Stream {
			ids = append(ids, b.ID)
		}
		for e, err := range archive.Entries(ctx, r, p.Manifest.Media) {
			if err != nil {
				y.t.Fatalf("%s: point %s: %v", when, p.ID, err)
			}
			ids = append(ids, e.Blobs...)
		}
		want, known := y.want[p.ID]
		if known && len(ids) != len(want) {
			y.t.Fatalf("%s: point %s has %d blobs, not %d", when, p.ID, len(ids), len(want))
		}
		for i, id := range ids {
			got, err := r.Blob(ctx, id)
			if err != nil || known && !bytes.Equal(got, y.pool[want[i]]) {
				y.t.Fatalf("%s: point %s, blob %d: %v", when, p.ID, i, err)
			}
		}
	}
}

// clean proves that nothing is there that no point needs, but for what is less
// than half of a pack, and that a check finds nothing wrong.
func (y *yard) clean() {
	y.t.Helper()
	report, err := y.a.Check(y.t.Context(), archive.CheckOptions{ReadData: 1})
	ok(y.t, err)
	if !report.OK() {
		y.t.Errorf("a check finds %+v", report.Damaged)
	}
	pairs(y.t, y.store)
	need := map[string]int64{}
	all, err := y.a.LiveBytes(y.t.Context())
	ok(y.t, err)
	for key, n := range all {
		need[key] = n
	}
	for o, err := range y.store.List(y.t.Context(), "packs/") {
		ok(y.t, err)
		if need[o.Key] < o.Size/2 {
			y.t.Errorf("%s has %d bytes, of which %d are needed", o.Key, o.Size, need[o.Key])
		}
	}
}
