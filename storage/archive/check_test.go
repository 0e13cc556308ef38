package archive_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

// objects reads all of a store.
func objects(t testing.TB, s storage.Store) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for o, err := range s.List(t.Context(), "") {
		ok(t, err)
		body, err := storage.ReadAll(t.Context(), s, o.Key)
		ok(t, err)
		all[o.Key] = body
	}
	return all
}

// copyOf makes a store of objects.
func copyOf(t testing.TB, all map[string][]byte) storage.Store {
	t.Helper()
	s := mem.New()
	for key, body := range all {
		replace(t, s, key, body)
	}
	return s
}

func replace(t testing.TB, s storage.Store, key string, body []byte) {
	t.Helper()
	_, err := s.Put(t.Context(), key, body, storage.PutOptions{})
	ok(t, err)
}

// spoil replaces an object, and the copy of an index object with it.
func spoil(t testing.TB, s storage.Store, key string, body []byte) {
	t.Helper()
	replace(t, s, key, body)
	if name, isIndex := strings.CutPrefix(key, "index/"); isIndex {
		replace(t, s, "index.copy/"+name, body)
	}
}

// twoPoints makes an archive with two points and a check, and returns its objects.
func twoPoints(t testing.TB, encrypted bool) (keys, map[string][]byte) {
	t.Helper()
	k := newKeys(t)
	if !encrypted {
		k.opt.Recipients, k.opt.JobIdentity = nil, ""
	}
	s := mem.New()
	_, err := archive.Init(t.Context(), s, k.opt)
	ok(t, err)
	a, err := archive.Open(t.Context(), s, k.owner)
	ok(t, err)
	for i, seed := range []uint64{10, 20} {
		_, err = take(t, a, newFixture(seed), night.Add(time.Duration(i)*24*time.Hour))
		ok(t, err)
	}
	report, err := a.Check(t.Context(), archive.CheckOptions{ReadData: 1})
	ok(t, err)
	if !report.OK() || len(report.Points) != 2 || report.Read != report.Packs || report.Packs < 4 {
		t.Fatalf("a fresh archive: %+v", report)
	}
	return k, objects(t, s)
}

// TestFlippedByteIsFound flips a byte of every object of an archive, at several
// places: the check must name the object and, for data, the points and tables.
func TestFlippedByteIsFound(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		k, all := twoPoints(t, encrypted)
		kinds := map[string]bool{}
		for key, body := range all {
			kinds[strings.SplitN(key, "/", 2)[0]] = true
			t.Run(fmt.Sprintf("encrypted=%v/%s", encrypted, key), func(t *testing.T) {
				t.Parallel()
				for i := range 12 {
					flipOne(t, k, all, key, i*(len(body)-1)/11)
				}
			})
		}
		if len(kinds) != 8 {
			t.Errorf("kinds of objects: %v", kinds)
		}
	}
}

func flipOne(t *testing.T, k keys, all map[string][]byte, key string, at int) {
	t.Helper()
	s := copyOf(t, all)
	replace(t, s, key, flipped(all[key], at))
	a, err := archive.Open(t.Context(), s, k.owner)
	if err != nil {
		t.Errorf("byte %d: the archive can't be opened: %v", at, err)
		return
	}
	report, err := a.Check(t.Context(), archive.CheckOptions{ReadData: 1})
	ok(t, err)
	n := slices.IndexFunc(report.Damaged, func(d archive.Damage) bool { return d.Key == key })
	if n < 0 {
		t.Errorf("byte %d: not found: %+v", at, report)
		return
	}
	d := report.Damaged[n]
	data := strings.HasPrefix(key, "packs/") || strings.HasPrefix(key, "points/")
	if data != (len(d.Touches) > 0) {
		t.Errorf("byte %d: touches %+v", at, d.Touches)
	}
	for _, touch := range d.Touches {
		n := slices.IndexFunc(report.Points, func(p archive.PointReport) bool { return p.ID == touch.Point })
		if n < 0 || report.Points[n].OK || len(touch.Tables) == 0 && !strings.HasPrefix(key, "points/") {
			t.Errorf("byte %d: %+v, but the point is said to be %+v", at, touch, report.Points[n])
		}
	}
}

