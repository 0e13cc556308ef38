package prune_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/jobs/prune"
)

// A disk that lost files, or a key that can't be read any more: with success
// after success, retention dropped the last point that had them
// (Skyfay/DBackup#154).
func TestPointsWithMoreOfAPartStay(t *testing.T) {
	t.Parallel()
	lost := func(ago int, files int64) prune.Candidate {
		c := night(ago, true, "database", "media")
		c.MediaLost = files
		return c
	}
	secrets := func(ago int, lost string, has ...string) prune.Candidate {
		c := night(ago, true, "database", "secrets")
		c.Secrets, c.SecretsLost = has, strings.Fields(lost)
		return c
	}
	bad := lost(2, 0)
	bad.Good = false
	for _, c := range []struct {
		name   string
		points []prune.Candidate
		want   string
		why    string // of the oldest kept
	}{
		{"media lost", []prune.Candidate{lost(0, 39), lost(1, 39), lost(2, 0), lost(3, 0)}, "0 2", "the newest with all of its media"},
		{"lost one by one", []prune.Candidate{lost(0, 9), lost(1, 8), lost(2, 5), lost(3, 4), lost(4, 3), lost(5, 2), lost(6, 1), lost(7, 1)}, "0 3 5 6", "the newest with no more than 1 media file lost"},
		{"some were always lost", []prune.Candidate{lost(0, 3), lost(1, 3), lost(2, 3)}, "0", "last 1 of 1"},
		{"found again", []prune.Candidate{lost(0, 0), lost(1, 39), lost(2, 0)}, "0", "last 1 of 1"},
		{"the whole one is damaged", []prune.Candidate{lost(0, 39), lost(1, 39), bad, lost(3, 0)}, "0 2 3", "the newest with all of its media"},
		{"not compared with a database", []prune.Candidate{lost(0, math.MaxInt64), lost(1, 1), lost(2, 1)}, "0 1", "the newest with no more than 1 media file lost"},
		{"never compared", []prune.Candidate{lost(0, math.MaxInt64), lost(1, math.MaxInt64)}, "0", "last 1 of 1"},
		{
			"a key",
			[]prune.Candidate{secrets(0, "/k /never", "/h"), secrets(1, "/k /never", "/h"), secrets(2, "/never", "/h", "/k"), secrets(3, "/never", "/h", "/k")},
			"0 2", "the newest with /k",
		},
		{"a folder", []prune.Candidate{secrets(0, "/t", "/h"), secrets(1, "", "/h", "/tx"), secrets(2, "", "/h", "/t/mail")}, "0 2", "the newest with /t"},
		{"what it names is not known", []prune.Candidate{secrets(0, "/h", "/h"), secrets(1, "", "/h", "/k")}, "0 1", "the newest with /h"},
		{"two keys, two points", []prune.Candidate{secrets(0, "/k /l", "/h"), secrets(1, "/l", "/h", "/k"), secrets(2, "/k", "/h", "/l")}, "0 1 2", "the newest with /l"},
		{"named today, and never there", []prune.Candidate{secrets(0, "/new", "/h"), secrets(1, "", "/h")}, "0", "last 1 of 1"},
		{"read again", []prune.Candidate{secrets(0, "", "/h", "/k"), secrets(1, "/k", "/h"), secrets(2, "", "/h", "/k")}, "0", "last 1 of 1"},
	} {
		if got := kept(c.points, prune.Policy{Last: 1}); got != c.want {
			t.Errorf("%s: kept %s, want %s", c.name, got, c.want)
		}
		all := prune.Choose(c.points, prune.Policy{Last: 1})
		oldest := all[slices.IndexFunc(all, func(c prune.Choice) bool { return c.Keep })]
		if !slices.Contains(oldest.Why, c.why) {
			t.Errorf("%s: %s stays because of %q, want %q", c.name, oldest.ID, oldest.Why, c.why)
		}
	}
}
