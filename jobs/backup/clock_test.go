package backup_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

// One night with the clock a year ahead: every restore would bring back that
// night, and nobody would know for a year.
func TestPointOfTheFutureIsWarnedOf(t *testing.T) {
	t.Parallel()
	s := mem.New()
	initArchive(t, s, keys{})
	first, ahead, tonight := newScripted(1, 0, 5000), newScripted(2, 0, 9), newScripted(3, 0, 9)
	ahead.taken = time.Now().AddDate(1, 0, 0)
	mustTake(t, s, keys{}, first, 2)
	mustTake(t, s, keys{}, ahead, 3)
	r := mustTake(t, s, keys{}, tonight, 4)
	text := strings.Join(r.Warnings, "\n")
	if !strings.Contains(text, "is of the future") || !strings.Contains(text, "prune --drop "+ahead.taken.UTC().Format("20060102T150405Z")) {
		t.Errorf("%q", r.Warnings)
	}
	if !strings.Contains(text, "the database had 5,000 rows in the point of") { // what it is compared with is the night before
		t.Errorf("%q", r.Warnings)
	}
	if list := points(t, s, keys{}); len(list) != 3 || list[1].Run != id(4).String() {
		t.Errorf("%d points", len(list))
	}
}

// Where the clock was ahead by less than a point can be told by, that point is
// the latest still.
func TestPointThatIsNotTheNewestIsWarnedOf(t *testing.T) {
	t.Parallel()
	s := mem.New()
	initArchive(t, s, keys{})
	mustTake(t, s, keys{}, newScripted(2, 0, 9), 2)
	if r := mustTake(t, s, keys{}, newScripted(1, 0, 9), 3); len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "after this one: it stays the latest") {
		t.Errorf("%q", r.Warnings)
	}
}

// otherClock is a store whose clock is off by so much.
type otherClock struct {
	storage.Store
	off time.Duration
}

func (s otherClock) Stat(ctx context.Context, key string) (storage.Object, error) {
	o, err := s.Store.Stat(ctx, key)
	o.Modified = o.Modified.Add(s.off)
	return o, err
}

func TestClockThatIsNotTheStoresIsWarnedOf(t *testing.T) {
	t.Parallel()
	for off, want := range map[time.Duration]bool{0: false, 9 * time.Minute: false, 11 * time.Minute: true, -24 * time.Hour: true} {
		s := otherClock{mem.New(), off}
		initArchive(t, s, keys{})
		r := mustTake(t, s, keys{}, newScripted(1, 0, 9), 2)
		if text := strings.Join(r.Warnings, "\n"); strings.Contains(text, "for the store and") != want || len(r.Warnings) > 1 {
			t.Errorf("%s: %q", off, r.Warnings)
		}
	}
}
