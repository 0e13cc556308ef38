package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/storage"
)

// releaseTime is how long giving the lock back may take.
const releaseTime = 15 * time.Second

// holding is a lock that is held.
type holding struct {
	*Locker
	rec    record
	tag    string
	beaten time.Time // when the last put that is known to have succeeded began
	end    context.CancelCauseFunc
}

// hold beats until it is told to release. began is when the put that took the
// lock was begun: not later than when it was taken.
func (l *Locker) hold(ctx context.Context, rec record, tag string, began time.Time) (context.Context, func() error) {
	held, end := context.WithCancelCause(ctx)
	h := &holding{Locker: l, rec: rec, tag: tag, beaten: began, end: end}
	// The heart goes on after ctx, until the work was put in order.
	alive, stop := context.WithCancel(context.WithoutCancel(ctx))
	var heart sync.WaitGroup
	heart.Go(func() { h.live(alive) })
	release := sync.OnceValue(func() error {
		stop()
		heart.Wait()
		defer end(context.Canceled)
		last, done := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
		defer done()
		return h.release(last)
	})
	return held, release
}

// live beats every third of the TTL, until ctx ends or the lock is lost.
func (h *holding) live(ctx context.Context) {
	pause := h.due()
	for sleep(ctx, pause) == nil {
		err := h.beat(ctx)
		switch {
		case err == nil:
			pause = h.due()
		case ctx.Err() != nil:
			return
		case errors.Is(err, jobs.ErrStale):
			h.lose(ctx, err)
			return
		case time.Since(h.beaten) >= h.deadline():
			h.lose(ctx, fmt.Errorf("%w: %s could not be renewed for %s: %w", jobs.ErrLockLost, h.rec.Name, h.deadline(), err))
			return
		default:
			h.opt.Log.WarnContext(ctx, "heartbeat of the lock not written, trying again", "lock", h.rec.Name, "error", err)
			pause = h.opt.TTL / 20
		}
	}
}

// due is in how long the next heartbeat is: it counts from the last put, as who
// watches does, for the answer may have come late.
func (h *holding) due() time.Duration { return h.opt.TTL/3 - time.Since(h.beaten) }

// deadline is for how long the lock is ours after a heartbeat. What is left
// until the TTL ends is for stopping.
func (h *holding) deadline() time.Duration { return h.opt.TTL * 2 / 3 }

func (h *holding) lose(ctx context.Context, err error) {
	h.opt.Log.ErrorContext(ctx, "lock lost, stopping", "lock", h.rec.Name, "error", err)
	h.end(err)
}

// beat renews the lock. It returns ErrStale if it is another's, and gives up
// when it would be too late.
func (h *holding) beat(ctx context.Context) error {
	ctx, stop := context.WithDeadline(ctx, h.beaten.Add(h.deadline()))
	defer stop()
	rec := h.rec
	rec.Beat++
	return h.write(ctx, rec)
}

func (h *holding) release(ctx context.Context) error {
	rec := h.rec
	rec.Beat++
	rec.Released = true
	err := h.write(ctx, rec)
	if err != nil && !errors.Is(err, jobs.ErrStale) {
		err = h.write(ctx, rec) // the answer may have been lost: then it finds that it is done
	}
	if err != nil {
		return fmt.Errorf("release the lock %s: %w", h.rec.Name, err)
	}
	return nil
}

// write replaces our record. A put whose answer never came may have succeeded:
// then the object is ours still, with a tag that we did not know.
func (h *holding) write(ctx context.Context, rec record) error {
	for range 3 {
		began := time.Now()
		o, err := h.put(ctx, rec, h.tag)
		if err == nil {
			h.rec, h.tag, h.beaten = rec, o.Tag, began
			return nil
		}
		if !errors.Is(err, storage.ErrChanged) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		now, tag, err := h.read(ctx, rec.Name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%w: the lock %s was removed", jobs.ErrStale, rec.Name)
		case err != nil:
			return err
		case now.Owner != rec.Owner:
			return fmt.Errorf("%w: %s has the lock now", jobs.ErrStale, now.holder())
		}
		h.tag, rec.Beat = tag, max(rec.Beat, now.Beat+1)
	}
	return fmt.Errorf("the lock %s: %w", rec.Name, storage.ErrChanged)
}
