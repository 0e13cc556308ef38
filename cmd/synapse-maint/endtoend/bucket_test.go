package endtoend

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

// mediaInBuckets is a world whose media are in one bucket, and whose encrypted
// archive is in another. It has a recovery point of the media, and the folder
// that they were copied from.
func mediaInBuckets(t *testing.T) (w *world, media *testbed.Media, archive string) {
	t.Helper()
	s3 := testbed.S3(t)
	w = emptyWorld(t, testbed.Postgres(t))
	source, archive := s3.Bucket(t), s3.Bucket(t)
	dir := filepath.Join(w.dir, "media_store")
	w.ok(os.Mkdir(dir, 0o755))
	media, err := testbed.FillMedia(t.Context(), dir, testbed.SmallMedia())
	w.ok(err)
	// Names that a store of ours would not write, as others do.
	odd := filepath.Join(dir, "local_content/[2001:db8::1]/.an odd+name")
	w.ok(os.MkdirAll(filepath.Dir(odd), 0o755))
	w.ok(os.WriteFile(odd, []byte("odd"), 0o644)) //nolint:gosec // as media are
	w.set(s3.Env()...)
	w.set("AWS_ENDPOINT_URL="+s3.Endpoint(), "SYNAPSE_MAINT_STORE="+s3.URL(archive), "SYNAPSE_MAINT_MEDIA="+s3.URL(source))
	w.tool("/usr/bin/aws", "--endpoint-url", s3.Endpoint(), "s3", "sync", "--only-show-errors", dir, "s3://"+source)
	w.encrypt()
	w.done("backup", "--only", "media")
	return w, media, filepath.Join(s3.Dir(archive), homeserver)
}

// tool runs a program that operators have; it finds Debian's programs first.
func (w *world) tool(name string, args ...string) {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), name, args...)
	cmd.Env = slices.DeleteFunc(slices.Clone(w.env), func(v string) bool {
		return strings.HasPrefix(v, "AWS_PROFILE=") // an empty one is unknown to aws
	})
	cmd.Env = append(cmd.Env, "PATH=/usr/bin:"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("%s %s: %v: %s", name, args[0], err, out)
	}
}

// synapse-s3-storage-provider has moved the media to a bucket.
func TestMediaOfABucketComeBackFromABucket(t *testing.T) {
	t.Parallel()
	w, media, archive := mediaInBuckets(t)
	want := w.kept(media.Dir)
	restored := filepath.Join(w.dir, "restored")
	for _, said := range []string{
		w.done("restore", "--only", "media", "--media-path", restored, "--yes", "--identity", w.key), w.done("restore", "status"),
	} {
		if words := strings.Join(strings.Fields(said), " "); os.Geteuid() == 0 && !strings.Contains(words, "warning the point does not know whose the media were, which came from a bucket, and they belong to root") {
			t.Errorf("nobody is told whose the media are: %s", said)
		}
	}
	if got := w.kept(restored); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
	w.done("backup", "--only", "media")
	w.done("verify", "--read-data", "--identity", w.key)

	rescued := filepath.Join(w.dir, "rescued")
	where := strings.TrimPrefix(archive, filepath.Dir(filepath.Dir(archive))+"/")
	w.tool("bash", filepath.Join(archive, "rescue.sh"), "-f", "s3://"+where, "-i", w.key, "media", "latest", rescued)
	if got := w.kept(rescued); got != want {
		t.Errorf("rescued %s, want %s", got, want)
	}
}

// nobody is who runs a program without being root.
const nobody = 65534

