package prune_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs/prune"
)

// noon is noon of a day so many days ago; day 0 is Wednesday, 2026-11-25.
func noon(ago int) time.Time {
	return time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC).AddDate(0, 0, -ago)
}

// nights are good points of everything, one a day, the newest today; named by
// how many days ago they were taken.
func nights(n int) []prune.Candidate {
	var all []prune.Candidate
	for ago := range n {
		all = append(all, night(ago, true, "database", "media"))
	}
	return all
}

func night(ago int, good bool, parts ...string) prune.Candidate {
	return prune.Candidate{ID: fmt.Sprint(ago), Taken: noon(ago), Good: good, Parts: parts}
}

// kept are the IDs of the points that stay, newest first.
func kept(points []prune.Candidate, p prune.Policy) string {
	var ids []string
	for _, c := range slices.Backward(prune.Choose(points, p)) {
		if c.Keep {
			ids = append(ids, c.ID)
		}
	}
	return strings.Join(ids, " ")
}

func TestPolicyKeeps(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		policy prune.Policy
		points []prune.Candidate
		want   string
	}{
		{"the last", prune.Policy{Last: 3}, nights(9), "0 1 2"},
		{"days", prune.Policy{Daily: 2}, append(nights(4), prune.Candidate{ID: "evening", Taken: noon(1).Add(8 * time.Hour), Good: true, Parts: []string{"database", "media"}}), "0 evening"},
		{"hours", prune.Policy{Hourly: 2}, append(nights(1), prune.Candidate{ID: "minute", Taken: noon(0).Add(time.Minute), Good: true, Parts: []string{"media"}}, night(1, true, "database")), "minute 0 1"},
		{"weeks end on Sunday", prune.Policy{Weekly: 2}, nights(9), "0 3"},
		{"the same week of two years", prune.Policy{Weekly: 2}, []prune.Candidate{night(0, true, "media"), night(364, true, "media")}, "0 364"},
		{"the same month of two years", prune.Policy{Monthly: 2}, []prune.Candidate{night(0, true, "media"), night(365, true, "media")}, "0 365"},
		{"months", prune.Policy{Monthly: 2}, nights(40), "0 25"},
		{"years", prune.Policy{Yearly: 3}, nights(800), "0 329 694"},
		{"rules together", prune.Policy{Last: 1, Daily: 3, Weekly: 2, Monthly: 2}, nights(40), "0 1 2 3 25"},
		{"more than there are", prune.Policy{Daily: 30}, nights(3), "0 1 2"},
		{"days without points don't count", prune.Policy{Daily: 2}, []prune.Candidate{night(0, true, "database"), night(100, true, "database"), night(200, true, "database")}, "0 100"},
	} {
		if got := kept(c.points, c.policy); got != c.want {
			t.Errorf("%s: kept %s, want %s", c.name, got, c.want)
		}
	}
}

// Days, weeks, months and years end at midnight in UTC, whatever zone a time is
// written in; and a week is one also where it is of two years.
func TestPolicyKnowsNoZonesAndWeeksOfTwoYears(t *testing.T) {
	t.Parallel()
	at := func(times ...string) (points []prune.Candidate) {
		for _, text := range times {
			taken, err := time.Parse("2006-01-02T15:04Z07:00", text)
			if err != nil {
				t.Fatal(err)
			}
			points = append(points, prune.Candidate{ID: text[:10], Taken: taken, Good: true, Parts: []string{"database"}})
		}
		return points
	}
	turn := at("2027-01-04T12:00Z", "2027-01-03T12:00Z", "2027-01-01T12:00Z", "2026-12-31T12:00Z", "2026-12-28T12:00Z", "2026-12-27T12:00Z")
	for _, c := range []struct {
		name   string
		policy prune.Policy
		points []prune.Candidate
		want   string
	}{
		{"weeks at the turn of the year", prune.Policy{Weekly: 3}, turn, "2027-01-04 2027-01-03 2026-12-27"},
		{"months there", prune.Policy{Monthly: 3}, turn, "2027-01-04 2026-12-31"},
		{"years there", prune.Policy{Yearly: 3}, turn, "2027-01-04 2026-12-31"},
		{"a day", prune.Policy{Daily: 2}, at("2026-11-26T01:30+02:00", "2026-11-25T12:00Z", "2026-11-24T12:00Z"), "2026-11-26 2026-11-24"},
		{"a week", prune.Policy{Weekly: 2}, at("2026-11-23T01:30+02:00", "2026-11-22T12:00Z", "2026-11-15T12:00Z"), "2026-11-23 2026-11-15"},
		{"a year", prune.Policy{Yearly: 2}, at("2027-01-01T01:30+02:00", "2026-12-31T12:00Z", "2025-12-31T12:00Z"), "2027-01-01 2025-12-31"},
	} {
		if got := kept(c.points, c.policy); got != c.want {
			t.Errorf("%s: kept %s, want %s", c.name, got, c.want)
		}
	}
}

