package endtoend

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

// bucketWorld is a small database and an encrypted archive in a bucket, reached
// through a proxy. It has one recovery point.
func bucketWorld(t *testing.T) (*world, *testbed.FaultProxy, string) {
	t.Helper()
	s3 := testbed.S3(t)
	w := emptyWorld(t, testbed.Postgres(t))
	w.useDatabase(tinyDatabase(t, w.pg))
	bucket := s3.Bucket(t)
	proxy := testbed.Proxy(t, s3.Endpoint())
	w.set(s3.Env()...)
	w.set("SYNAPSE_MAINT_STORE=" + proxy.StoreURL(bucket))
	w.encrypt()
	w.done("backup")
	w.goOn()
	return w, proxy, bucket
}

// A store that falters for a moment costs time, and nothing else.
func TestAStoreThatFaltersIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]testbed.Fault{
		"503 burst":              {Status: http.StatusServiceUnavailable, Code: "SlowDown", Times: 4},
		"500 to puts":            {Op: "PUT", Status: http.StatusInternalServerError, Code: "InternalError", Times: 2},
		"cut while sending":      {Op: "PUT", Path: "/packs/", CutRequest: 1000, Times: 1},
		"cut while receiving":    {Op: "GET", CutResponse: 100, Times: 2},
		"lost answers of puts":   {Op: "PUT", LoseAnswer: true, Times: 2},
		"slow":                   {Rate: 200 << 10},
		"wrong bytes of one get": {Op: "GET", Path: "/packs/", CorruptResponse: true, Times: 1},
		"wrong bytes in one put": {Op: "PUT", Path: "/packs/", CorruptRequest: true, Times: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, proxy, _ := bucketWorld(t)
			for _, command := range [][]string{
				{"backup"}, {"verify", "--read-data", "--identity", w.key}, w.restore("--mode", "beside", "--target-database", w.name+"_beside"),
			} {
				proxy.Reset()
				proxy.Inject(f)
				w.done(command...)
			}
			proxy.Reset()
			if got := len(w.points()); got != 2 {
				t.Errorf("%d points, not 2", got)
			}
			if got, want := w.fingerprint(w.name+"_beside"), w.fingerprint(w.name); got != want {
				t.Errorf("restored %s, want %s", got, want)
			}
			w.sql("postgres", "DROP DATABASE "+w.name+"_beside")
		})
	}
}

func denied(op, path string) testbed.Fault {
	return testbed.Fault{Op: op, Path: path, Status: http.StatusForbidden, Code: "AccessDenied"}
}

// expired is what a store answers when the token's time is over, after some
// answers.
func expired(op string, after int) testbed.Fault {
	return testbed.Fault{Op: op, Skip: after, Status: http.StatusBadRequest, Code: "ExpiredToken"}
}

// TestStatusIsNeverSuccessAfterAFailedPut: a backup that could not store
// everything says so, in one line, and lists nothing.
func TestStatusIsNeverSuccessAfterAFailedPut(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault testbed.Fault
		texts []string
	}{
		"no right to put packs":      {denied("PUT", "/packs/"), []string{"put s3://", "/packs/", "s3:PutObject"}},
		"no right to put indexes":    {denied("PUT", "/index/"), []string{"put s3://", "/index/", "s3:PutObject"}},
		"no right to put points":     {denied("PUT", "/points/"), []string{"put s3://", "/points/", "s3:PutObject"}},
		"no right to get":            {denied("GET", ""), []string{"archive.json", "s3:GetObject"}},
		"no right to list":           {denied("LIST", ""), []string{"s3:ListBucket"}},
		"the token expires half-way": {expired("PUT", 3), []string{"credentials have expired: renew them"}},
		"packs arrive wrong":         {testbed.Fault{Op: "PUT", Path: "/packs/", CorruptRequest: true}, []string{"put s3://", "/packs/"}},
		"the manifest arrives wrong": {testbed.Fault{Op: "PUT", Path: "/points/", CorruptRequest: true}, []string{"put s3://", "/points/"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, proxy, _ := bucketWorld(t)
			proxy.Inject(c.fault)
			t.Log(w.fails(exitFailed, c.texts, "backup"))
			proxy.Reset()
			if got := len(w.points()); got != 1 {
				t.Errorf("%d points are listed, not 1", got)
			}
			w.done("backup")
			w.done("verify", "--read-data")
		})
	}
}

// A restore whose store fails touches nothing, and says why.
func TestAFailedFetchIsNeverRestoreComplete(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault testbed.Fault
		texts []string
	}{
		"no right to get packs": {denied("GET", "/packs/"), []string{"in packs/", "s3:GetObject"}},
		"packs come wrong":      {testbed.Fault{Op: "GET", Path: "/packs/", CorruptResponse: true}, []string{"in packs/", "damaged"}},
		"the token expires":     {expired("GET", 6), []string{"credentials have expired: renew them"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, proxy, _ := bucketWorld(t)
			want := w.fingerprint(w.name)
			proxy.Inject(c.fault)
			t.Log(w.fails(exitFailed, c.texts, w.restore()...))
			proxy.Reset()
			if got := w.fingerprint(w.name); got != want {
				t.Errorf("the live database is %s, not %s", got, want)
			}
			w.done(w.restore()...)
		})
	}
}

