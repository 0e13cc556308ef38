package main

import (
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

// hanging is a backup that is at work and gets no further.
func hanging(t *testing.T) (env []string, proxy *testbed.FaultProxy, p *process) {
	t.Helper()
	env, proxy = slowStore(t)
	done(t, env, "init")
	proxy.Inject(testbed.Fault{Op: "PUT", Path: "/packs/", Hang: true})
	p = start(t, env, "backup")
	waitFor(t, "at work", func() bool { return strings.Contains(done(t, env, "runs"), " running ") })
	return env, proxy, p
}

// A run that is followed is waited for, and ends the one that follows as it ends
// its own command; while it is at work another backup waits for its lock.
func TestRunIsFollowedToItsEnd(t *testing.T) {
	t.Parallel()
	env, proxy, first := hanging(t)
	follower := start(t, env, "runs", "--follow")
	second := start(t, env, "backup", "--wait", "60s")
	waitFor(t, "waiting", func() bool { return strings.Contains(second.said(), "locked by backup-") })
	proxy.Reset()
	for _, p := range []*process{first, follower, second} {
		if code := p.end(t); code != exitDone {
			t.Errorf("%v: exit code %d: %s", p.Args[1:], code, p.said())
		}
	}
	if text := follower.out.String(); !strings.Contains(text, "state    done") {
		t.Errorf("followed: %s", text)
	}
	p := start(t, env, "runs", "--follow")
	if code := p.end(t); code != exitNothing || !strings.Contains(p.said(), "no run of synapse is at work: see runs") {
		t.Errorf("nothing to follow: exit code %d: %s", code, p.said())
	}
}

// A run that was killed is not shown as running, neither before its lock is
// taken over nor after.
func TestKilledRunIsShownAsInterrupted(t *testing.T) {
	t.Parallel()
	env, proxy, p := hanging(t)
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	p.end(t)
	proxy.Reset()
	name, _, _ := strings.Cut(strings.Split(done(t, env, "runs"), "\n")[1], " ")
	for _, next := range []string{"the next run takes the lock over", "the lock was taken over by backup-"} {
		text := strings.Join(strings.Fields(done(t, env, "runs", name)), " ")
		for _, want := range []string{"state interrupted", "was killed or lost the store; " + next} {
			if !strings.Contains(text, want) {
				t.Errorf("it does not say %q: %s", want, text)
			}
		}
		if text := done(t, env, "runs"); strings.Contains(text, " running ") {
			t.Errorf("the list: %s", text)
		}
		f := start(t, env, "runs", name, "--follow")
		if code := f.end(t); code != exitInterrupted || !strings.Contains(f.said(), name) {
			t.Errorf("followed: exit code %d: %s", code, f.said())
		}
		done(t, env, "backup")
	}
}
