package endtoend

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

// killAtAnswer kills the program when the store has carried out its nth request
// of an operation on such objects, before the program hears of it. It returns false if there
// were fewer.
func (w *world) killAtAnswer(proxy *testbed.FaultProxy, op, path string, n int, args ...string) bool {
	w.t.Helper()
	p := w.command(args...)
	started := make(chan struct{})
	proxy.Inject(testbed.Fault{Op: op, Path: path, Skip: n - 1, Times: 1, Answered: func(*http.Request) {
		<-started
		_ = p.Process.Kill() // nothing else can have ended it
	}})
	w.ok(p.Start())
	close(started)
	died := w.killed(p)
	proxy.Reset()
	return died
}

// killAtEachAnswer kills the program at each of these requests. There have to
// be as many in every run of the program: each reads the journal of those before.
func (w *world) killAtEachAnswer(proxy *testbed.FaultProxy, op, path string, v victim) {
	w.t.Helper()
	for n := 1; ; n++ {
		v.prepare()
		died := w.killAtAnswer(proxy, op, path, n, v.args...)
		v.after("an answer to "+op, died)
		if w.t.Failed() {
			w.t.Fatalf("killed at %s number %d", op, n)
		}
		if !died {
			w.t.Logf("killed at %d requests of %s%s", n-1, op, path)
			if n == 1 {
				w.t.Errorf("no %s came", op)
			}
			return
		}
	}
}

// With an encrypted archive in a bucket it is as with a folder.
func TestABackupToABucketKilledAfterAnyPutLeavesNoBrokenPoint(t *testing.T) {
	t.Parallel()
	w, proxy, _ := bucketWorld(t)
	w.killAtEachAnswer(proxy, "PUT", "", w.backupVictim())
	w.done("verify", "--read-data", "--identity", w.key)
	w.newestRestores()
}

// The same at random instants of it.
func TestABackupToABucketKilledAtRandomLeavesNoBrokenPoint(t *testing.T) {
	t.Parallel()
	w, _, _ := bucketWorld(t)
	v := w.backupVictim()
	v.few = true
	w.killAtRandom(v)
	w.done("verify", "--read-data", "--identity", w.key)
	w.newestRestores()
}

func TestARestoreFromABucketKilledAtRandomHurtsNothingAndGoesOn(t *testing.T) {
	t.Parallel()
	w, _, _ := bucketWorld(t)
	k := newRestoreKills(w, "swap")
	v := k.victim()
	v.few = true
	k.killAtRandom(v)
}

func TestARestoreFromABucketKilledAfterAnyGetGoesOn(t *testing.T) {
	t.Parallel()
	w, proxy, _ := bucketWorld(t)
	k := newRestoreKills(w, "swap")
	for _, path := range []string{"/points/", "/index/", "/packs/"} {
		k.killAtEachAnswer(proxy, "GET", path, k.victim())
	}
}

// A backup that is interrupted while its point is copied to another store says
// that there is a point, and where.
func TestABackupInterruptedInItsCopyHasItsPoint(t *testing.T) {
	t.Parallel()
	s3 := testbed.S3(t)
	w, proxy := tinyWorld(t), testbed.Proxy(t, s3.Endpoint())
	config := filepath.Join(w.dir, "two.yaml")
	w.ok(os.WriteFile(config, []byte("stores:\n  first: {url: \"file://"+w.folder+"\"}\n  second: {url: \""+proxy.StoreURL(s3.Bucket(t))+"\"}\ndefaults:\n  store: first\n  copies: [second]\n"), 0o600))
	w.set(s3.Env()...)
	w.set("SYNAPSE_MAINT_CONFIG="+config, "SYNAPSE_MAINT_STORE=")
	w.done("init")
	p := w.command("--log-level", "off", "backup")
	started := make(chan struct{})
	proxy.Inject(testbed.Fault{Op: "PUT", Path: "/packs/", Times: 1, Answered: func(*http.Request) {
		<-started
		_ = p.Process.Signal(os.Interrupt) // nothing else can have ended it
	}})
	w.ok(p.Start())
	close(started)
	const exitInterrupted = 130
	code, said, points := w.end(p), p.err.String(), w.points()
	if len(points) != 1 || code != exitInterrupted ||
		!strings.HasSuffix(said, "\nsynapse-maint: interrupted: recovery point "+points[0]+" is in file://"+w.folder+"; synapse-maint copy brings it to the other stores\n") {
		t.Errorf("exit code %d, points %v: %s", code, points, said)
	}
	if !strings.Contains(p.out.String(), "Recovery point "+points[0]) {
		t.Errorf("the point is not shown: %s", p.out.String())
	}
	w.done("copy", "--from", "first", "--to", "second")
}
