package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"filippo.io/age"

	"github.com/synapse-maint/synapse-maint/storage"
)

// CopyOptions are a copy's; the zero value copies every point.
type CopyOptions struct {
	Points   []string                // IDs; none: all that there are
	Retain   time.Duration           // object lock of what is written; 0 is none
	Jobs     int                     // packs or blobs under way at once; 0 is 4
	Progress func(done, total int64) // bytes; may be nil; one call at a time
	// Warn is told what was found wrong with the archives. May be nil.
	Warn func(error)
}

// CopyReport is what a copy did.
type CopyReport struct {
	Points []CopiedPoint // those that were asked for, oldest first
	// Recoded says that the archives have different keys: every blob was read
	// and stored anew.
	Recoded bool
	Packs   int   // written
	Bytes   int64 // of these
	// Unlocked is why the object lock of what was there was not extended, though
	// it was due; nil if it was.
	Unlocked error
}

// CopiedPoint is a point that was to be copied.
type CopiedPoint struct {
	ID    string // in the archive it is from
	As    string // its ID in the other; the same, but where Recoded; empty if it is not there
	There bool   // it was there before
	Left  []Lack // parts that were left behind
	Err   error  // why it was not copied: what it needs is damaged
}

const copyJobs = 4

// Same says whether two archives are one, in two stores: what one has can be
// put into the other as it is.
func (a *Archive) Same(b *Archive) bool {
	return a.conf.ID == b.conf.ID && a.conf.Homeserver == b.conf.Homeserver && a.hashKeyText() == b.hashKeyText()
}

func (a *Archive) hashKeyText() string {
	if a.conf.Encryption == nil {
		return ""
	}
	return a.conf.Encryption.HashKey
}

// Clone makes a's archive in another store, without a point, and opens it with
// these identities. One that is there is completed if it is a's, and opened as
// it is if it is another: see [Archive.Same].
func Clone(ctx context.Context, a *Archive, s storage.Store, retain time.Duration, keys ...age.Identity) (clone *Archive, made bool, err error) {
	began := time.Now()
	raw, err := loadConfig(ctx, s)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		made = true
		if raw, err = loadConfig(ctx, a.store); err != nil {
			return nil, false, err
		}
	case err != nil:
		return nil, false, err
	}
	clone, err = open(s, raw, keys)
	if err != nil {
		return nil, false, err
	}
	if !clone.Same(a) {
		if made { // archive.json of a was changed under us
			return nil, false, corrupt(configKey, "it is not the one that was opened")
		}
		return clone, false, nil
	}
	if err := completeInit(ctx, s, raw, retain); err != nil {
		return nil, false, err
	}
	if made && retain > 0 {
		if err := clone.putLock(ctx, began, retain); err != nil {
			return nil, false, err
		}
	}
	// Of two that clone at once one has put its own.
	clone, err = Open(ctx, s, keys...)
	return clone, made, err
}

// Copy copies points from one archive to another of the same homeserver, which
// [Clone] or [Init] has made. Between archives that are the same what is stored
// is copied as it is, checked against its names: that needs no key that opens
// data, only the job's. Otherwise every blob is read and stored anew, and the
// point gets another ID; that needs a recipient's identity.
//
// A point is put last, when all it needs is there: it may be killed at any
// instant, and repeated. What is there already is not sent again. A point that
// is damaged, or needs what is, is left out and has its Err in the report; the
// error is that of a store that fails. Memory: both indexes, and 96 MiB of packs.
func Copy(ctx context.Context, from, to *Archive, o CopyOptions) (CopyReport, error) {
	if from.conf.Homeserver != to.conf.Homeserver {
		return CopyReport{}, fmt.Errorf("copy of %s refused: the other archive is that of %s", from.conf.Homeserver, to.conf.Homeserver)
	}
	if o.Jobs <= 0 {
		o.Jobs = copyJobs
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	if o.Warn == nil {
		o.Warn = func(error) {}
	}
	points, err := from.chosen(ctx, o.Points)
	if err != nil {
		return CopyReport{}, err
	}
	if from.Same(to) {
		return copyVerbatim(ctx, from, to, points, o)
	}
	return copyRecoded(ctx, from, to, points, o)
}

// chosen returns the points with these IDs, or all, oldest first.
func (a *Archive) chosen(ctx context.Context, ids []string) ([]CopiedPoint, error) {
	all, err := a.listPoints(ctx)
	if err != nil {
		return nil, err
	}
	var points []CopiedPoint
	for _, p := range all {
		if len(ids) == 0 || slices.Contains(ids, p.ID) {
			points = append(points, CopiedPoint{ID: p.ID})
		}
	}
	for _, id := range ids {
		if !slices.ContainsFunc(points, func(p CopiedPoint) bool { return p.ID == id }) {
			return nil, fmt.Errorf("no recovery point %q: %w", id, fs.ErrNotExist)
		}
	}
	return points, nil
}

// targetError is a failure to write what was read: of the store that is copied
// to, whatever it is about.
type targetError struct{ error }

func (e *targetError) Unwrap() error { return e.error }

func ofTarget(err error) error {
	if err == nil {
		return nil
	}
	return &targetError{err}
}

// lost says whether an error is that of a point, not of a store.
func lost(err error) bool {
	if _, ok := errors.AsType[*targetError](err); ok {
		return false
	}
	return errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion) || errors.Is(err, errNoBlob)
}

// packBytes reads a pack and compares it with its name, twice if it must: wrong
// bytes on the wire are no damage.
func (a *Archive) packBytes(ctx context.Context, info packInfo) ([]byte, error) {
	key := packKey(info.sum)
	for try := 1; ; try++ {
		body, err := fetch(ctx, a.store, key)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, corrupt(key, "it is missing")
		case err == nil:
			err = checkSum(key, body, info.sum.String())
		}
		if err == nil || try > 1 || !errors.Is(err, ErrCorrupt) {
			return body, err
		}
	}
}
