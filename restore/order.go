package restore

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// Later returns the restores that put another database into the same one's
// place after run did, and were not undone: what has to be undone before run
// can be. The newest is first.
func Later(ctx context.Context, j jobs.Journal, run *jobs.Run) ([]*jobs.Run, error) {
	asked, err := RequestOf(run)
	began := swapBegan(run)
	if err != nil || began.IsZero() {
		return nil, err
	}
	var later []*jobs.Run
	for other, err := range j.Runs(ctx, run.Homeserver, JobName) {
		if other == nil && err != nil {
			return nil, fmt.Errorf("look for restores after %s: %w", run.RunID, err)
		}
		if err != nil || other.RunID == run.RunID || has(other, undone) || !swapBegan(other).After(began) {
			continue // one that can't be read is reported by what works on it
		}
		if its, err := RequestOf(other); err == nil && its.Live == asked.Live {
			later = append(later, other)
		}
	}
	slices.SortStableFunc(later, func(a, b *jobs.Run) int { return swapBegan(b).Compare(swapBegan(a)) })
	return later, nil
}

// swapBegan is when a run's swap began; zero: it did not.
func swapBegan(run *jobs.Run) time.Time {
	if r := record(run, swap); r != nil {
		return r.Started
	}
	return time.Time{}
}

// obstacle is what keeps a restore from being undone: later ones.
type obstacle struct {
	says  string   // empty: nothing does
	first []string // commands that clear it, in this order; none: it can't be cleared
}

func (o obstacle) String() string {
	if len(o.first) == 0 {
		return o.says
	}
	return o.says + ": first " + strings.Join(o.first, ", then ")
}

// blocks says whether it is there to stay: no command clears it.
func (o obstacle) blocks() bool { return o.says != "" && len(o.first) == 0 }

// byHand is the way back to a database that no command goes.
func byHand(done synapse.Swap) string {
	return fmt.Sprintf("%s is still there: to go back to it, rename %s aside and it to %s by hand (ALTER DATABASE … RENAME TO …)",
		done.OldName, done.Live, done.Live)
}

// inTheWay finds it among the restores that came later.
func inTheWay(later []*jobs.Run) obstacle {
	var o obstacle
	for _, run := range later {
		name := run.RunID.String()
		s, swapped, err := swapOf(run)
		switch {
		case err != nil || !swapped:
			return obstacle{"the newer " + name + " has not ended", []string{"restore resume " + name}}
		case has(run, dropped):
			return obstacle{says: "the newer " + name + " came after it, and what was live before that was dropped"}
		case s.OldOID == 0:
			return obstacle{says: "the newer " + name + " replaced the database, and kept none to go back to"}
		}
		o.first = append(o.first, "restore undo "+name)
	}
	if len(later) > 0 {
		o.says = "the newer " + later[0].RunID.String() + " came after it"
	}
	return o
}