// A backup needs no right to delete, and where it would have used it, it says
// what it left: a manifest that does not come back as it was put must not stay.
func TestABackupThatMayNotDeleteLosesNothing(t *testing.T) {
	t.Parallel()
	w, proxy, _ := bucketWorld(t)
	want := w.fingerprint(w.name)
	proxy.Inject(denied("DELETE", ""))
	w.done("backup")
	proxy.Inject(testbed.Fault{Op: "GET", Path: "/points/", Skip: 1, CorruptResponse: true})
	t.Log(w.fails(exitFailed, []string{"damaged", "s3:DeleteObject"}, "backup"))
	proxy.Reset()
	w.done("backup")
	w.done("verify", "--read-data", "--identity", w.key)
	if got := w.restored("latest"); got != want {
		t.Errorf("restored %s, want %s", got, want)
	}
}

// Credentials may lack a right that a backup does not need. What needs it says
// which one is missing, and leaves everything as it was.
func TestACommandThatLacksARightChangesNothing(t *testing.T) {
	t.Parallel()
	w, proxy, _ := bucketWorld(t)
	w.done("backup")
	w.goOn()
	before, points := w.fingerprint(w.name), w.points()
	prune := []string{"prune", "--keep-last", "1", "--yes"}
	for name, c := range map[string]struct {
		fault   testbed.Fault
		code    int
		text    string
		command []string
	}{
		"restore may not list": {denied("LIST", ""), exitFailed, "s3:ListBucket", w.restore()},
		"verify may not list":  {denied("LIST", ""), exitFailed, "s3:ListBucket", []string{"verify"}},
		"list may not list":    {denied("LIST", ""), exitFailed, "s3:ListBucket", []string{"list"}},
		"prune may not list":   {denied("LIST", ""), exitFailed, "s3:ListBucket", prune},
		"prune may not put":    {denied("PUT", ""), exitFailed, "s3:PutObject", prune},
		"prune may not delete": {denied("DELETE", ""), exitPart, "the right to delete is missing", prune},
	} {
		proxy.Inject(c.fault)
		t.Log(name + ": " + w.fails(c.code, []string{c.text}, c.command...))
		proxy.Reset()
		if got := w.fingerprint(w.name); got != before {
			t.Errorf("%s: the live database is %s, not %s", name, got, before)
		}
		if got := w.points(); strings.Join(got, " ") != strings.Join(points, " ") {
			t.Errorf("%s: points %v, not %v", name, got, points)
		}
	}
	w.done("verify", "--read-data", "--identity", w.key)
	w.done(prune...)
	w.done(w.restore()...)
}

// What can't work at all is said by every command, in words that help.
func TestAnUnusableStoreIsNamed(t *testing.T) {
	t.Parallel()
	w, proxy, bucket := bucketWorld(t)
	s3 := testbed.S3(t)
	for name, c := range map[string]struct {
		env   []string
		texts []string
	}{
		"missing bucket":   {[]string{"SYNAPSE_MAINT_STORE=" + proxy.StoreURL("no-such-bucket")}, []string{"no such bucket", "no-such-bucket"}},
		"missing folder":   {[]string{"SYNAPSE_MAINT_STORE=file://" + w.dir + "/none"}, []string{"no such bucket or folder", w.dir + "/none"}},
		"wrong secret":     {[]string{"AWS_SECRET_ACCESS_KEY=wrong-secret-of-a-test"}, []string{"secret access key is wrong", "AWS_SECRET_ACCESS_KEY"}},
		"unknown key":      {[]string{"AWS_ACCESS_KEY_ID=unknown"}, []string{"access key ID is unknown"}},
		"nobody listens":   {[]string{"SYNAPSE_MAINT_STORE=s3://" + bucket + "?endpoint=http%3A%2F%2F127.0.0.1%3A1&region=us-east-1&path_style=true"}, []string{"127.0.0.1:1", "refused"}},
		"the clock is off": {nil, []string{"this machine's clock is off", "set it right"}},
		"a reader":         {s3.LimitedUser(t, bucket, "s3:GetObject", "s3:ListBucket"), []string{"s3:PutObject"}},
	} {
		proxy.Reset()
		if name == "the clock is off" { // as a server says that is right
			proxy.Inject(testbed.Fault{Status: http.StatusForbidden, Code: "RequestTimeTooSkewed"})
		}
		said := w.with(c.env...).fails(exitFailed, c.texts, "backup")
		t.Log(name + ": " + said)
		if strings.Contains(said, "wrong-secret-of-a-test") {
			t.Error("the secret is in the error")
		}
	}
	proxy.Reset()
	// Least privilege: what can neither read data's key nor delete takes a point.
	w.with(s3.LimitedUser(t, bucket, "s3:GetObject", "s3:PutObject", "s3:ListBucket")...).done("backup")
}

