package journal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/storage"
)

// TTL is for how long a lock outlives its holder's last heartbeat, unless told
// otherwise.
const TTL = 60 * time.Second

// Options are a locker's; the zero value is good.
type Options struct {
	// TTL is for how long a lock outlives its holder's last heartbeat; 0 is
	// [TTL]. Heartbeats come every third of it. A holder that could not beat for
	// two thirds of it stops working.
	TTL time.Duration
	// Wait is how long Lock waits for a holder to give the lock back. With 0
	// it does not wait for one that is alive.
	Wait time.Duration
	// Waiting is told once that Lock begins to wait, and for whom; may be nil.
	Waiting func(holder string)
	Log     *slog.Logger     // nil: nothing is logged
	Now     func() time.Time // for the record only; nil: time.Now
}

// Locker implements [jobs.Locker] with one object a lock. Use [NewLocker].
//
// The lock is taken by a put on condition that it is absent, and from then on
// changed by puts on condition that it is as it was seen: by its holder, who
// counts a heartbeat up in it and at last marks it as released, and by who
// takes it over. So of any two, however late their requests arrive, one loses
// and learns it.
//
// A holder is dead if it was a process of this very machine and boot that is
// gone; or if the object did not change for a whole TTL, by the monotonic clock
// of the one who watches it. No two machines' clocks are compared.
//
// The run of a holder whose lock was taken over is marked as interrupted in the
// journal, which is in the same store.
//
// A lock that is given back stays, marked as released, and is never deleted:
// between looking whose it is and deleting it, it could be taken by another.
type Locker struct {
	store storage.Store
	opt   Options
	self  process
}

// NewLocker returns a locker whose locks are in s.
func NewLocker(s storage.Store, o Options) *Locker {
	if o.TTL <= 0 {
		o.TTL = TTL
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Locker{store: s, opt: o, self: thisProcess()}
}

// record is the lock's object. Stored data. No two are alike, also where the
// store makes tags from content.
type record struct {
	Name     string    `json:"name"`
	Owner    string    `json:"owner"` // random, one a Lock
	Process  process   `json:"process"`
	Purpose  string    `json:"purpose"`
	Since    time.Time `json:"since"`
	Beat     int64     `json:"beat"` // counts heartbeats
	TTL      float64   `json:"ttl"`  // seconds
	Released bool      `json:"released,omitempty"`

	seen time.Time // when it was written last, by the store's clock
}

func (r *record) ttl() time.Duration {
	return time.Duration(r.TTL * float64(time.Second))
}

// Lock implements [jobs.Locker]. Where the last heartbeat of another holder is
// older than its TTL by the store's clock, Lock watches for a TTL whether
// there comes one, and then takes the lock over. ErrLocked names a holder that
// is alive.
func (l *Locker) Lock(ctx context.Context, name, purpose string) (context.Context, func() error, error) {
	rec := record{
		Name: name, Owner: rand.Text(), Process: l.self, Purpose: purpose,
		Since: l.opt.Now().UTC().Truncate(time.Second), TTL: l.opt.TTL.Seconds(),
	}
	asked := time.Now()
	for {
		began := time.Now()
		o, err := l.put(ctx, rec, "")
		if err == nil {
			held, release := l.hold(ctx, rec, o.Tag, began)
			return held, release, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, nil, fmt.Errorf("lock %s: %w", name, err)
		}
		last, tag, err := l.free(ctx, name, asked)
		if err != nil {
			return nil, nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if tag == "" {
			continue // gone, or changed: look again
		}
		began = time.Now()
		o, err = l.put(ctx, rec, tag)
		if err == nil {
			held, release := l.hold(ctx, rec, o.Tag, began)
			l.bury(held, last, &rec)
			return held, release, nil
		}
		if !errors.Is(err, storage.ErrChanged) {
			return nil, nil, fmt.Errorf("lock %s: %w", name, err)
		}
		// Another was faster.
	}
}

// free returns the lock and its tag as it can be taken from, waiting as long as
// it may; an empty tag if the lock is gone. ErrLocked if its holder is alive.
func (l *Locker) free(ctx context.Context, name string, asked time.Time) (*record, string, error) {
	var w watch
	told := l.opt.Waiting == nil
	for {
		rec, tag, err := l.read(ctx, name)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, "", nil
		}
		if err != nil {
			return nil, "", err
		}
		w.see(tag)
		switch {
		case rec.Released:
			return rec, tag, nil
		case rec.Process.gone(l.self):
			l.opt.Log.WarnContext(ctx, "taking over the lock of a process that is gone", "lock", name, "holder", rec.holder())
			return rec, tag, nil
		case w.unchanged() >= rec.ttl():
			l.opt.Log.WarnContext(ctx, "taking over the lock of a holder without heartbeat", "lock", name, "holder", rec.holder(), "ttl", rec.ttl())
			return rec, tag, nil
		}
		if time.Since(asked) >= l.opt.Wait {
			silent, err := w.silent(ctx, l, rec)
			if err != nil {
				return nil, "", err
			}
			if !silent {
				return nil, "", rec.locked(w.age)
			}
		}
		if !told {
			l.opt.Waiting(rec.holder())
			told = true
		}
		if err := sleep(ctx, max(rec.ttl()/12, time.Millisecond)); err != nil {
			return nil, "", err
		}
	}
}

// locked is the error that names the holder, and says when it will be held for
// dead. age is that of its last heartbeat.
func (r *record) locked(age time.Duration) error {
	age = min(max(age, 0), r.ttl())
	return fmt.Errorf("%w: %s; its last heartbeat was %.0f s ago: without another one the lock can be taken over in %.0f s (see --wait)",
		jobs.ErrLocked, r.holder(), age.Seconds(), (r.ttl() - age).Seconds())
}

func (r *record) holder() string {
	return fmt.Sprintf("%s on %s (pid %d) since %s", r.Purpose, r.Process.Host, r.Process.PID, r.Since.UTC().Format("2006-01-02 15:04:05 UTC"))
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
