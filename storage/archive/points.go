package archive

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/synapse-maint/synapse-maint/storage"
)

const (
	pointPrefix = "points/"
	pointDigits = 16
	dropTimeout = 30 * time.Second
)

// Point is a recovery point as the store lists it.
type Point struct {
	ID       string
	Taken    time.Time
	Manifest *Manifest // nil where Err is not
	Err      error     // why the manifest can't be read: ErrCorrupt, ErrNoKey, ErrVersion
	Verified Verification
}

// Verification is the newest result of a check of a point. The zero value is
// that of one never checked.
type Verification struct {
	Time  time.Time `json:"time"`
	Level string    `json:"level"` // "metadata": all is there; "data": every pack it needs was read
	OK    bool      `json:"ok"`
}

// Commit makes m a recovery point and returns its ID. Every blob it names must
// have been added by a Writer that was closed. The point is listed when Commit
// returns without an error, and, should the answer of the store have been
// lost, only if it is whole. A manifest that came out damaged is removed again
// where the store allows it.
func (a *Archive) Commit(ctx context.Context, m *Manifest) (string, error) {
	fail := func(err error) (string, error) { return "", fmt.Errorf("commit the recovery point: %w", err) }
	m.Format = formatVersion
	if m.Homeserver != a.conf.Homeserver {
		return fail(fmt.Errorf("its homeserver %q is not the archive's, %q", m.Homeserver, a.conf.Homeserver))
	}
	if m.Taken.IsZero() {
		return fail(errors.New("it does not say when it was taken"))
	}
	if m.Secrets != nil && !a.Encrypted() {
		return fail(errors.New("it has secrets, and they are never stored unencrypted"))
	}
	if err := a.checkAge(); err != nil {
		return fail(err)
	}
	if err := a.checkBlobs(ctx, m); err != nil {
		return fail(err)
	}
	plain, err := json.Marshal(m)
	if err != nil {
		return fail(err)
	}
	sealed, err := a.sealMeta(plain)
	if err != nil {
		return fail(err)
	}
	a.mu.Lock()
	opt := storage.PutOptions{IfAbsent: true, RetainUntil: retainUntil(a.retain)}
	a.mu.Unlock()
	key := sumKey(pointPrefix, m.Taken, sealed, pointDigits)
	if err := putVerified(ctx, a.store, key, sealed, opt); err != nil {
		if dropErr := a.dropDamaged(ctx, key); dropErr != nil {
			err = fmt.Errorf("%w; %w", err, dropErr)
		}
		return fail(err)
	}
	return strings.TrimPrefix(key, pointPrefix), nil
}

// dropDamaged removes a manifest whose put went wrong, if it is there and not
// what was put: a point is listed only if it is whole. It does so although ctx
// has ended.
func (a *Archive) dropDamaged(ctx context.Context, key string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTimeout)
	defer cancel()
	body, err := fetch(ctx, a.store, key)
	sum, _ := keySum(key, pointPrefix)
	if err == nil {
		err = checkSum(key, body, sum)
	}
	if !errors.Is(err, ErrCorrupt) {
		return nil // whole, absent, or nobody knows
	}
	if err := a.store.Delete(ctx, key); err != nil {
		return fmt.Errorf("remove %s, which is damaged: %w", key, err)
	}
	return nil
}

// checkAge refuses a point of a run that takes longer than prune waits: what it
// found when it began may be gone.
func (a *Archive) checkAge() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return inTime(a.opened)
}

// inTime is checkAge for a run that began then; zero is one that counts on
// nothing. A machine that slept knows it by the clock on the wall alone.
func inTime(began time.Time) error {
	if began.IsZero() {
		return nil
	}
	if d := max(time.Since(began), time.Since(began.Round(0))); d > pruneGrace {
		return fmt.Errorf("it took %s, and what it found when it began is sure to be there for %s only: run it again, what it stored is not sent again",
			d.Round(time.Minute), pruneGrace)
	}
	return nil
}

