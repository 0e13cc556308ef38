package endtoend

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

// A prune with the wrong rules, or an intruder with the store's credentials:
// what object lock protects is hidden at most, and comes back whole.
func TestWhatPruneHidUnderObjectLockComesBack(t *testing.T) {
	t.Parallel()
	s3 := testbed.S3(t)
	w := emptyWorld(t, testbed.Postgres(t))
	bucket := s3.LockedBucket(t)
	config := filepath.Join(w.dir, "locked.yaml")
	w.ok(os.WriteFile(config, []byte("stores:\n  locked:\n    url: "+s3.URL(bucket)+"\n    objectLock: 24h\ndefaults:\n  store: locked\n"), 0o600))
	w.set(s3.Env()...)
	w.set("SYNAPSE_MAINT_CONFIG="+config, "SYNAPSE_MAINT_STORE=")
	w.useDatabase(tinyDatabase(t, w.pg))
	w.done("init")
	for range 2 {
		w.done("backup")
		w.goOn()
	}
	want := w.points()
	key := func(point string) string { return homeserver + "/points/" + point }
	for _, point := range want {
		if lock, err := s3.Retention(t, bucket, key(point)); err != nil || !strings.HasPrefix(lock, "GOVERNANCE until ") {
			t.Errorf("%s: %s, %v", point, lock, err)
		}
	}
	w.done("prune", "--keep-last", "1", "--yes")
	if got := w.points(); len(got) != 1 || got[0] != want[1] {
		t.Fatalf("after the prune: %v", got)
	}
	if kept, gone := s3.DeleteVersions(t, bucket, key(want[0])); kept != 1 || gone != 0 {
		t.Errorf("of the point %d versions were kept, and %d could be deleted for good", kept, gone)
	}
	for _, kind := range []string{"packs/", "index/"} { // an intruder's doing: a prune leaves young ones
		hidden := s3.Hide(t, bucket, homeserver+"/"+kind)
		if kept, gone := s3.DeleteVersions(t, bucket, homeserver+"/"+kind); hidden == 0 || kept != hidden || gone != 0 {
			t.Errorf("of %d %s %d were kept, and %d could be deleted for good", hidden, kind, kept, gone)
		}
	}
	s3.Undelete(t, bucket)
	if got := w.points(); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%v came back, of %v", got, want)
	}
	w.done("verify", "--read-data")
	w.done(w.restore("--at", want[0], "--mode", "beside", "--target-database", w.name+"_beside")...)
}

// A point uses what was stored long before it, by a program that locked nothing,
// say: with object lock all of it is locked, here and in the copy.
func TestWhatIsReusedIsLockedAgain(t *testing.T) {
	t.Parallel()
	s3 := testbed.S3(t)
	w := emptyWorld(t, testbed.Postgres(t))
	first, second := s3.LockedBucket(t), s3.LockedBucket(t)
	config := filepath.Join(w.dir, "locked.yaml")
	configure := func(lock string) {
		store := func(bucket string) string { return "{url: \"" + s3.URL(bucket) + "\"" + lock + "}" }
		text := "stores:\n  first: " + store(first) + "\n  second: " + store(second) + "\ndefaults:\n  store: first\n  copies: [second]\n"
		w.ok(os.WriteFile(config, []byte(text), 0o600))
	}
	configure("")
	w.set(s3.Env()...)
	w.set("SYNAPSE_MAINT_CONFIG="+config, "SYNAPSE_MAINT_STORE=")
	w.useDatabase(tinyDatabase(t, w.pg))
	w.done("init")
	w.done("backup")
	configure(", objectLock: 24h")
	w.goOn()
	if out := w.done("backup"); strings.Contains(out, "warning") {
		t.Errorf("the backup warns: %s", out)
	}
	want := time.Now().Add(47 * time.Hour)
	for _, bucket := range []string{first, second} {
		count := 0
		for _, key := range needed(t, filepath.Join(s3.Dir(bucket), homeserver)) {
			lock, err := s3.Retention(t, bucket, homeserver+"/"+key)
			w.ok(err)
			until, err := time.Parse(time.RFC3339, strings.TrimPrefix(lock, "GOVERNANCE until "))
			if err != nil || until.Before(want) {
				t.Errorf("%s in %s: %s (%v)", key, bucket, lock, err)
			}
			count++
		}
		if count < 7 { // archive.json, its copy, the script, and of each backup a pack and its index
			t.Errorf("%s has %d objects", bucket, count)
		}
	}
}

// needed are the keys of an archive's objects, but points and what runs leave.
func needed(t *testing.T, dir string) (keys []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		key, _ := filepath.Rel(dir, path)
		kind, _, _ := strings.Cut(key, "/")
		if err == nil && !d.IsDir() && (kind == key || kind == "packs" || kind == "index") {
			keys = append(keys, key)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}
