package archive_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

func TestFind(t *testing.T) {
	t.Parallel()
	s := mem.New()
	a := plainArchive(t, s)
	if _, err := a.Find(t.Context(), "latest"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), server) {
		t.Error("empty archive:", err)
	}
	var ids []string
	for _, taken := range []string{"2026-11-23T02:00:00Z", "2026-11-24T02:00:00Z", "2026-11-25T02:00:30.5Z"} {
		when, err := time.Parse(time.RFC3339, taken)
		ok(t, err)
		id, err := take(t, a, newFixture(5), when)
		ok(t, err)
		ids = append(ids, id)
	}
	for _, c := range []struct {
		at   string
		want int // number of the point; -1 for none
		text string
	}{
		{"latest", 2, ""},
		{ids[1], 1, ""},
		{ids[1][:20], 1, ""},
		{"20261123", 0, ""},
		{"2026-11-24T02:00:00Z", 1, ""},
		{"2026-11-24T03:59:59+02:00", 0, ""},
		{"2026-11-25 02:00", 2, ""},
		{"2026-11-25 01:59", 1, ""},
		{"2026-11-24", 1, ""},
		{"2027-01-01", 2, ""},
		{"2026-11-22", -1, ids[0]},
		{"202611", -1, "begins both " + ids[0]},
		{"20261126T020000Z-aa", -1, "the nearest is " + ids[2]},
		{"yesterday", -1, `no recovery point "yesterday": give latest, a time, or an ID`},
		{"20", -1, "begins both"},
	} {
		p, err := a.Find(t.Context(), c.at)
		switch {
		case c.want < 0 && (!errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), c.text)):
			t.Errorf("%s: %v", c.at, err)
		case c.want >= 0 && (err != nil || p.ID != ids[c.want] || p.Manifest == nil):
			t.Errorf("%s: %s, %v, not point %d", c.at, p.ID, err, c.want)
		}
	}
}

// TestLatestIsNeverAnOlderOne: a restore must not take last week's data because
// today's manifest is damaged.
func TestLatestIsNeverAnOlderOne(t *testing.T) {
	t.Parallel()
	s := mem.New()
	a := plainArchive(t, s)
	old, err := take(t, a, newFixture(5), night)
	ok(t, err)
	id, err := take(t, a, newFixture(6), night.Add(time.Hour))
	ok(t, err)
	replace(t, s, "points/"+id, []byte("nonsense"))
	_, err = a.Find(t.Context(), "latest")
	if !errors.Is(err, archive.ErrCorrupt) || !strings.Contains(err.Error(), id) || !strings.Contains(err.Error(), old) {
		t.Error(err)
	}
	points, err := a.Points(t.Context())
	ok(t, err)
	if points[0].Err != nil || !errors.Is(points[1].Err, archive.ErrCorrupt) {
		t.Errorf("listed as %v, %v", points[0].Err, points[1].Err)
	}
}

func TestCommitRefusesWhatCouldNotBeRestored(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(*archive.Manifest)
		want  string
	}{
		"another homeserver": {func(m *archive.Manifest) { m.Homeserver = "other.example.org" }, "other.example.org"},
		"no time":            {func(m *archive.Manifest) { m.Taken = time.Time{} }, "when it was taken"},
		"unknown blob": {func(m *archive.Manifest) {
			m.Database.Tables[1].Blobs = []archive.Blob{{ID: archive.ID{1}, Size: 1}}
			m.Database.Tables[1].Bytes = 1
		}, "public.event_json: blob 01"},
		"bytes that are not its blobs'": {func(m *archive.Manifest) { m.Database.Tables[0].Bytes-- }, "public.events"},
	} {
		s := mem.New()
		a := plainArchive(t, s)
		_, err := take(t, a, newFixture(5), night)
		ok(t, err)
		p, err := a.Find(t.Context(), "latest")
		ok(t, err)
		c.spoil(p.Manifest)
		if _, err := a.Commit(t.Context(), p.Manifest); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(slices.Collect(mapKeys(objects(t, s), "points/"))); n != 1 {
			t.Errorf("%s: %d points", name, n)
		}
	}
}

func mapKeys(all map[string][]byte, prefix string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for key := range all {
			if strings.HasPrefix(key, prefix) && !yield(key) {
				return
			}
		}
	}
}

// TestLatestOfOneSecond: names tell points apart to the second, and which of
// two is the newer one must not depend on their hashes.
func TestLatestOfOneSecond(t *testing.T) {
	t.Parallel()
	a := plainArchive(t, mem.New())
	var ids []string
	for i := range 8 {
		id, err := take(t, a, newFixture(5+uint64(i)), night.Add(time.Duration(i)*100*time.Millisecond))
		ok(t, err)
		ids = append(ids, id)
	}
	for _, at := range []string{"latest", night.Format(time.RFC3339), night.Format("20060102T150405Z")} {
		if p, err := a.Find(t.Context(), at); err != nil || p.ID != ids[7] {
			t.Errorf("%s: %s, %v, not %s", at, p.ID, err, ids[7])
		}
	}
	points, err := a.Points(t.Context())
	ok(t, err)
	for i, p := range points {
		if p.ID != ids[i] {
			t.Errorf("listed as number %d: %s, not %s", i, p.ID, ids[i])
		}
	}
}
