package jobs_test

import (
	"testing"

	"github.com/synapse-maint/synapse-maint/jobs"
)

func TestCount(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		n    int64
		noun string
		want string
	}{
		{0, "row", "0 rows"}, {1, "pack", "1 pack"}, {999, "", "999"}, {1000, "row", "1,000 rows"}, {-1234567, "", "-1,234,567"}, {-999, "", "-999"},
	} {
		if got := jobs.Count(c.n, c.noun); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
