package verify_test

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/journal"
	"github.com/synapse-maint/synapse-maint/jobs/verify"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

const server = "matrix.example.org"

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fill makes an archive with a point for each hour; each has a table of its
// own and one that all share.
func fill(t *testing.T, s storage.Store, o archive.InitOptions, hours ...int) {
	t.Helper()
	o.Homeserver = server
	a, err := archive.Init(t.Context(), s, o)
	ok(t, err)
	for _, hour := range hours {
		w, err := a.Writer(t.Context(), archive.WriterOptions{PackSize: 1000})
		ok(t, err)
		add := func(text string) []archive.Blob {
			id, _, err := w.Add(t.Context(), []byte(text))
			ok(t, err)
			return []archive.Blob{{ID: id, Size: int64(len(text)), Rows: 1}}
		}
		m := &archive.Manifest{Homeserver: server, Taken: time.Date(2026, 11, 25, hour, 0, 0, 0, time.UTC), Database: &archive.Database{
			Info: []byte("{}"),
			TOC:  add("PGDMP"),
			Tables: []archive.Table{
				{Schema: "public", Name: "shared", Rows: 1, Bytes: 17, Blobs: add("the same in each\n")},
				{Schema: "public", Name: "own", Rows: 1, Bytes: 6, Blobs: add(strings.Repeat(string(rune('a'+hour)), 5) + "\n")},
			},
		}}
		_, err = w.Close(t.Context())
		ok(t, err)
		_, err = a.Commit(t.Context(), m)
		ok(t, err)
	}
}

func run(ctx context.Context, s storage.Store, o verify.Options, keys ...age.Identity) (*jobs.Run, error) {
	a, err := archive.Open(ctx, s, keys...)
	if err != nil {
		return nil, err
	}
	o.Archive = a
	r := jobs.Runner{Journal: journal.New(s), Locker: journal.NewLocker(s, journal.Options{})}
	id, err := r.Fresh(ctx, server, verify.JobName)
	if err != nil {
		return nil, err
	}
	return r.Run(ctx, verify.New(o), id)
}

func TestGoodArchive(t *testing.T) {
	t.Parallel()
	s := mem.New()
	fill(t, s, archive.InitOptions{}, 2, 3)
	done, err := run(t.Context(), s, verify.Options{ReadData: 1})
	ok(t, err)
	r, err := verify.ResultOf(done)
	ok(t, err)
	if len(r.Points) != 2 || !r.Points[0].OK || r.Points[0].Level != "data" || r.Read == 0 {
		t.Errorf("%+v", r)
	}
	done, err = run(t.Context(), s, verify.Options{Points: []string{"latest", "latest"}})
	ok(t, err)
	if r, err = verify.ResultOf(done); err != nil || len(r.Points) != 1 || r.Points[0].Level != "metadata" || !strings.HasPrefix(r.Points[0].ID, "20261125T030000Z") {
		t.Errorf("%+v, %v", r, err)
	}
}

// A flipped byte in any object that a point needs is found, and says what it
// spoils.
func TestFlippedByteIsFound(t *testing.T) {
	t.Parallel()
	s := mem.New()
	fill(t, s, archive.InitOptions{}, 2, 3)
	flipped := 0
	for o, err := range s.List(t.Context(), "") {
		ok(t, err)
		good, err := storage.ReadAll(t.Context(), s, o.Key)
		ok(t, err)
		if strings.HasPrefix(o.Key, "journal/") || strings.HasPrefix(o.Key, "locks/") || strings.HasPrefix(o.Key, "checks/") {
			continue
		}
		flipped++
		bad := append([]byte(nil), good...)
		bad[len(bad)/2] ^= 4
		_, err = s.Put(t.Context(), o.Key, bad, storage.PutOptions{})
		ok(t, err)
		done, err := run(t.Context(), s, verify.Options{ReadData: 1})
		if !errors.Is(err, archive.ErrCorrupt) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v", o.Key, err)
		} else if !strings.Contains(err.Error(), o.Key) {
			t.Errorf("%s is not named: %v", o.Key, err)
		}
		if strings.HasPrefix(o.Key, "packs/") && !strings.Contains(err.Error(), "public.") && !strings.Contains(err.Error(), "table of contents") {
			t.Errorf("%s: no table is named: %v", o.Key, err)
		}
		if done == nil || done.State != jobs.Failed {
			t.Errorf("%s: run %+v", o.Key, done)
		} else if r, err := verify.ResultOf(done); err != nil || len(r.Damaged) == 0 {
			t.Errorf("%s: result %+v, %v", o.Key, r, err)
		}
		_, err = s.Put(t.Context(), o.Key, good, storage.PutOptions{})
		ok(t, err)
	}
	if flipped < 7 {
		t.Errorf("%d objects: is anything tested?", flipped)
	}
	_, err := run(t.Context(), s, verify.Options{ReadData: 1})
	ok(t, err)
}