// asNobody restores the newest point's media to a folder below home, as a user
// who is not root, and returns what was said.
func (w *world) asNobody(home, dir string) string {
	w.t.Helper()
	key := filepath.Join(home, "key")
	w.tool("cp", w.key, key)
	p := w.command("restore", "--only", "media", "--media-path", filepath.Join(home, dir), "--yes", "--identity", key)
	p.Path = filepath.Join(home, "synapse-maint")
	p.Env = append(p.Env, "HOME="+home, "XDG_DATA_HOME="+home, "TMPDIR="+home)
	if os.Geteuid() == 0 {
		w.tool("chown", "65534:65534", home, key)
		p.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	w.ok(p.Start())
	if code := w.end(p); code != exitDone {
		w.t.Fatalf("exit code %d: %s%s", code, p.err.String(), p.out.String())
	}
	return strings.Join(strings.Fields(p.out.String()), " ")
}

// Who is not root gets the files as his own, and is told so.
func TestMediaAreRestoredByAnotherUserThanRoot(t *testing.T) {
	t.Parallel()
	w, media, _ := mediaInBuckets(t)
	bin, err := build()
	w.ok(err)
	home, err := os.MkdirTemp("", "synapse-maint-nobody-")
	w.ok(err)
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	w.tool("cp", bin, filepath.Join(home, "synapse-maint"))
	root := os.Geteuid() == 0
	w.asNobody(home, "media")
	if got, want := w.kept(filepath.Join(home, "media")), w.kept(media.Dir); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
	info, err := os.Stat(filepath.Join(home, "media"))
	w.ok(err)
	if st := info.Sys().(*syscall.Stat_t); root != (st.Uid == nobody) {
		t.Errorf("the folder belongs to %d", st.Uid)
	}

	w = w.with("SYNAPSE_MAINT_MEDIA=" + media.Dir) // which tells whose they are
	w.done("backup", "--only", "media")
	paths := 0
	for _, class := range []string{"local_content", "local_thumbnails"} {
		w.ok(filepath.WalkDir(filepath.Join(media.Dir, class), func(string, fs.DirEntry, error) error { paths++; return nil }))
	}
	if said := w.asNobody(home, "others"); root && !strings.Contains(said, fmt.Sprintf(" %d paths could not be given to the owner the point has", paths)) {
		t.Errorf("of %d paths: %s", paths, said)
	}
	if !root {
		return // the files of two owners take root
	}
	w.tool("chown", "-R", "65534:65534", media.Dir)
	w.done("backup", "--only", "media")
	w.asNobody(home, "own")
	// A file of somebody else that is as it should be, but for its owner.
	local := slices.IndexFunc(media.Items, func(i *testbed.MediaItem) bool { return i.Class == "local_content" })
	w.tool("chown", "991", filepath.Join(home, "own", media.Items[local].Path()))
	if said := w.asNobody(home, "own"); !strings.Contains(said, " 1 path could not be given to the owner the point has") {
		t.Error(said)
	}
}

// After an intrusion, a store is given to nobody but to be read.
func TestARestoreFromAStoreThatMayOnlyBeRead(t *testing.T) {
	t.Parallel()
	s3 := testbed.S3(t)
	w := emptyWorld(t, testbed.Postgres(t))
	bucket := s3.Bucket(t)
	w.set(s3.Env()...)
	w.set("SYNAPSE_MAINT_STORE=" + s3.URL(bucket))
	w.useDatabase(tinyDatabase(t, w.pg))
	w.done("init")
	w.done("backup")
	want := w.fingerprint(w.name)
	w.goOn()
	w.set(s3.LimitedUser(t, bucket, "s3:GetObject", "s3:ListBucket")...)
	for _, args := range [][]string{w.restore(), w.restore("--mode", "beside", "--target-database", w.name+"_beside")} {
		w.fails(exitFailed, []string{"does not allow s3:PutObject", "with --store (init makes it) and this one with --from", "export, and rescue.sh, need none"}, args...)
	}
	if left := w.databases(); left != "" {
		t.Errorf("there is %s", left)
	}
	w.done("export", "latest", filepath.Join(w.dir, "out"))
	scratch := "file://" + filepath.Join(w.dir, "scratch")
	w.done("init", "--store", scratch)
	w.done(w.restore("--store", scratch, "--from", s3.URL(bucket))...)
	if got := w.fingerprint(w.name); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
	run, _, _ := strings.Cut(w.done("restore", "status", "--store", scratch), ":")
	w.done("restore", "undo", run, "--store", scratch, "--yes")
	w.done("restore", "drop", run, "--store", scratch, "--yes")
}

// Others made 7,000 LISTs a day for 950 objects, and 40,000 for a backup of
// 20 GB (kopia#2542, longhorn#9817).
func TestTheStoreIsListedAFewTimesWhateverItHolds(t *testing.T) {
	t.Parallel()
	w := emptyWorld(t, testbed.Postgres(t))
	s3, err := testbed.StartS3Counting(t.Context(), t.TempDir())
	w.ok(err)
	t.Cleanup(s3.Stop)
	w.ok(s3.MakeBucket("counted"))
	w.useDatabase(tinyDatabase(t, w.pg))
	w.set(s3.Env()...)
	w.set("SYNAPSE_MAINT_STORE=" + s3.URL("counted"))
	w.done("init")
	commands := map[string][]string{
		"backup": {"backup"}, "list": {"list"}, "verify": {"verify"}, "prune": {"prune", "--keep-last", "50", "--yes"},
		"restore": w.restore("--mode", "beside", "--target-database", w.name+"_beside"),
	}
	lists := func(name string) int {
		_, err := s3.TakeRequests("counted") // of before
		w.ok(err)
		w.done(commands[name]...)
		got, err := s3.TakeRequests("counted")
		w.ok(err)
		return got["s3_ListObjectsV2"]
	}
	w.done("backup")
	before := map[string]int{}
	for _, name := range []string{"backup", "verify", "list", "prune", "restore"} {
		before[name] = lists(name)
		if n := before[name]; n == 0 || n > 45 { // prune looks four times, and shows its plan between
			t.Errorf("%s lists the store %d times", name, n)
		}
	}
	w.sql("postgres", "DROP DATABASE "+w.name+"_beside")
	for range 4 {
		w.goOn()
		w.done("backup")
	}
	for name, n := range before {
		if after := lists(name); after > n+1 { // of what a first run has not yet
			t.Errorf("%s lists the store %d times with eight points, and %d with two", name, after, n)
		}
	}
}
