package archive_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// takeWhole takes a point of everything: a database, media, and secrets where
// the archive is encrypted. seed makes its bytes.
func takeWhole(t testing.TB, a *archive.Archive, seed uint64) string {
	t.Helper()
	w, err := a.Writer(t.Context(), archive.WriterOptions{PackSize: 50_000})
	ok(t, err)
	defer w.Abort()
	add := func(plain []byte) archive.Blob {
		id, _, err := w.Add(t.Context(), plain)
		ok(t, err)
		return archive.Blob{ID: id, Size: int64(len(plain))}
	}
	l := w.Listing()
	names := mediaNames(400)
	slices.SortFunc(names, archive.ComparePaths)
	for i, name := range names {
		body := rows(uint64(i)+seed*uint64(i%40/39), 300)
		b := add(body)
		ok(t, l.Add(t.Context(), archive.Entry{Path: name, Size: b.Size, SHA256: sha256.Sum256(body), Blobs: []archive.ID{b.ID}}))
	}
	listing, err := l.Close(t.Context())
	ok(t, err)
	m := &archive.Manifest{
		Homeserver: server, Taken: night.Add(time.Duration(seed) * time.Hour), Program: "test 1", Run: "backup-1",
		Database: &archive.Database{
			Info: []byte(`{}`), TOC: []archive.Blob{add([]byte("PGDMP"))},
			Tables: []archive.Table{{DumpID: 1, Schema: "public", Name: "events", Bytes: 160_000, Blobs: []archive.Blob{add(rows(1, 100_000)), add(rows(seed+99, 60_000))}}},
		},
		Media: &archive.Media{Listing: listing, Files: 400},
	}
	if a.Encrypted() {
		m.Secrets = &archive.Secrets{Files: []archive.SecretFile{{Name: "key"}}, Blobs: []archive.Blob{add(fmt.Appendf(nil, "the key %d", seed))}}
	}
	_, err = w.Close(t.Context())
	ok(t, err)
	id, err := a.Commit(t.Context(), m)
	ok(t, err)
	return id
}

// wholePoints are the plain bytes of all points of a store, by the time they
// were taken, each as one text: everything that a point names is read.
func wholePoints(t testing.TB, s storage.Store, keys ...age.Identity) map[string]string {
	t.Helper()
	all := map[string]string{}
	a, err := archive.Open(t.Context(), s, keys...)
	if errors.Is(err, archive.ErrNoArchive) {
		return all
	}
	ok(t, err)
	points, err := a.Points(t.Context())
	ok(t, err)
	for _, p := range points {
		ok(t, p.Err)
		r, err := a.Reader(t.Context(), archive.ReaderOptions{})
		ok(t, err)
		var text bytes.Buffer
		read := func(blobs []archive.Blob) {
			for _, b := range blobs {
				plain, err := r.Blob(t.Context(), b.ID)
				ok(t, err)
				text.Write(plain)
			}
		}
		read(p.Manifest.Database.TOC)
		read(p.Manifest.Database.Tables[0].Blobs)
		for e, err := range archive.Entries(t.Context(), r, p.Manifest.Media) {
			ok(t, err)
			fmt.Fprintf(&text, "%s %s\n", e.Path, e.SHA256)
			read([]archive.Blob{{ID: e.Blobs[0]}})
		}
		if p.Manifest.Secrets != nil {
			read(p.Manifest.Secrets.Blobs)
		}
		all[p.Taken.String()] = text.String()
	}
	return all
}

// original makes an archive with some whole points.
func original(t testing.TB, encrypted bool, seeds ...uint64) (s storage.Store, k keys, ids []string) {
	t.Helper()
	k, s = newKeys(t), mem.New()
	if !encrypted {
		k.opt.Recipients, k.opt.JobIdentity = nil, ""
	}
	a, err := archive.Init(t.Context(), s, k.opt)
	ok(t, err)
	for _, seed := range seeds {
		ids = append(ids, takeWhole(t, a, seed))
	}
	return s, k, ids
}

// copyAll clones and copies with these identities.
func copyAll(t testing.TB, from, to storage.Store, keys []age.Identity, o archive.CopyOptions) (archive.CopyReport, error) {
	t.Helper()
	a, err := archive.Open(t.Context(), from, keys...)
	if err != nil {
		return archive.CopyReport{}, err
	}
	b, _, err := archive.Clone(t.Context(), a, to, 0, keys...)
	if err != nil {
		return archive.CopyReport{}, err
	}
	return archive.Copy(t.Context(), a, b, o)
}