// checkBlobs refuses a manifest that names what the archive does not have.
func (a *Archive) checkBlobs(ctx context.Context, m *Manifest) error {
	a.mu.Lock()
	x := a.known
	a.mu.Unlock()
	if x == nil {
		var err error
		if x, err = a.openIndex(ctx); err != nil {
			return err
		}
	} else if err := a.stillThere(ctx, x, nil); err != nil {
		return err
	}
	for _, t := range m.tables() {
		var sum int64
		for _, b := range t.Blobs {
			sum += b.Size
		}
		if sum != t.Bytes {
			return fmt.Errorf("%s.%s: %d bytes, but its blobs have %d", t.Schema, t.Name, t.Bytes, sum)
		}
	}
	for part, blobs := range m.parts() {
		for _, b := range blobs {
			if !x.has(b.ID) {
				return fmt.Errorf("%s: %w", part, x.absent(b.ID))
			}
		}
	}
	return nil
}

// Points lists the recovery points, newest last. One whose manifest can't be
// read is listed with its Err.
func (a *Archive) Points(ctx context.Context) ([]Point, error) {
	points, err := a.listPoints(ctx)
	if err != nil {
		return nil, err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i := range points {
		g.Go(func() error { return a.readPoint(gctx, &points[i]) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	sortPoints(points)
	return points, a.fillVerified(ctx, points)
}

// sortPoints orders points that were read: names tell them apart to the second,
// manifests further. One that can't be read is the last of its second.
func sortPoints(points []Point) {
	slices.SortStableFunc(points, func(a, b Point) int {
		if s, t := a.Taken.Truncate(time.Second), b.Taken.Truncate(time.Second); s.Equal(t) && (a.Err == nil) != (b.Err == nil) {
			return cmp.Compare(damagedLast(a), damagedLast(b))
		}
		return a.Taken.Compare(b.Taken)
	})
}

func damagedLast(p Point) int {
	if p.Err != nil {
		return 1
	}
	return 0
}

// listPoints lists them without reading them, newest last; those of the same
// second in no order.
func (a *Archive) listPoints(ctx context.Context) ([]Point, error) {
	var points []Point
	for o, err := range a.store.List(ctx, pointPrefix) {
		if err != nil {
			return nil, fmt.Errorf("list the recovery points: %w", err)
		}
		id := strings.TrimPrefix(o.Key, pointPrefix)
		if _, ok := keySum(o.Key, pointPrefix); !ok {
			continue
		}
		taken, _ := time.Parse(keyTime, id[:strings.IndexByte(id, '-')])
		points = append(points, Point{ID: id, Taken: taken})
	}
	return points, nil
}

// readPoint fills in the manifest or Err. It returns errors of the store only.
func (a *Archive) readPoint(ctx context.Context, p *Point) error {
	m, err := a.readManifest(ctx, p.ID)
	switch {
	case err == nil:
		p.Manifest, p.Taken = m, m.Taken
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrNoKey), errors.Is(err, ErrVersion):
		p.Err = fmt.Errorf("recovery point %s: %w", p.ID, err)
	default:
		return fmt.Errorf("recovery point %s: %w", p.ID, err)
	}
	return nil
}

func (a *Archive) readManifest(ctx context.Context, id string) (*Manifest, error) {
	key := pointPrefix + id
	sealed, err := fetch(ctx, a.store, key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, gone(key)
	}
	if err != nil {
		return nil, err
	}
	sum, _ := keySum(key, pointPrefix)
	if err := checkSum(key, sealed, sum); err != nil {
		return nil, err
	}
	plain, err := a.unsealMeta(key, sealed)
	if err != nil {
		return nil, err
	}
	return parseManifest(key, plain)
}

// parseManifest reads the plain bytes of a manifest.
func parseManifest(key string, plain []byte) (*Manifest, error) {
	m := &Manifest{}
	if err := json.Unmarshal(plain, m); err != nil {
		return nil, corrupt(key, "%v", err)
	}
	if m.Format != formatVersion {
		return nil, versionError(key, m.Format)
	}
	for part, blobs := range m.parts() {
		for _, b := range blobs {
			if b.Size < 0 || b.Size > maxBlob {
				return nil, corrupt(key, "%s: a blob of %d bytes", part, b.Size)
			}
		}
	}
	return m, nil
}
