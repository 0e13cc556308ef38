package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/synapse-maint/synapse-maint/storage"
)

// Object lock. For a time L after a point was committed nobody can delete it, nor
// what it needs. To lock what is put is not enough for that: most of what a point
// needs others have put before it, media a year ago.
//
// So all that is put is locked for 2 L, manifests for L; and the first run
// after L locks all that the archive has for 2 L from then on, before it commits,
// and puts a record of it. What was there then is locked for 2 L since the record,
// which is not older than L at a commit, and what was put since for 2 L since
// it was put: both have L left.
//
// It is all that the archive has, and not what the point uses: that may be another
// part tomorrow, and what no point needs a prune takes out. And it is all at
// once, by a record, and not each pack L after it was put: then a copy, whose
// manifests speak of the store that they are from, does the same, a longer or
// shorter L is seen, and the nights between take no request, as the record's
// name says everything and is in a listing that each run makes.

const (
	lockPrefix = prunePrefix + "lock-"
	lastLocks  = 8  // how many records prune leaves
	lockers    = 16 // locks that are extended at once
)

// lockRecord says that at a time everything was locked for twice so many seconds.
type lockRecord struct {
	key     string
	at      time.Time
	seconds int64
}

func newLockRecord(at time.Time, l time.Duration) lockRecord {
	r := lockRecord{at: at.UTC(), seconds: int64((l + time.Second - 1) / time.Second)}
	r.key = lockPrefix + r.at.Format(keyTime) + "-" + strconv.FormatInt(r.seconds, 10)
	return r
}

// parseLock reads a record's key.
func parseLock(key string) (r lockRecord, ok bool) {
	stamp, length, _ := strings.Cut(strings.TrimPrefix(key, lockPrefix), "-")
	at, err := time.Parse(keyTime, stamp)
	if err != nil || !strings.HasPrefix(key, lockPrefix) {
		return r, false
	}
	seconds, err := strconv.ParseInt(length, 10, 64)
	return lockRecord{key, at, seconds}, err == nil && seconds >= 0
}

// lockUntil is until when what is put now is locked, for a lock of l.
func lockUntil(l time.Duration) time.Time { return retainUntil(2 * l) }

// lockDue says whether everything is to be locked again, or that it is not locked
// any more to be said. A record of the future is by a clock that was wrong. It
// looks ahead by the time that a run may take.
func lockDue(records []lockRecord, now time.Time, l time.Duration) bool {
	var last lockRecord
	for _, r := range records {
		if r.at.After(last.at) && r.at.Sub(now) <= clockSkew {
			last = r
		}
	}
	if last.seconds != newLockRecord(now, l).seconds {
		return true
	}
	return l > 0 && now.Sub(last.at) >= l-min(l/2, pruneGrace)
}

// extendLocks locks again what the archive has, if it is due: what the index
// names and was not put by this run, packs that a run found without one, and
// archive.json and what is beside it. What fails is said, and tried again by the
// next run: there is no record then.
func (a *Archive) extendLocks(ctx context.Context, x *index, l time.Duration, found []ID) error {
	now := time.Now()
	if !lockDue(x.locks, now, l) {
		return nil
	}
	if l > 0 {
		if err := a.lockAll(ctx, x.lockable(found), l); err != nil {
			return fmt.Errorf("the object lock of what earlier runs have stored was not extended, and it can be deleted sooner than %s from now: %w", l, err)
		}
	}
	return a.putLock(ctx, now, l)
}

// lockable are the keys of what is to be locked. What is marked to be deleted
// may be needed after all.
func (x *index) lockable(found []ID) []string {
	keys := slices.Concat([]string{configKey, copyKey, rescueKey}, x.files)
	for _, key := range x.files {
		keys = append(keys, indexCopy(key))
	}
	for _, p := range x.packs {
		if p.source != "" && p.state < packShort {
			keys = append(keys, packKey(p.sum))
		}
	}
	for _, sum := range found {
		keys = append(keys, packKey(sum))
	}
	return keys
}

func (a *Archive) lockAll(ctx context.Context, keys []string, l time.Duration) error {
	s, ok := a.store.(storage.Retainer)
	if !ok {
		return errors.New("the store can lock only what is put")
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(lockers)
	for _, key := range keys {
		if gctx.Err() != nil {
			break
		}
		g.Go(func() error {
			if err := s.Retain(gctx, key, lockUntil(l)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return about("lock", key, err)
			}
			return nil // what is absent is others' matter
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// putLock puts the record.
func (a *Archive) putLock(ctx context.Context, at time.Time, l time.Duration) error {
	r := newLockRecord(at, l)
	if _, err := a.store.Put(ctx, r.key, []byte(r.at.Format(time.RFC3339)+"\n"), storage.PutOptions{}); err != nil {
		return fmt.Errorf("record the object lock: %w", err)
	}
	return nil
}