// The job's identity, which opens no data, is enough; a second copy sends
// nothing, and a third the new point alone.
func TestCopyIsVerbatim(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		from, k, ids := original(t, encrypted, 1, 2)
		to := mem.New()
		job := []age.Identity{k.job}
		r, err := copyAll(t, from, to, job, archive.CopyOptions{})
		ok(t, err)
		if len(r.Points) != 2 || r.Points[0].As != ids[0] || r.Points[0].There || r.Packs < 3 || r.Recoded {
			t.Errorf("%+v", r)
		}
		if want, got := wholePoints(t, from, k.owner), wholePoints(t, to, k.owner); !maps.Equal(want, got) {
			t.Error("the points of the copy are others")
		}
		source := objects(t, from)
		for key, body := range objects(t, to) {
			if !bytes.Equal(source[key], body) && !strings.HasPrefix(key, "index") {
				t.Errorf("%s is not as it was", key)
			}
		}
		pairs(t, to)
		again := storetest.Faulty(to, func(storetest.Call) storetest.Fault { return storetest.Fault{} })
		r, err = copyAll(t, from, again, job, archive.CopyOptions{})
		ok(t, err)
		if !r.Points[0].There || !r.Points[1].There || r.Packs != 0 || again.Count(storetest.Put) > 0 {
			t.Errorf("the second time: %+v, %d puts", r, again.Count(storetest.Put))
		}
		a, err := archive.Open(t.Context(), from, k.job)
		ok(t, err)
		third := takeWhole(t, a, 3)
		r, err = copyAll(t, from, to, job, archive.CopyOptions{Points: []string{third}})
		ok(t, err)
		if len(r.Points) != 1 || r.Points[0].There || r.Packs == 0 || len(wholePoints(t, to, k.owner)) != 3 {
			t.Errorf("%+v", r)
		}
	}
}

// A prune whose clock is wrong, or somebody's hand, deletes in the target what
// the copy has put there, or counts on: no point is put that would not restore.
func TestCopyNoticesWhatIsDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	from, k, ids := original(t, true, 1, 2)
	job := []age.Identity{k.job}
	for name, before := range map[string][]string{"what it put": nil, "what was there": ids[:1]} {
		to := mem.New()
		if before != nil {
			_, err := copyAll(t, from, to, job, archive.CopyOptions{Points: before})
			ok(t, err)
		}
		deleted := ""
		for key := range keysOf(t, to) {
			if strings.HasPrefix(key, "packs/") {
				deleted = key
			}
		}
		between := storetest.Faulty(to, func(c storetest.Call) storetest.Fault {
			if c.Op != storetest.Put || !strings.HasPrefix(c.Key, "index/") {
				if deleted == "" && c.Op == storetest.Put && strings.HasPrefix(c.Key, "packs/") {
					deleted = c.Key
				}
				return storetest.Fault{}
			}
			return storetest.Fault{Hook: func(ctx context.Context) { ok(t, to.Delete(ctx, deleted)) }}
		})
		_, err := copyAll(t, from, between, job, archive.CopyOptions{})
		if err == nil || !strings.Contains(err.Error(), "is gone") {
			t.Errorf("%s: %v", name, err)
		}
		if n := count(t, to, "points/"); n != len(before) {
			t.Errorf("%s: %d points", name, n)
		}
		_, err = copyAll(t, from, to, job, archive.CopyOptions{})
		ok(t, err)
		if want, got := wholePoints(t, from, k.owner), wholePoints(t, to, k.owner); name == "what it put" && !maps.Equal(want, got) {
			t.Errorf("%s: after another copy the points are others", name)
		}
	}
}

