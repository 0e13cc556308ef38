package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
)

const (
	checkPrefix = "checks/"
	checkDigits = 16
	// lastChecks is how many records are tried, newest first, until one can be
	// read. Each repeats what the one before knew, so one is enough.
	lastChecks = 8
)

// checkRecord is the stored result of a check.
type checkRecord struct {
	Format   int            `json:"format"`
	Program  string         `json:"program"`
	Started  time.Time      `json:"started"`
	Finished time.Time      `json:"finished"`
	Read     float64        `json:"read"`
	Points   []pointRecord  `json:"points"`
	Damaged  []damageRecord `json:"damaged"`
}

// pointRecord is the newest result of a point on one level.
type pointRecord struct {
	ID string `json:"id"`
	Verification
}

type damageRecord struct {
	Key     string    `json:"key"`
	Problem string    `json:"problem"`
	Since   time.Time `json:"since"`
	// Blobs of a pack that is what its name says are those that are not: found by
	// who could decrypt them.
	Blobs []ID `json:"blobs,omitempty"`
}

// record puts the result of the check, with what the last one knew of other
// points and levels, be it one that has ended since this one began.
func (c *checker) record(ctx context.Context) error {
	rec := checkRecord{
		Format: formatVersion, Program: c.opt.Program, Started: c.report.Started,
		Finished: c.report.Finished, Read: c.opt.ReadData,
		Points: []pointRecord{}, Damaged: []damageRecord{},
	}
	for _, d := range c.report.Damaged {
		rec.Damaged = append(rec.Damaged, damageRecord{d.Key, d.Problem, d.Since, d.blobs})
	}
	for _, p := range c.report.Points {
		rec.Points = append(rec.Points, pointRecord{p.ID, p.Verification})
	}
	last, err := c.a.lastCheck(ctx)
	if err == nil && last != nil {
		err = c.carryOver(ctx, &rec, last)
	}
	if err != nil {
		return err
	}
	plain, err := json.Marshal(&rec)
	if err == nil {
		plain, err = c.a.sealMeta(plain)
	}
	if err == nil {
		key := sumKey(checkPrefix, rec.Finished, plain, checkDigits)
		err = putVerified(ctx, c.a.store, key, plain, storage.PutOptions{})
	}
	if err != nil {
		return fmt.Errorf("record the result of the check: %w", err)
	}
	return nil
}

// carryOver keeps what the last check knew and this one did not look at.
func (c *checker) carryOver(ctx context.Context, rec, last *checkRecord) error {
	points, err := c.a.listPoints(ctx)
	if err != nil {
		return err
	}
	if c.last == nil || !last.Finished.Equal(c.last.Finished) {
		rec.join(last)
	}
	for _, old := range last.Points {
		there := slices.ContainsFunc(points, func(p Point) bool { return p.ID == old.ID })
		again := slices.ContainsFunc(rec.Points, func(p pointRecord) bool { return p.ID == old.ID && p.Level == old.Level })
		if there && !again {
			rec.Points = append(rec.Points, old)
		}
	}
	for _, d := range last.Damaged {
		_, isCopy := indexKeyOf(d.Key)
		if isCopy && len(c.opt.Points) > 0 && !rec.damages(d.Key) { // a check of certain points looks at none
			rec.Damaged = append(rec.Damaged, d)
		}
	}
	if !rec.Finished.After(last.Finished) { // this one is read from now on
		rec.Finished = last.Finished.Add(time.Nanosecond)
	}
	return nil
}

// join gives way to what a check at the same time found bad: nobody knows which of
// the two saw it later. The next one looks again.
func (r *checkRecord) join(other *checkRecord) {
	bad := func(id string) bool {
		return slices.ContainsFunc(other.Points, func(p pointRecord) bool { return p.ID == id && !p.OK })
	}
	r.Points = slices.DeleteFunc(r.Points, func(p pointRecord) bool { return p.OK && bad(p.ID) })
	for _, d := range other.Damaged {
		if !r.damages(d.Key) {
			r.Damaged = append(r.Damaged, d)
		}
	}
}

func (r *checkRecord) damages(key string) bool {
	return slices.ContainsFunc(r.Damaged, func(d damageRecord) bool { return d.Key == key })
}

// lastCheck returns the newest record of a check that can be read, or nil.
func (a *Archive) lastCheck(ctx context.Context) (*checkRecord, error) {
	if a.keyring.locked != nil {
		return nil, nil
	}
	keys, _, err := a.checkKeys(ctx, time.Now())
	if err != nil {
		return nil, err
	}
	slices.Reverse(keys)
	var last *checkRecord
	for i, key := range keys[:min(len(keys), lastChecks)] {
		// Keys of the same second are in no order: look at all of them.
		if last != nil && keyStamp(key) != keyStamp(keys[i-1]) {
			break
		}
		rec, err := a.readCheck(ctx, key)
		switch {
		case err == nil && (last == nil || rec.Finished.After(last.Finished)):
			last = rec
		case err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion):
			return nil, err
		}
	}
	return last, nil
}

// checkKeys lists the records, the newest last; and, apart, those of the future,
// by a clock that was wrong: what later ones say would not be seen until then.
func (a *Archive) checkKeys(ctx context.Context, now time.Time) (keys, future []string, err error) {
	for o, err := range a.store.List(ctx, checkPrefix) {
		if err != nil {
			return nil, nil, fmt.Errorf("list the checks: %w", err)
		}
		if _, ok := keySum(o.Key, checkPrefix); !ok {
			continue
		}
		if at, _ := time.Parse(checkPrefix+keyTime, keyStamp(o.Key)); at.Sub(now) > clockSkew {
			future = append(future, o.Key)
		} else {
			keys = append(keys, o.Key)
		}
	}
	return keys, future, nil
}

func keyStamp(key string) string {
	stamp, _, _ := strings.Cut(key, "-")
	return stamp
}

func (a *Archive) readCheck(ctx context.Context, key string) (*checkRecord, error) {
	sealed, err := fetch(ctx, a.store, key)
	if err != nil {
		return nil, err
	}
	sum, _ := keySum(key, checkPrefix)
	if err := checkSum(key, sealed, sum); err != nil {
		return nil, err
	}
	plain, err := a.unsealMeta(key, sealed)
	if err != nil {
		return nil, err
	}
	rec := &checkRecord{}
	if err := json.Unmarshal(plain, rec); err != nil {
		return nil, corrupt(key, "%v", err)
	}
	if rec.Format != formatVersion {
		return nil, versionError(key, rec.Format)
	}
	return rec, nil
}

// fillVerified sets the points' Verified from the newest record.
func (a *Archive) fillVerified(ctx context.Context, points []Point) error {
	rec, err := a.lastCheck(ctx)
	if err != nil || rec == nil {
		return err
	}
	for i := range points {
		points[i].Verified = rec.of(points[i].ID)
	}
	return nil
}

// of returns what is known of a point: the newest result if it is bad; else the
// one that read the data, if it was good; else the newest.
func (r *checkRecord) of(id string) Verification {
	var newest, data Verification
	for _, p := range r.Points {
		if p.ID != id {
			continue
		}
		if p.Time.After(newest.Time) {
			newest = p.Verification
		}
		if p.Level == levelData {
			data = p.Verification
		}
	}
	if newest.OK && data.OK {
		return data
	}
	return newest
}

// suspects returns the packs that the record names as damaged.
func (r *checkRecord) suspects() map[string]bool {
	keys := map[string]bool{}
	for _, d := range r.Damaged {
		if strings.HasPrefix(d.Key, packPrefix) {
			keys[d.Key] = true
		}
	}
	return keys
}
