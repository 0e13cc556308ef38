package prune

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// refuseByTime says why the times of the points, newest last, are a reason to
// delete nothing: the clock here may be wrong. A point of the future that is to
// go was taken by a clock that was: those that stay have to bear that out.
func (j *Job) refuseByTime(points []archive.Point) error {
	now := j.opt.Now()
	named := func(p archive.Point) bool { return slices.Contains(j.opt.Drop, p.ID) }
	for _, p := range points {
		switch future := p.OfFuture(now); {
		case named(p) && !future:
			return fmt.Errorf("nothing was deleted: point %s is not of the future, and --drop is for those: what else goes, the --keep rules say", p.ID)
		case future && !named(p):
			return fmt.Errorf("nothing was deleted: it is %s here, and point %s is of the future. If the clock here is wrong, set it; if it was wrong when that point was taken, --drop %s removes it",
				now.UTC().Format(time.RFC3339), p.ID, p.ID)
		}
	}
	points = slices.DeleteFunc(slices.Clone(points), named)
	if len(points) == 0 {
		return fmt.Errorf("nothing was deleted: there are no points but those of the future: take a backup first")
	}
	if age := now.Sub(points[len(points)-1].Taken); age > stale && !j.opt.Despite {
		return fmt.Errorf("nothing is pruned: the newest point is %d days old: either backups don't run or the clock is wrong (--despite-failures prunes all the same)", int(age.Hours()/24))
	}
	return nil
}

// chooseNamed drops the named points and no other, unless a part of theirs is in
// no good point that stays.
func chooseNamed(points []Candidate, drop []string) ([]Choice, error) {
	named := func(c Candidate) bool { return slices.Contains(drop, c.ID) }
	good := slices.DeleteFunc(slices.Clone(points), func(c Candidate) bool { return !c.Good || named(c) })
	var all []Choice
	for _, c := range points {
		if !named(c) {
			all = append(all, Choice{ID: c.ID, Taken: c.Taken, Keep: true, Why: []string{"not named"}})
			continue
		}
		if lone := missing(good, c.Parts); len(lone) > 0 {
			return nil, fmt.Errorf("nothing was deleted: no other good point has %s, as %s has: take a backup first", strings.Join(lone, ", "), c.ID)
		}
		all = append(all, Choice{ID: c.ID, Taken: c.Taken, Why: []string{"of the future, and named by --drop"}})
	}
	return all, nil
}