// A copy has what its points need, and no more.
func TestCopyOfOnePoint(t *testing.T) {
	t.Parallel()
	from, k, ids := original(t, true, 1, 2, 3)
	to := mem.New()
	_, err := copyAll(t, from, to, []age.Identity{k.job}, archive.CopyOptions{Points: ids[:1]})
	ok(t, err)
	if got, all := len(objects(t, to)), len(objects(t, from)); got >= all-2 {
		t.Errorf("one point of three took %d of %d objects", got, all)
	}
	if got := wholePoints(t, to, k.owner); len(got) != 1 {
		t.Errorf("%d points", len(got))
	}
	if _, err := copyAll(t, from, to, []age.Identity{k.job}, archive.CopyOptions{Points: []string{"20200101T000000Z-0123456789abcdef"}}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestCopyKilled ends a copy at each call of either store in turn, the answer of
// the last one lost: what is listed is whole, and the next copy completes it.
func TestCopyKilled(t *testing.T) {
	t.Parallel()
	from, k, _ := original(t, true, 1, 2)
	want := wholePoints(t, from, k.owner)
	job := []age.Identity{k.job}
	for _, side := range []string{"from", "to"} {
		for n := 1; ; n++ {
			to := mem.New()
			dying := func(s storage.Store) storage.Store {
				return storetest.Faulty(s, func(c storetest.Call) storetest.Fault {
					if c.N < n {
						return storetest.Fault{}
					}
					return storetest.Fault{Err: errStore, Late: c.N == n}
				})
			}
			a, b := from, storage.Store(to)
			if side == "from" {
				a = dying(from)
			} else {
				b = dying(to)
			}
			_, err := copyAll(t, a, b, job, archive.CopyOptions{Jobs: 1})
			got := wholePoints(t, to, k.owner)
			for taken, text := range got {
				if text != want[taken] {
					t.Fatalf("%s, call %d: the point of %s is not as it was", side, n, taken)
				}
			}
			if err == nil {
				if len(got) != 2 {
					t.Fatalf("%s, call %d: done, and %d points", side, n, len(got))
				}
				break
			}
			if !errors.Is(err, errStore) {
				t.Fatalf("%s, call %d: %v", side, n, err)
			}
			_, err = copyAll(t, from, to, job, archive.CopyOptions{})
			ok(t, err)
			if !maps.Equal(wholePoints(t, to, k.owner), want) {
				t.Fatalf("%s, call %d: the next copy has other points", side, n)
			}
		}
	}
}

// What is damaged in one point keeps no other away, and is not passed on.
func TestCopyOfDamage(t *testing.T) {
	t.Parallel()
	from, k, ids := original(t, true, 1, 2)
	a, err := archive.Open(t.Context(), from, k.owner)
	ok(t, err)
	p, err := a.Find(t.Context(), ids[1])
	ok(t, err)
	key := packOf(t, a, p.Manifest.Database.Tables[0].Blobs[1].ID)
	body, err := storage.ReadAll(t.Context(), from, key)
	ok(t, err)
	replace(t, from, key, flipped(body, 99))
	to := mem.New()
	r, err := copyAll(t, from, to, []age.Identity{k.job}, archive.CopyOptions{})
	ok(t, err)
	if r.Points[0].Err != nil || !errors.Is(r.Points[1].Err, archive.ErrCorrupt) || !strings.Contains(r.Points[1].Err.Error(), key) {
		t.Errorf("%+v", r.Points)
	}
	if _, err := to.Stat(t.Context(), key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the damaged pack was copied: %v", err)
	}
	// The other way round, a copy heals what is damaged where it goes to.
	replace(t, from, key, body)
	_, err = copyAll(t, from, to, []age.Identity{k.job}, archive.CopyOptions{})
	ok(t, err)
	ok(t, to.Delete(t.Context(), key))
	r, err = copyAll(t, from, to, []age.Identity{k.job}, archive.CopyOptions{})
	ok(t, err)
	if r.Packs != 1 || !maps.Equal(wholePoints(t, to, k.owner), wholePoints(t, from, k.owner)) {
		t.Errorf("%+v", r)
	}
}

// A store that lies: what arrived is not what was sent.
func TestCopyToAStoreThatLies(t *testing.T) {
	t.Parallel()
	from, k, _ := original(t, true, 1)
	for name, fault := range map[string]storetest.Fault{"dropped": {Drop: true}, "truncated": {Truncate: true, Bytes: 70}} {
		for _, prefix := range []string{"archive.json", "packs/", "index/", "points/"} {
			to := mem.New()
			lying := storetest.Faulty(to, func(c storetest.Call) storetest.Fault {
				if c.Op == storetest.Put && strings.HasPrefix(c.Key, prefix) {
					return fault
				}
				return storetest.Fault{}
			})
			if _, err := copyAll(t, from, lying, []age.Identity{k.job}, archive.CopyOptions{}); err == nil {
				t.Errorf("%s %s: the copy says ok", name, prefix)
			}
			if prefix != "archive.json" && len(wholePoints(t, to, k.owner)) > 0 {
				t.Errorf("%s %s: a point is listed", name, prefix)
			}
		}
	}
}

func TestCopyOfAnotherHomeserver(t *testing.T) {
	t.Parallel()
	from, k, _ := original(t, false, 1)
	k.opt.Homeserver = "other.example.org"
	a, err := archive.Open(t.Context(), from)
	ok(t, err)
	b, err := archive.Init(t.Context(), mem.New(), k.opt)
	ok(t, err)
	if _, err := archive.Copy(t.Context(), a, b, archive.CopyOptions{}); err == nil || !strings.Contains(err.Error(), "that of other.example.org") {
		t.Error(err)
	}
}