// A pack that no point needs, yet: the next backup may count on it.
func TestDamageThatNoPointNeedsIsNoSuccess(t *testing.T) {
	t.Parallel()
	s := mem.New()
	fill(t, s, archive.InitOptions{}, 2)
	a, err := archive.Open(t.Context(), s)
	ok(t, err)
	before := map[string]bool{}
	for o, err := range s.List(t.Context(), "packs/") {
		ok(t, err)
		before[o.Key] = true
	}
	w, err := a.Writer(t.Context(), archive.WriterOptions{})
	ok(t, err)
	_, _, err = w.Add(t.Context(), []byte("of a backup that was killed"))
	ok(t, err)
	_, err = w.Close(t.Context())
	ok(t, err)
	key := ""
	for o, err := range s.List(t.Context(), "packs/") {
		if ok(t, err); !before[o.Key] {
			key = o.Key
		}
	}
	body, err := storage.ReadAll(t.Context(), s, key)
	ok(t, err)
	body[len(body)/2] ^= 4
	_, err = s.Put(t.Context(), key, body, storage.PutOptions{})
	ok(t, err)
	done, err := run(t.Context(), s, verify.Options{ReadData: 1})
	if !errors.Is(err, archive.ErrCorrupt) || !strings.Contains(err.Error(), "every recovery point checked can be restored, but there are") || !strings.Contains(err.Error(), key) {
		t.Errorf("%v", err)
	}
	r, err := verify.ResultOf(done)
	if ok(t, err); done.State != jobs.Failed || len(r.Points) != 1 || !r.Points[0].OK || len(r.Damaged) != 1 {
		t.Errorf("%s: %+v", done.State, r)
	}
}

func TestNothingToVerifyIsNoSuccess(t *testing.T) {
	t.Parallel()
	s := mem.New()
	fill(t, s, archive.InitOptions{})
	if _, err := run(t.Context(), s, verify.Options{}); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), server) {
		t.Errorf("an empty archive: %v", err)
	}
	s = mem.New()
	fill(t, s, archive.InitOptions{}, 2)
	if _, err := run(t.Context(), s, verify.Options{Points: []string{"20250101"}}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such point: %v", err)
	}
}

// A backup must not wait for a check, nor a check for a backup.
func TestVerifyNeedsNoLock(t *testing.T) {
	t.Parallel()
	s := mem.New()
	fill(t, s, archive.InitOptions{}, 2)
	_, release, err := journal.NewLocker(s, journal.Options{}).Lock(t.Context(), server, "backup")
	ok(t, err)
	defer release() //nolint:errcheck // mem does not fail
	_, err = run(t.Context(), s, verify.Options{})
	ok(t, err)
}

// Without a key the checksums are compared, and the result says so.
func TestVerifyWithoutKey(t *testing.T) {
	t.Parallel()
	owner, err := age.GenerateX25519Identity()
	ok(t, err)
	recipients := []string{owner.Recipient().String()}
	job, err := archive.NewJobIdentity(recipients)
	ok(t, err)
	s := mem.New()
	fill(t, s, archive.InitOptions{Recipients: recipients, JobIdentity: job}, 2, 3)
	done, err := run(t.Context(), s, verify.Options{ReadData: 1})
	ok(t, err)
	if r, err := verify.ResultOf(done); err != nil || r.Limits == "" || r.Read == 0 {
		t.Errorf("%+v, %v", r, err)
	}
	done, err = run(t.Context(), s, verify.Options{ReadData: 1}, owner)
	ok(t, err)
	if r, err := verify.ResultOf(done); err != nil || r.Limits != "" || len(r.Points) != 2 {
		t.Errorf("%+v, %v", r, err)
	}

	// A manifest is damaged: without the key nobody knows whether a point is whole.
	for o, err := range s.List(t.Context(), "points/") {
		ok(t, err)
		_, err = s.Put(t.Context(), o.Key, []byte("other bytes"), storage.PutOptions{})
		ok(t, err)
		_, err = run(t.Context(), s, verify.Options{})
		if !errors.Is(err, archive.ErrCorrupt) || !strings.Contains(err.Error(), o.Key) || strings.Contains(err.Error(), "can be restored") {
			t.Errorf("%v", err)
		}
		break
	}
}