// Who may only read can check all there is, and is told that list won't show it.
func TestAReaderVerifies(t *testing.T) {
	t.Parallel()
	w, _, bucket := bucketWorld(t)
	reader := w.with(testbed.S3(t).LimitedUser(t, bucket, "s3:GetObject", "s3:ListBucket")...)
	p := reader.start("verify", "--read-data", "--identity", w.key, "-o", "json")
	if code := w.end(p); code != exitDone || !strings.Contains(p.out.String(), `"unrecorded": "`) ||
		!strings.Contains(p.err.String(), "the result can't be kept in the store, so that list will not show it: ") {
		t.Errorf("exit code %d: %s%s", code, p.err.String(), p.out.String())
	}
	if list := w.done("list"); !strings.Contains(list, "never") {
		t.Errorf("it was recorded: %s", list)
	}
	packs, err := filepath.Glob(filepath.Join(testbed.S3(t).Dir(bucket), homeserver, "packs", "*", "*"))
	w.ok(err)
	w.ok(os.Truncate(packs[0], 100))
	reader.fails(exitFailed, []string{"can't be restored in full", " packs/"}, "verify")
}

// TestAFullDiskLeavesTheOldPointsAlone also says what is full. It needs a mount
// of its own.
func TestAFullDiskLeavesTheOldPointsAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bin, err := build()
	w.ok(err)
	script := filepath.Join(w.dir, "full.sh")
	w.ok(os.WriteFile(script, []byte(`set -eu
mount -t tmpfs -o size=3m tmpfs "$1"
`+strings.ReplaceAll(`BIN init >/dev/null
BIN backup >/dev/null
BIN list -o json >"$1.before"
head -c 3m /dev/zero >"$1/filler" 2>/dev/null || true
code=0; BIN backup 2>"$1.said" || code=$?
echo "$code" >"$1.code"
BIN list -o json >"$1.after"
BIN verify --read-data >/dev/null 2>&1 || [ "$?" = 1 ] # it can't write its result either
rm "$1/filler"
BIN verify --read-data >/dev/null
BIN backup >/dev/null
`, "BIN", `"$2" --log-level off`)), 0o700))
	disk := filepath.Join(w.dir, "disk")
	w.ok(os.Mkdir(disk, 0o700))
	p := w.with("SYNAPSE_MAINT_STORE=file://" + disk).command()
	p.Path, p.Args = "/usr/bin/unshare", []string{"unshare", "--user", "--map-root-user", "--mount", "sh", script, disk, bin}
	w.ok(p.Start())
	if code := w.end(p); code != 0 {
		t.Fatalf("exit code %d: %s%s", code, p.out.String(), p.err.String())
	}
	read := func(suffix string) string {
		text, err := os.ReadFile(disk + suffix)
		w.ok(err)
		return string(text)
	}
	said := read(".said")
	if read(".code") != "1\n" || !strings.Contains(said, "no space left on device") || strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "synapse-maint: ") {
		t.Errorf("exit code %s: %s", read(".code"), said)
	}
	if a, b := strings.Count(read(".before"), `"id"`), strings.Count(read(".after"), `"id"`); a != 1 || b != 1 {
		t.Errorf("%d points, then %d", a, b)
	}
}

// Some servers take a condition of a put and overwrite all the same: no archive
// is made there, for neither locks nor points would hold.
func TestAStoreThatIgnoresConditionsGetsNoArchive(t *testing.T) {
	t.Parallel()
	s3 := testbed.S3(t)
	w := emptyWorld(t, testbed.Postgres(t))
	bucket, proxy := s3.Bucket(t), testbed.Proxy(t, s3.Endpoint())
	w.set(s3.Env()...)
	first := w.with("SYNAPSE_MAINT_STORE=" + proxy.StoreURL(bucket))
	proxy.Inject(testbed.Fault{Op: "PUT", Path: "/locks/conditions-", Skip: 1, Unconditional: true})
	first.fails(exitFailed, []string{"the store ignores conditions of puts (If-None-Match, If-Match): it can't keep archives"}, "init")
	config := filepath.Join(w.dir, "two.yaml")
	w.ok(os.WriteFile(config, []byte("stores:\n  first: {url: \"file://"+w.folder+"\"}\n  second: {url: \""+proxy.StoreURL(bucket)+"\"}\ndefaults:\n  store: first\n  copies: [second]\n"), 0o600))
	second := w.with("SYNAPSE_MAINT_CONFIG="+config, "SYNAPSE_MAINT_STORE=")
	second.fails(exitPart, []string{"but not in second", "the store ignores conditions of puts"}, "init")
	if left, err := os.ReadDir(filepath.Join(s3.Dir(bucket), homeserver)); err == nil && len(left) > 1 { // the folder of locks
		t.Errorf("left behind: %v", left)
	}
	proxy.Reset()
	first.done("init")
}