func TestMissingAndShortObjectsAreFound(t *testing.T) {
	t.Parallel()
	k, all := twoPoints(t, true)
	for key, body := range all {
		if strings.HasPrefix(key, "checks/") || strings.HasPrefix(key, "points/") {
			continue // gone is gone: nothing names them
		}
		for what, spoil := range map[string]func(storage.Store){
			"missing": func(s storage.Store) {
				if strings.HasPrefix(key, "index.copy/") { // of a young one it may be on its way
					replace(t, s, key, nil)
					return
				}
				ok(t, s.Delete(t.Context(), key))
			},
			"short": func(s storage.Store) { replace(t, s, key, body[:len(body)-1]) },
		} {
			s := copyOf(t, all)
			spoil(s)
			a, err := archive.Open(t.Context(), s, k.owner)
			ok(t, err)
			report, err := a.Check(t.Context(), archive.CheckOptions{})
			ok(t, err)
			if report.OK() {
				t.Errorf("%s %s: not found", what, key)
			}
		}
	}
}

func TestCheckWithoutTheOwnersIdentity(t *testing.T) {
	t.Parallel()
	k, all := twoPoints(t, true)
	var pack string
	for key := range all {
		if strings.HasPrefix(key, "packs/") {
			pack = key
		}
	}
	for name, open := range map[string]func(storage.Store) (*archive.Archive, error){
		"none":      func(s storage.Store) (*archive.Archive, error) { return archive.Open(t.Context(), s) },
		"the job's": func(s storage.Store) (*archive.Archive, error) { return archive.Open(t.Context(), s, k.job) },
	} {
		s := copyOf(t, all)
		replace(t, s, pack, flipped(all[pack], 100))
		a, err := open(s)
		ok(t, err)
		report, err := a.Check(t.Context(), archive.CheckOptions{ReadData: 1})
		ok(t, err)
		if report.OK() || report.Limits == "" || report.Damaged[0].Key != pack {
			t.Errorf("%s: %+v", name, report)
		}
	}
	a, err := archive.Open(t.Context(), copyOf(t, all), k.job)
	ok(t, err)
	report, err := a.Check(t.Context(), archive.CheckOptions{})
	ok(t, err)
	if report.Read != 0 || report.Limits != "" {
		t.Errorf("of what was not to be read: %+v", report)
	}
}

func TestVerifiedIsShown(t *testing.T) {
	t.Parallel()
	a := plainArchive(t, mem.New())
	id1, err := take(t, a, newFixture(10), night)
	ok(t, err)
	id2, err := take(t, a, newFixture(20), night.Add(time.Hour))
	ok(t, err)
	verified := func(what string, want ...string) {
		t.Helper()
		points, err := a.Points(t.Context())
		ok(t, err)
		for i, p := range points {
			if got := fmt.Sprint(p.Verified.Level, p.Verified.OK, !p.Verified.Time.IsZero()); got != want[i] {
				t.Errorf("%s: point %d is %q, not %q", what, i+1, got, want[i])
			}
		}
	}
	verified("never checked", "false false", "false false")
	_, err = a.Check(t.Context(), archive.CheckOptions{Points: []string{id1}, ReadData: 1})
	ok(t, err)
	verified("the first read", "datatrue true", "false false")
	_, err = a.Check(t.Context(), archive.CheckOptions{})
	ok(t, err)
	verified("then both looked at", "datatrue true", "metadatatrue true")
	_, err = a.Check(t.Context(), archive.CheckOptions{Points: []string{id2}, ReadData: 1})
	ok(t, err)
	verified("then the second read", "datatrue true", "datatrue true")
}

func TestSampleIsDeterministic(t *testing.T) {
	t.Parallel()
	a := plainArchive(t, mem.New())
	for i := range 4 {
		_, err := take(t, a, newFixture(uint64(10*i+10)), night.Add(time.Duration(i)*time.Hour))
		ok(t, err)
	}
	read := func(seed uint64) int {
		r, err := a.Check(t.Context(), archive.CheckOptions{ReadData: 0.5, Seed: seed, Unrecorded: true})
		ok(t, err)
		if !r.OK() || r.Points[0].Level == "data" && r.Read == 0 {
			t.Errorf("%+v", r)
		}
		return int(r.Bytes)
	}
	sizes := map[int]bool{}
	for seed := range uint64(8) {
		if first, again := read(seed), read(seed); first != again {
			t.Error("the same seed read other packs")
		}
		sizes[read(seed)] = true
	}
	if len(sizes) < 2 {
		t.Error("every seed reads the same packs")
	}
}

func TestCheckOfUnknownPoint(t *testing.T) {
	t.Parallel()
	_, err := plainArchive(t, mem.New()).Check(t.Context(), archive.CheckOptions{Points: []string{"20260101T000000Z-00"}})
	if err == nil || !strings.Contains(err.Error(), "20260101T000000Z-00") {
		t.Error(err)
	}
}