// A failed dump of 0 bytes counted as a backup, and pushed the good ones out
// (Skyfay/DBackup#154); here a point that is damaged or was never whole.
func TestDamagedPointsPushNoGoodOneOut(t *testing.T) {
	t.Parallel()
	points := []prune.Candidate{
		night(0, false, "database", "media"), night(1, false, "database", "media"),
		night(2, true, "database", "media"), night(3, true, "database", "media"), night(4, true, "database", "media"), night(5, false, "database", "media"),
	}
	if got := kept(points, prune.Policy{Last: 2}); got != "0 1 2 3" {
		t.Errorf("kept %s", got)
	}
}

// Retention removed everything but one constantly overwritten dump
// (solectrus/postgres-s3-backup#3), and the newest after an upgrade (wal-g#636).
func TestNewestGoodPointOfEachPartStays(t *testing.T) {
	t.Parallel()
	points := []prune.Candidate{
		night(0, true, "database"), night(1, true, "database"), night(2, true, "database", "media"), night(3, true, "database", "media", "secrets"), night(4, true, "database", "media", "secrets"),
	}
	if got := kept(points, prune.Policy{Last: 1}); got != "0 2 3" {
		t.Errorf("kept %s", got)
	}
	if got := kept(points, prune.Policy{}); got != "0 2 3" {
		t.Errorf("without a rule: kept %s", got)
	}
}

// A damaged pack that all points need: none is good, and each may be the one
// that has what can still be saved.
func TestDamagedPointsStayWhileNoneIsGood(t *testing.T) {
	t.Parallel()
	points := []prune.Candidate{
		night(0, true, "database"), night(1, false, "database", "media"), night(2, false, "media"), night(3, false, "database"), night(4, true, "database"),
	}
	if got := kept(points, prune.Policy{Last: 1}); got != "0 1 2" {
		t.Errorf("kept %s", got)
	}
	if why := prune.Choose(points, prune.Policy{Last: 1})[2].Why[0]; why != "no good point has media" {
		t.Errorf("kept because %q", why)
	}
	points = append(points, night(-1, true, "media"))
	if got := kept(points, prune.Policy{Last: 1}); got != "-1 0" {
		t.Errorf("with a good one: kept %s", got)
	}
}

// Whatever the points are, a good one of each part that has one stays, and
// more time never brings an older point back.
func TestPolicyNeverDropsTheLastGoodOne(t *testing.T) {
	t.Parallel()
	for seed := range 200 {
		var points []prune.Candidate
		has := map[string]bool{}
		for i := range 12 {
			bits := (seed*31 + i*17) % 16
			var parts []string
			for b, part := range []string{"database", "media", "secrets"} {
				if bits>>b&1 == 1 {
					parts = append(parts, part)
				}
			}
			c := night(i, bits < 11, parts...)
			points = append(points, c)
			for _, part := range parts {
				has[part] = has[part] || c.Good
			}
		}
		policy := prune.Policy{Last: seed % 3, Daily: seed % 4, Weekly: seed % 2}
		for _, c := range prune.Choose(points, policy) {
			at := slices.IndexFunc(points, func(p prune.Candidate) bool { return p.ID == c.ID })
			if c.Keep && points[at].Good {
				for _, part := range points[at].Parts {
					delete(has, part)
				}
			}
			if len(c.Why) == 0 {
				t.Errorf("seed %d: %s without a reason", seed, c.ID)
			}
		}
		for part, was := range has {
			if was {
				t.Errorf("seed %d: no good point with %s stays", seed, part)
			}
		}
	}
}

func TestReasonsAreTheRules(t *testing.T) {
	t.Parallel()
	all := prune.Choose(nights(5), prune.Policy{Last: 1, Daily: 2})
	if got := strings.Join(all[4].Why, ", "); got != "last 1 of 1, daily 1 of 2" {
		t.Errorf("the newest stays because of %q", got)
	}
	if all[0].Keep || all[0].Why[0] != "no rule wants it" {
		t.Errorf("%+v", all[0])
	}
}

func TestPolicyThatKeepsNothingIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		policy prune.Policy
		want   string
	}{
		{prune.Policy{}, "a good start is --keep-daily 7"},
		{prune.Policy{Last: 3, Weekly: -1}, "keep-weekly -1"},
		{prune.Policy{Yearly: 1}, ""},
	} {
		if err := c.policy.Check(); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.policy, err, c.want)
		}
	}
}
