package jobs_test

import (
	"math"
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

func TestSize(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0:                       "0 B",
		1:                       "1 B",
		1023:                    "1023 B",
		1024:                    "1.0 KiB",
		1536:                    "1.5 KiB",
		99*1024 + 1000:          "100 KiB",
		1000 * 1024:             "1.0 MiB",
		8 << 20:                 "8.0 MiB",
		256 << 20:               "256 MiB",
		1<<30 + 1<<28 - 50<<20:  "1.2 GiB",
		3 << 40:                 "3.0 TiB",
		math.MaxInt64:           "8.0 EiB",
		-1:                      "-1 B",
		-(5 << 20):              "-5.0 MiB",
		math.MinInt64:           "-8.0 EiB",
		1<<30 - 1:               "1.0 GiB",
		999*1024*1024 + 700<<10: "1.0 GiB",
	} {
		if got := jobs.Size(n); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
}
