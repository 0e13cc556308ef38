package archive_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// another makes an archive of its own, for the same homeserver.
func another(t testing.TB, encrypted bool) (storage.Store, keys) {
	t.Helper()
	s, k, _ := original(t, encrypted)
	return s, k
}

// Between archives with other keys everything is opened and stored anew, and
// the points are the same.
func TestCopyToAnArchiveWithOtherKeys(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ from, to bool }{{true, true}, {true, false}, {false, true}} {
		from, k, ids := original(t, c.from, 1, 2)
		to, k2 := another(t, c.to)
		keys := []age.Identity{k.owner, k2.job}
		r, err := copyAll(t, from, to, keys, archive.CopyOptions{})
		ok(t, err)
		if !r.Recoded || len(r.Points) != 2 || r.Points[0].As == ids[0] || r.Points[0].As == "" {
			t.Errorf("%+v: %+v", c, r)
		}
		pairs(t, to)
		if left := r.Points[0].Left; (len(left) == 1 && left[0].Part == archive.PartSecrets) != (c.from && !c.to) {
			t.Errorf("%+v: left behind: %+v", c, left)
		}
		want, got := wholePoints(t, from, k.owner), wholePoints(t, to, k2.owner)
		if c.from && !c.to {
			for taken, text := range want { // secrets are never stored unencrypted
				want[taken] = text[:strings.LastIndex(text, "the key")]
			}
		}
		if !maps.Equal(want, got) {
			t.Errorf("%+v: the points of the copy are others", c)
		}
		r, err = copyAll(t, from, to, keys, archive.CopyOptions{})
		ok(t, err)
		if !r.Points[0].There || !r.Points[1].There || r.Packs != 0 || len(wholePoints(t, to, k2.owner)) != 2 {
			t.Errorf("%+v, the second time: %+v", c, r)
		}
	}
}

// What is damaged in the archive that is copied to is stored there again: what a
// look at it shows, as a pack that is gone, and what a check has found in one.
func TestCopyToOtherKeysHealsDamage(t *testing.T) {
	t.Parallel()
	from, k, _ := original(t, true, 1, 2)
	want := wholePoints(t, from, k.owner)
	for name, damage := range map[string]func(to storage.Store, k2 keys, pack string){
		"gone": func(to storage.Store, _ keys, pack string) { ok(t, to.Delete(t.Context(), pack)) },
		"wrong": func(to storage.Store, k2 keys, pack string) {
			body, err := storage.ReadAll(t.Context(), to, pack)
			ok(t, err)
			replace(t, to, pack, flipped(body, 99))
			a, err := archive.Open(t.Context(), to, k2.job)
			ok(t, err)
			_, err = a.Check(t.Context(), archive.CheckOptions{ReadData: 1})
			ok(t, err)
		},
	} {
		to, k2 := another(t, true)
		keys := []age.Identity{k.owner, k2.job}
		_, err := copyAll(t, from, to, keys, archive.CopyOptions{})
		ok(t, err)
		a, err := archive.Open(t.Context(), to, k2.owner)
		ok(t, err)
		points, err := a.Points(t.Context())
		ok(t, err)
		damage(to, k2, packOf(t, a, points[1].Manifest.Database.Tables[0].Blobs[1].ID))
		r, err := copyAll(t, from, to, keys, archive.CopyOptions{})
		ok(t, err)
		if !r.Points[0].There || r.Points[1].There || r.Points[1].As != points[1].ID || r.Packs != 1 {
			t.Errorf("%s: %+v", name, r)
		}
		if got := wholePoints(t, to, k2.owner); !maps.Equal(got, want) {
			t.Errorf("%s: the points of the copy are others", name)
		}
		r, err = copyAll(t, from, to, keys, archive.CopyOptions{})
		ok(t, err)
		if !r.Points[0].There || !r.Points[1].There {
			t.Errorf("%s, the next time: %+v", name, r)
		}
	}
}

func TestCopyToOtherKeysNeedsThem(t *testing.T) {
	t.Parallel()
	from, k, _ := original(t, true, 1)
	to, k2 := another(t, true)
	_, err := copyAll(t, from, to, []age.Identity{k.job, k2.job}, archive.CopyOptions{})
	if !errors.Is(err, archive.ErrNoKey) || !strings.Contains(err.Error(), "different keys") || !strings.Contains(err.Error(), "--identity") {
		t.Error(err)
	}
}

// TestCopyToOtherKeysKilled is TestCopyKilled for archives that are two.
func TestCopyToOtherKeysKilled(t *testing.T) {
	t.Parallel()
	from, k, _ := original(t, true, 1)
	want := wholePoints(t, from, k.owner)
	_, k2 := another(t, true)
	keys := []age.Identity{k.owner, k2.job}
	for n := 1; ; n++ {
		to := mem.New()
		_, err := archive.Init(t.Context(), to, k2.opt)
		ok(t, err)
		dying := storetest.Faulty(to, func(c storetest.Call) storetest.Fault {
			if c.N < n {
				return storetest.Fault{}
			}
			return storetest.Fault{Err: errStore, Late: c.N == n}
		})
		_, err = copyAll(t, from, dying, keys, archive.CopyOptions{Jobs: 1})
		if got := wholePoints(t, to, k2.owner); err == nil {
			if !maps.Equal(got, want) {
				t.Fatalf("call %d: done, with other points", n)
			}
			break
		}
		if _, err := copyAll(t, from, to, keys, archive.CopyOptions{}); err != nil {
			t.Fatalf("call %d, the next copy: %v", n, err)
		}
		if !maps.Equal(wholePoints(t, to, k2.owner), want) {
			t.Fatalf("call %d: the next copy has other points", n)
		}
	}
}

// What the store that is copied to loses, or has cut, is no fault of the point's: it
// ends the copy, whatever the keys, and the next one completes it.
func TestCopyToAStoreThatLosesAPack(t *testing.T) {
	t.Parallel()
	for how, fault := range map[string]storetest.Fault{"lost": {Drop: true}, "cut": {Truncate: true, Bytes: 70}} {
		for _, recoded := range []bool{false, true} {
			from, k, _ := original(t, true, 1)
			want := wholePoints(t, from, k.owner)
			for nth := 1; ; nth++ {
				to, k2 := storage.Store(mem.New()), k
				if recoded {
					to, k2 = another(t, true)
				}
				keys := []age.Identity{k.owner, k2.job}
				hit, rule := false, nthPack(nth, fault)
				faulty := storetest.Faulty(to, func(c storetest.Call) storetest.Fault {
					f := rule(c)
					hit = hit || f.Drop || f.Truncate
					return f
				})
				r, err := copyAll(t, from, faulty, keys, archive.CopyOptions{Jobs: 1})
				if !hit {
					ok(t, err)
					break
				}
				if nth == 1 { // it is read at once, and sent again
					ok(t, err)
					continue
				}
				if err == nil || !strings.Contains(err.Error(), "run it again") {
					t.Errorf("pack %d %s, recoded %t: %v, %+v", nth, how, recoded, err, r)
				}
				if got := wholePoints(t, to, k2.owner); len(got) > 0 {
					t.Errorf("pack %d %s, recoded %t: a point was put", nth, how, recoded)
				}
				_, err = copyAll(t, from, to, keys, archive.CopyOptions{})
				ok(t, err)
				if !maps.Equal(wholePoints(t, to, k2.owner), want) {
					t.Errorf("pack %d %s, recoded %t: the next copy has other points", nth, how, recoded)
				}
			}
		}
	}
}
