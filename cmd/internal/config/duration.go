package config

import (
	"errors"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time that is written with days (30d) and weeks (2w),
// too: 24 hours and 7 days.
type Duration time.Duration

const (
	day  = 24 * time.Hour
	week = 7 * day
)

// durationPattern is how a duration is written, for the schema.
const durationPattern = `^([0-9]+(\.[0-9]+)?(w|d|h|m|s))+$`

var (
	durationForm = regexp.MustCompile(durationPattern)
	durationPart = regexp.MustCompile(`([0-9.]+)(w|d|h|m|s)`)
	durationUnit = map[string]time.Duration{"w": week, "d": day, "h": time.Hour, "m": time.Minute, "s": time.Second}
)

// UnmarshalText reads "30d", "720h" or "1d12h".
func (d *Duration) UnmarshalText(text []byte) error {
	if !durationForm.Match(text) {
		return errors.New("a length of time is written 30d or 720h")
	}
	var sum float64
	for _, part := range durationPart.FindAllStringSubmatch(string(text), -1) {
		n, err := strconv.ParseFloat(part[1], 64)
		if err != nil {
			return err
		}
		sum += n * float64(durationUnit[part[2]])
	}
	if sum >= math.MaxInt64 {
		return errors.New("a length of time of more than 292 years")
	}
	*d = Duration(sum)
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String is the duration in days if they are whole.
func (d Duration) String() string {
	t := time.Duration(d)
	if t > 0 && t%day == 0 {
		return strconv.FormatInt(int64(t/day), 10) + "d"
	}
	text := t.Round(time.Second).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