// TestNextBackupHeals damages each pack and index object with its copy: what the check found,
// or what is missing, the next backup stores again, and old points read again.
func TestNextBackupHeals(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		k, all := twoPoints(t, encrypted)
		for key, body := range all {
			if !strings.HasPrefix(key, "packs/") && !strings.HasPrefix(key, "index/") {
				continue
			}
			s := copyOf(t, all)
			spoil(t, s, key, flipped(body, len(body)/2))
			a, err := archive.Open(t.Context(), s, k.owner)
			ok(t, err)
			_, err = a.Check(t.Context(), archive.CheckOptions{ReadData: 1})
			ok(t, err)
			points, err := a.Points(t.Context())
			ok(t, err)
			if points[0].Verified.OK && points[1].Verified.OK {
				t.Errorf("%s is damaged and all points are said to be verified", key)
			}
			for i, seed := range []uint64{10, 20} { // the data is still there
				_, err = take(t, a, newFixture(seed), night.Add(time.Duration(48+i)*time.Hour))
				ok(t, err)
			}
			points, err = a.Points(t.Context())
			ok(t, err)
			for i, p := range points {
				if _, err := readPoint(t, a, p.Manifest); err != nil {
					t.Errorf("%s: point %d after the next backup: %v", key, i+1, err)
				}
			}
			report, err := a.Check(t.Context(), archive.CheckOptions{ReadData: 1})
			ok(t, err)
			for _, p := range report.Points {
				if !p.OK {
					t.Errorf("%s: after the next backup: %+v", key, p)
				}
			}
		}
	}
}

// A pack that is gone, and of which all is there again, is no damage for ever.
func TestWhatIsMissingAndStoredAgainIsNoDamage(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		k, all := twoPoints(t, encrypted)
		for key := range all {
			if !strings.HasPrefix(key, "packs/") {
				continue
			}
			s := copyOf(t, all)
			ok(t, s.Delete(t.Context(), key))
			a, err := archive.Open(t.Context(), s, k.owner)
			ok(t, err)
			report, err := a.Check(t.Context(), archive.CheckOptions{})
			if ok(t, err); report.OK() || report.Damaged[0].Key != key {
				t.Errorf("%s is missing: %+v", key, report.Damaged)
			}
			for i, seed := range []uint64{10, 20} { // the data is still there
				_, err = take(t, a, newFixture(seed), night.Add(time.Duration(48+i)*time.Hour))
				ok(t, err)
			}
			report, err = a.Check(t.Context(), archive.CheckOptions{})
			if ok(t, err); !report.OK() {
				t.Errorf("%s was stored again: %+v", key, report.Damaged)
			}
		}
	}
}

func TestDamagedBlobNamesItsPack(t *testing.T) {
	t.Parallel()
	k, all := twoPoints(t, true)
	for key, body := range all {
		if !strings.HasPrefix(key, "packs/") && !strings.HasPrefix(key, "index/") {
			continue
		}
		s := copyOf(t, all)
		spoil(t, s, key, flipped(body, len(body)/2))
		a, err := archive.Open(t.Context(), s, k.owner)
		ok(t, err)
		points, err := a.Points(t.Context())
		ok(t, err)
		var found bool
		for _, p := range points {
			_, err := readPoint(t, a, p.Manifest)
			found = found || errors.Is(err, archive.ErrCorrupt) && strings.Contains(err.Error(), key)
		}
		if !found {
			t.Errorf("no error names %s", key)
		}
	}
}

// A pack that a killed run has left is read with the others, and is one of them.
func TestCheckCountsPacksThatNoIndexNames(t *testing.T) {
	t.Parallel()
	k, all := twoPoints(t, false)
	_, others := twoPoints(t, true)
	s := copyOf(t, all)
	for key, body := range others {
		if strings.HasPrefix(key, "packs/") {
			replace(t, s, key, body)
		}
	}
	packs := 0
	for o, err := range s.List(t.Context(), "packs/") {
		ok(t, err)
		packs += min(1, int(o.Size))
	}
	a, err := archive.Open(t.Context(), s, k.owner)
	ok(t, err)
	report, err := a.Check(t.Context(), archive.CheckOptions{ReadData: 1})
	ok(t, err)
	if report.Read != packs || report.Packs != packs || !report.OK() {
		t.Errorf("of %d packs %d were read; there are %d", report.Packs, report.Read, packs)
	}
}
