package archive_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

func TestPostQuantumRecipients(t *testing.T) {
	t.Parallel()
	owner, err := age.GenerateHybridIdentity()
	ok(t, err)
	recipients := []string{owner.Recipient().String()}
	text, err := archive.NewJobIdentity(recipients)
	ok(t, err)
	s := mem.New()
	a, err := archive.Init(t.Context(), s, archive.InitOptions{Homeserver: server, Recipients: recipients, JobIdentity: text})
	ok(t, err)
	f := newFixture(10)
	_, err = take(t, a, f, night)
	ok(t, err)
	a, err = archive.Open(t.Context(), s, owner)
	ok(t, err)
	p, err := a.Find(t.Context(), "latest")
	ok(t, err)
	got, err := readPoint(t, a, p.Manifest)
	ok(t, err)
	f.check(t, got)
}

func TestInitRefusesBadKeys(t *testing.T) {
	t.Parallel()
	k := newKeys(t)
	for name, o := range map[string]archive.InitOptions{
		"no recipient":       {Homeserver: server, Recipients: []string{"age1nonsense"}, JobIdentity: k.opt.JobIdentity},
		"no job identity":    {Homeserver: server, Recipients: k.opt.Recipients},
		"a public job":       {Homeserver: server, Recipients: k.opt.Recipients, JobIdentity: k.opt.Recipients[0]},
		"no homeserver name": {Recipients: k.opt.Recipients, JobIdentity: k.opt.JobIdentity},
	} {
		s := mem.New()
		if _, err := archive.Init(t.Context(), s, o); err == nil || strings.Contains(err.Error(), "SECRET-KEY-1") {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(objects(t, s)); n != 0 {
			t.Errorf("%s: %d objects were left", name, n)
		}
	}
}

// TestIdentityFileErrorsHaveNoSecrets: a key in the wrong line or with a typo is
// still a key.
func TestIdentityFileErrorsHaveNoSecrets(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key.txt")
	id, err := age.GenerateX25519Identity()
	ok(t, err)
	ok(t, os.WriteFile(path, []byte(" key: "+id.String()+"\n"), 0o600))
	_, err = archive.ReadIdentities(path)
	if err == nil || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), id.String()[20:40]) {
		t.Error(err)
	}
	if _, err := archive.ReadIdentities(path + "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestEncryptedArchiveShowsNothing looks for rows, names and their plain hashes
// in all that is stored.
func TestEncryptedArchiveShowsNothing(t *testing.T) {
	t.Parallel()
	k, all := twoPoints(t, true)
	plain, err := archive.Open(t.Context(), copyOf(t, all), k.owner)
	ok(t, err)
	p, err := plain.Find(t.Context(), "latest")
	ok(t, err)
	for key, body := range all {
		for _, secret := range []string{"m.room.message", "event_json", "synapse\"", p.Manifest.Database.TOC[0].ID.String(), k.opt.JobIdentity} {
			if bytes.Contains(body, []byte(secret)) || strings.Contains(key, secret) {
				t.Errorf("%s has %q", key, secret)
			}
		}
	}
}

// TestJobReadsNoData: whoever breaks into the pod that takes backups can't read
// the ones already taken.
func TestJobReadsNoData(t *testing.T) {
	t.Parallel()
	k, all := twoPoints(t, true)
	job := k.job
	for key, body := range all {
		_, err := age.Decrypt(bytes.NewReader(body), job)
		if opens, meta := err == nil, strings.HasPrefix(key, "index") || strings.HasPrefix(key, "points/") || strings.HasPrefix(key, "checks/"); opens != meta {
			t.Errorf("%s: the job opens it: %v", key, opens)
		}
	}
}

func TestDamagedConfigurationIsReadFromItsCopy(t *testing.T) {
	t.Parallel()
	k, all := twoPoints(t, true)
	for at := range all["archive.json"] {
		s := copyOf(t, all)
		replace(t, s, "archive.json", flipped(all["archive.json"], at))
		a, err := archive.Open(t.Context(), s, k.owner)
		if err != nil || a.Homeserver() != server {
			t.Fatalf("byte %d: %v", at, err)
		}
	}
	s := copyOf(t, all)
	for _, key := range []string{"archive.json", "archive.copy.json"} {
		replace(t, s, key, flipped(all[key], 100))
	}
	if _, err := archive.Open(t.Context(), s); !errors.Is(err, archive.ErrCorrupt) {
		t.Error("both damaged:", err)
	}
	ok(t, s.Delete(t.Context(), "archive.json"))
	replace(t, s, "archive.copy.json", all["archive.copy.json"])
	if _, err := archive.Init(t.Context(), s, k.opt); !errors.Is(err, fs.ErrExist) {
		t.Error("Init made a new archive over one whose archive.json is gone:", err)
	}
	if body, err := storage.ReadAll(t.Context(), s, "archive.json"); err != nil || !bytes.Equal(body, all["archive.json"]) {
		t.Error("Init did not put archive.json back:", err)
	}
}
