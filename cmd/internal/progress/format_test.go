package progress

import (
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Second:                 "0.0 s",
		0:                            "0.0 s",
		340 * time.Millisecond:       "0.3 s",
		9940 * time.Millisecond:      "9.9 s",
		9960 * time.Millisecond:      "10 s",
		59 * time.Second:             "59 s",
		59600 * time.Millisecond:     "1 m 0 s",
		200 * time.Second:            "3 m 20 s",
		time.Hour - time.Second:      "59 m 59 s",
		time.Hour:                    "1 h 0 m",
		47*time.Hour + time.Minute:   "47 h 1 m",
		50 * time.Hour:               "2 d 2 h",
		400*24*time.Hour + time.Hour: "400 d 1 h",
	} {
		if got := Duration(d); got != want {
			t.Errorf("Duration(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestAge(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Hour:                 "0 seconds", // the other machine's clock is ahead
		0:                          "0 seconds",
		time.Second:                "1 second",
		59 * time.Second:           "59 seconds",
		time.Minute:                "1 minute",
		119 * time.Minute:          "1 hour",
		23*time.Hour + time.Minute: "23 hours",
		24 * time.Hour:             "1 day",
		48 * time.Hour:             "2 days",
		800 * 24 * time.Hour:       "800 days",
	} {
		if got := Age(d); got != want {
			t.Errorf("Age(%s) = %q, want %q", d, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	got := Table([]string{"POINT", ">SIZE", "VERIFIED"}, [][]string{
		{"20261125T020000Z", "1.2 GiB", "2 hours ago"},
		{"été", "12 B", ""},
	})
	want := `POINT                SIZE  VERIFIED
20261125T020000Z  1.2 GiB  2 hours ago
été                  12 B
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
