package prune

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// Policy says how many recovery points are kept: the newest Last, and the newest
// of each of so many hours, days, weeks (ISO 8601), months and years, in UTC,
// that have one. The zero policy is none.
type Policy struct {
	Last    int `json:"last,omitempty"`
	Hourly  int `json:"hourly,omitempty"`
	Daily   int `json:"daily,omitempty"`
	Weekly  int `json:"weekly,omitempty"`
	Monthly int `json:"monthly,omitempty"`
	Yearly  int `json:"yearly,omitempty"`
}

// rule is a number of a policy, with what makes two points the same for it.
type rule struct {
	name   string
	keep   int
	bucket func(time.Time) string // nil: every point is one
}

func (p Policy) rules() []rule {
	format := func(layout string) func(time.Time) string {
		return func(t time.Time) string { return t.UTC().Format(layout) }
	}
	week := func(t time.Time) string {
		year, week := t.UTC().ISOWeek()
		return fmt.Sprintf("%d-%d", year, week)
	}
	return []rule{
		{"last", p.Last, nil},
		{"hourly", p.Hourly, format("2006-01-02 15")},
		{"daily", p.Daily, format("2006-01-02")},
		{"weekly", p.Weekly, week},
		{"monthly", p.Monthly, format("2006-01")},
		{"yearly", p.Yearly, format("2006")},
	}
}

// Check refuses a policy that keeps nothing, or less.
func (p Policy) Check() error {
	sum := 0
	for _, r := range p.rules() {
		if r.keep < 0 {
			return fmt.Errorf("retention: keep-%s %d: it can't be negative", r.name, r.keep)
		}
		sum += r.keep
	}
	if sum == 0 {
		return fmt.Errorf("retention: nothing says how many points to keep: a good start is --keep-daily 7 --keep-weekly 4 --keep-monthly 6")
	}
	return nil
}

// String is the policy as flags.
func (p Policy) String() string {
	var parts []string
	for _, r := range p.rules() {
		if r.keep > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", r.keep, r.name))
		}
	}
	return strings.Join(parts, ", ")
}

// Candidate is a point as the policy sees it.
type Candidate struct {
	ID    string
	Taken time.Time
	Parts []string // that it has
	// Good says that a check has just found all of it there, and none has found
	// it damaged. Only good points count.
	Good bool
	// MediaLost is how many of the homeserver's media files were lost or could
	// not be read already when it was taken.
	MediaLost   int64
	Secrets     []string // files that it has
	SecretsLost []string // files and folders that should have been among these
}

// Choice is what becomes of a point.
type Choice struct {
	ID    string    `json:"id"`
	Taken time.Time `json:"taken"`
	Keep  bool      `json:"keep"`
	Why   []string  `json:"why"` // it is kept: the rules, or what else
}

// Choose says what becomes of each point, oldest first. A point is kept if a
// rule wants it for any of its parts: a night without media does not take the
// place of one that has them. Points that are not good never count, so that they
// push no good one out; they go when they would go if they were good, unless no
// good point has one of their parts: then what they still hold may be all there
// is. The newest good point of each part stays whatever the policy says, and, while
// that does not have all of the part, the newest that has more of it.
func Choose(points []Candidate, p Policy) []Choice {
	points = slices.Clone(points)
	slices.SortStableFunc(points, func(a, b Candidate) int { return b.Taken.Compare(a.Taken) })
	good := slices.DeleteFunc(slices.Clone(points), func(c Candidate) bool { return !c.Good })
	wanted, asIfGood := p.wanted(good), p.wanted(points)
	var all []Choice
	for _, c := range slices.Backward(points) {
		choice := Choice{ID: c.ID, Taken: c.Taken, Why: wanted[c.ID]}
		if !c.Good && len(asIfGood[c.ID]) > 0 {
			choice.Why = []string{"not verified as good: kept, and not counted"}
		}
		if lone := missing(good, c.Parts); len(choice.Why) == 0 && len(lone) > 0 {
			choice.Why = []string{"no good point has " + strings.Join(lone, ", ")}
		}
		choice.Keep = len(choice.Why) > 0
		if !choice.Keep {
			choice.Why = []string{"no rule wants it"}
		}
		all = append(all, choice)
	}
	return all
}

// missing returns those of the parts that no point has.
func missing(points []Candidate, parts []string) (lone []string) {
	for _, part := range parts {
		if !slices.ContainsFunc(points, func(c Candidate) bool { return slices.Contains(c.Parts, part) }) {
			lone = append(lone, part)
		}
	}
	return lone
}

// wanted returns the reasons to keep each point of a list, newest first.
func (p Policy) wanted(points []Candidate) map[string][]string {
	why := map[string][]string{}
	for _, part := range []string{archive.PartDatabase, archive.PartMedia, archive.PartSecrets} {
		having := slices.DeleteFunc(slices.Clone(points), func(c Candidate) bool { return !slices.Contains(c.Parts, part) })
		for _, r := range p.rules() {
			r.want(having, why)
		}
		if len(having) > 0 && len(why[having[0].ID]) == 0 {
			why[having[0].ID] = []string{"the newest good one with " + part}
		}
		keepFuller(part, having, why)
	}
	return why
}

// want notes the points of a list, newest first, that the rule keeps.
func (r rule) want(points []Candidate, why map[string][]string) {
	n, last := 0, ""
	for i, c := range points {
		if n == r.keep {
			return
		}
		bucket := fmt.Sprint(i)
		if r.bucket != nil {
			bucket = r.bucket(c.Taken)
		}
		if bucket == last {
			continue
		}
		n, last = n+1, bucket
		reason := fmt.Sprintf("%s %d of %d", r.name, n, r.keep)
		if !slices.Contains(why[c.ID], reason) && !slices.ContainsFunc(why[c.ID], func(s string) bool { return strings.HasPrefix(s, r.name+" ") }) {
			why[c.ID] = append(why[c.ID], reason)
		}
	}
}
