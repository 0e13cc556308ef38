package archive

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// Find returns the recovery point that at names: "latest", an ID or its
// beginning, or a time (RFC 3339, or "2006-01-02 15:04", or a day, in UTC),
// which is the newest point at or before it. [fs.ErrNotExist] if there is none.
//
// A point that is damaged is an error. An older one is never taken in its
// place: whoever wants that has to ask for it by name.
func (a *Archive) Find(ctx context.Context, at string) (Point, error) {
	points, err := a.listPoints(ctx)
	if err != nil {
		return Point{}, err
	}
	if len(points) == 0 {
		return Point{}, fmt.Errorf("the archive of %s has no recovery point: %w", a.conf.Homeserver, fs.ErrNotExist)
	}
	n, err := choose(points, at)
	if err != nil {
		return Point{}, err
	}
	p := points[n : n+1 : n+1]
	if _, byTime := parseTime(at); byTime || newest(at) {
		err = a.readSecond(ctx, points[:n+1])
	} else {
		err = a.readPoint(ctx, &p[0])
	}
	if err != nil {
		return Point{}, err
	}
	if p[0].Err != nil {
		err := p[0].Err
		if n > 0 {
			err = fmt.Errorf("%w; the one before it is %s", err, points[n-1].ID)
		}
		return p[0], err
	}
	return p[0], a.fillVerified(ctx, p)
}

// OfFuture says whether a point was taken later than it is now, by more than two
// clocks may differ: either ours is wrong, or that which it was taken by was.
func (p Point) OfFuture(now time.Time) bool { return p.Taken.Sub(now) > clockSkew }

func newest(at string) bool { return at == "latest" || at == "" }

// readSecond reads the last point and all of the same second, and puts the
// newest of them last.
func (a *Archive) readSecond(ctx context.Context, points []Point) error {
	first := len(points) - 1
	for first > 0 && points[first-1].Taken.Equal(points[len(points)-1].Taken) {
		first--
	}
	for i := first; i < len(points); i++ {
		if err := a.readPoint(ctx, &points[i]); err != nil {
			return err
		}
	}
	sortPoints(points[first:])
	return nil
}

// choose returns the number of the point that at names. points are in order of
// time, and not empty.
func choose(points []Point, at string) (int, error) {
	if newest(at) {
		return len(points) - 1, nil
	}
	if t, ok := parseTime(at); ok {
		for i := len(points) - 1; i >= 0; i-- {
			if !points[i].Taken.After(t) {
				return i, nil
			}
		}
		return 0, fmt.Errorf("no recovery point at or before %s, the oldest is %s: %w", t.Format(time.RFC3339), points[0].ID, fs.ErrNotExist)
	}
	found := -1
	for i, p := range points {
		switch {
		case p.ID == at:
			return i, nil
		case !strings.HasPrefix(p.ID, at):
		case found >= 0:
			return 0, fmt.Errorf("%q begins both %s and %s: give more of it (%w)", at, points[found].ID, p.ID, fs.ErrNotExist)
		default:
			found = i
		}
	}
	if found < 0 {
		if near := nearest(points, at); near != "" {
			return 0, fmt.Errorf("no recovery point %q, the nearest is %s: %w", at, near, fs.ErrNotExist)
		}
		return 0, fmt.Errorf("no recovery point %q: give latest, a time, or an ID of list or its beginning: %w", at, fs.ErrNotExist)
	}
	return found, nil
}

// nearest returns the ID that has the most of at's beginning, the newest of
// several; none where at does not look like one.
func nearest(points []Point, at string) string {
	if at == "" || at[0] < '0' || at[0] > '9' {
		return ""
	}
	best, most := "", -1
	for _, p := range points {
		n := 0
		for n < len(at) && n < len(p.ID) && at[n] == p.ID[n] {
			n++
		}
		if n >= most {
			best, most = p.ID, n
		}
	}
	return best
}

// parseTime reads a time as people write it. A day stands for its last second,
// a minute for its last.
func parseTime(text string) (time.Time, bool) {
	for _, f := range []struct {
		layout string
		unit   time.Duration
	}{
		{time.RFC3339, 0},
		{keyTime, 0},
		{"2006-01-02 15:04:05", time.Second},
		{"2006-01-02T15:04:05", time.Second},
		{"2006-01-02 15:04", time.Minute},
		{"2006-01-02T15:04", time.Minute},
		{time.DateOnly, 24 * time.Hour},
	} {
		if t, err := time.Parse(f.layout, text); err == nil {
			return t.Add(max(f.unit-time.Nanosecond, 0)), true
		}
	}
	return time.Time{}, false
}
