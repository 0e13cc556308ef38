package journal

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
)

// watch sees how long a lock's object stays as it is.
type watch struct {
	tag   string
	since time.Time // by our monotonic clock
	known bool      // whether its holder was silent when we first saw it in this state
	quiet bool
	age   time.Duration // of its last heartbeat, when that became known
}

func (w *watch) see(tag string) {
	if tag != w.tag {
		*w = watch{tag: tag, since: time.Now()}
	}
}

func (w *watch) unchanged() time.Duration { return time.Since(w.since) }

// silent says whether the holder's last heartbeat was older than its TTL when
// this watch began: only then is it worth watching on. Both ends are by the
// store's clock. It decides about waiting only: the takeover rests on what is
// watched after, so a store with two clocks does no harm.
func (w *watch) silent(ctx context.Context, l *Locker, rec *record) (bool, error) {
	if w.known {
		return w.quiet, nil
	}
	now, err := l.storeTime(ctx, rec.Name)
	if err != nil {
		return false, err
	}
	o, err := l.store.Stat(ctx, lockKey(rec.Name))
	if err != nil {
		return false, fmt.Errorf("look at the lock: %w", err)
	}
	w.age = now.Sub(o.Modified)
	w.known, w.quiet = true, o.Tag == w.tag && w.age > rec.ttl()
	return w.quiet, nil
}

// storeTime asks the store for its time, by a put.
func (l *Locker) storeTime(ctx context.Context, name string) (time.Time, error) {
	key := "locks/" + name + ".clock"
	if _, err := l.store.Put(ctx, key, []byte(rand.Text()+"\n"), storage.PutOptions{}); err != nil {
		return time.Time{}, fmt.Errorf("ask the store for its time: %w", err)
	}
	o, err := l.store.Stat(ctx, key)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask the store for its time: %w", err)
	}
	return o.Modified, nil
}

func lockKey(name string) string { return "locks/" + name + ".json" }

// put writes the lock: onto the version with this tag or, without one, only
// where there is none.
func (l *Locker) put(ctx context.Context, rec record, tag string) (storage.Object, error) {
	body, err := json.MarshalIndent(rec, "", "  ")
	if err != nil {
		return storage.Object{}, err
	}
	return l.store.Put(ctx, lockKey(rec.Name), append(body, '\n'), storage.PutOptions{IfMatch: tag, IfAbsent: tag == ""})
}

// read returns the lock and its tag. The tag is the older of the two, should
// the lock change in between: a put on condition of it then fails.
//
// A lock that is damaged is nobody's: it counts as one whose holder is unknown
// and has to be watched.
func (l *Locker) read(ctx context.Context, name string) (*record, string, error) {
	o, err := l.store.Stat(ctx, lockKey(name))
	if err != nil {
		return nil, "", fmt.Errorf("read the lock: %w", err)
	}
	body, err := storage.ReadAll(ctx, l.store, lockKey(name))
	if err != nil {
		return nil, "", fmt.Errorf("read the lock: %w", err)
	}
	var rec record
	if err := json.Unmarshal(body, &rec); err != nil || rec.TTL <= 0 {
		rec = record{Purpose: "somebody unknown (the lock's object is damaged)", TTL: l.opt.TTL.Seconds(), Since: o.Modified}
	}
	rec.Name, rec.seen = name, o.Modified
	return &rec, o.Tag, nil
}
