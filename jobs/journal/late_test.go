package journal_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/journal"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

// Who watches sees the put; its holder, the answer. A lock is as old as the
// former, however late the latter comes.
func TestALockIsNoYoungerThanItsPut(t *testing.T) {
	for name, c := range map[string]struct {
		over bool          // the lock of one that is dead is taken over
		beat bool          // the put is that of a heartbeat
		late time.Duration // its answer
	}{
		"new":                          {late: 15 * time.Second},
		"new, and later than it lasts": {late: 50 * time.Second},
		"taken over":                   {late: 15 * time.Second, over: true},
		"taken over, later than that":  {late: 50 * time.Second, over: true},
		"heartbeat":                    {late: 15 * time.Second, beat: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &gate{Store: mem.New()}
				if c.over {
					dead(t, s, func(rec map[string]any) { goneHere(rec, 1<<30, "1") })
				}
				if !c.beat {
					s.answerLate(c.late)
				}
				put := time.Now()
				held, release := mustLock(t, journal.NewLocker(s, journal.Options{}))
				if c.beat {
					s.answerLate(c.late)
					put = put.Add(journal.TTL / 3)
					time.Sleep(time.Until(put) + time.Second) // it is done, and not answered
				}
				s.block()
				<-held.Done()
				if d := time.Since(put); d > max(journal.TTL*2/3, c.late) {
					t.Errorf("held for %s after the put", d)
				}
				if cause := context.Cause(held); !errors.Is(cause, jobs.ErrLockLost) {
					t.Error(cause)
				}
				s.open()
				release()
			})
		})
	}
}

// A store may make tags of what an object holds: a heartbeat that is like one
// whose answer was lost would be seen by nobody.
func TestAHeartbeatIsLikeNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &gate{Store: mem.New()}
		_, release := mustLock(t, journal.NewLocker(s, journal.Options{}))
		defer release()
		s.loseAnswer()
		time.Sleep(journal.TTL/3 + time.Second)
		lost := lockOf(t, s)
		time.Sleep(journal.TTL / 20)
		if got := lockOf(t, s); got == lost {
			t.Errorf("the heartbeat after it is the one whose answer was lost: %s", got)
		}
	})
}

func lockOf(t *testing.T, s storage.Store) string {
	t.Helper()
	body, err := storage.ReadAll(t.Context(), s, object)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
