package progress

import (
	"fmt"
	"math"
	"time"
)

// Duration is how long something takes, in at most two units: "3 m 20 s". Below
// 10 s it has tenths.
func Duration(d time.Duration) string {
	d = max(d, 0)
	if tenths := math.Round(d.Seconds() * 10); tenths < 100 {
		return fmt.Sprintf("%.1f s", tenths/10)
	}
	s := int64(d.Round(time.Second) / time.Second)
	const minute, hour, day = 60, 3600, 86400
	switch {
	case s < minute:
		return fmt.Sprintf("%d s", s)
	case s < hour:
		return fmt.Sprintf("%d m %d s", s/minute, s%minute)
	case s < 2*day:
		return fmt.Sprintf("%d h %d m", s/hour, s%hour/minute)
	default:
		return fmt.Sprintf("%d d %d h", s/day, s%day/hour)
	}
}

// Age is how long ago something was, in one unit, rounded down: "2 days". What
// another machine's clock puts into the future is "0 seconds".
func Age(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return units(max(d, 0)/time.Second, "second")
	case d < time.Hour:
		return units(d/time.Minute, "minute")
	case d < day:
		return units(d/time.Hour, "hour")
	default:
		return units(d/day, "day")
	}
}

func units(n time.Duration, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
