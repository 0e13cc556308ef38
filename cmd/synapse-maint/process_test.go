package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

// process is the program at work, as another process.
type process struct {
	*exec.Cmd
	out bytes.Buffer
	err watched
}

// watched can be read while the process writes.
type watched struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(b)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// said is what is on its standard error so far.
func (p *process) said() string { return p.err.String() }

func start(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.CommandContext(t.Context(), "synapse-maint", args...)}
	p.Env = append(os.Environ(), env...)
	p.Stdout, p.Stderr = &p.out, &p.err
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// end waits for the process and returns its exit code.
func (p *process) end(t *testing.T) int {
	t.Helper()
	var exit *exec.ExitError
	if err := p.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return p.ProcessState.ExitCode()
}

// done runs the program and wants exit code 0.
func done(t *testing.T, env []string, args ...string) string {
	t.Helper()
	p := start(t, env, args...)
	if code := p.end(t); code != exitDone {
		t.Fatalf("%v: exit code %d: %s", args, code, p.err.String())
	}
	return p.out.String()
}

// waitFor waits until something is so.
func waitFor(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(30 * time.Second); !so(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("after 30 s: not %s", what)
		}
	}
}

// slowStore is a bucket whose puts of packs hang until they are let through.
func slowStore(t *testing.T) (env []string, proxy *testbed.FaultProxy) {
	t.Helper()
	s3 := testbed.S3(t)
	bucket := s3.Bucket(t)
	proxy = testbed.Proxy(t, s3.Endpoint())
	db := testbed.SynapseDatabase(t, testbed.Postgres(t), 0.01)
	return append(s3.Env(), "SYNAPSE_MAINT_STORE="+proxy.StoreURL(bucket), "SYNAPSE_MAINT_DATABASE="+db,
		"PATH="+testbed.Postgres(t).BinDir()+":"+os.Getenv("PATH"), "HOME="+t.TempDir()), proxy
}

// TestInterruptAndLock: a backup that is at work keeps others out by name, ends
// at once and tidily when it is interrupted, and leaves neither a point nor a
// lock.
func TestInterruptAndLock(t *testing.T) {
	t.Parallel()
	env, proxy := slowStore(t)
	done(t, env, "init")
	proxy.Inject(testbed.Fault{Op: "PUT", Path: "/packs/", Hang: true})
	first := start(t, env, "backup")
	waitFor(t, "sending a pack", func() bool { return proxy.Count("PUT") > 4 })
	puts := func() bool { return strings.Contains(done(t, env, "runs"), "running") }
	waitFor(t, "running", puts)

	second := start(t, env, "backup", "--wait", "0s")
	if code := second.end(t); code != exitLocked {
		t.Errorf("a second backup: exit code %d: %s", code, second.err.String())
	}
	for _, want := range []string{"locked by another run: backup-2", " since 2", "last heartbeat was", "can be taken over in"} {
		if text := second.err.String(); !strings.Contains(text, want) {
			t.Errorf("a second backup does not say %q: %s", want, text)
		}
	}

	if err := first.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if code := first.end(t); code != exitInterrupted {
		t.Errorf("interrupted: exit code %d: %s", code, first.err.String())
	}
	if text := first.err.String(); !strings.HasSuffix(text, "synapse-maint: interrupted: no recovery point was listed; what was stored so far is not sent again by the next backup\n") {
		t.Errorf("interrupted: %s", text)
	}
	proxy.Reset()
	if text := done(t, env, "list"); !strings.Contains(text, "no recovery point yet") {
		t.Errorf("after the interruption: %s", text)
	}
	if text := done(t, env, "runs"); !strings.Contains(text, "interrupted") {
		t.Errorf("the journal after the interruption: %s", text)
	}
	done(t, env, "backup")
}

// TestSecondInterruptKills: a program that does not end is left at once.
func TestSecondInterruptKills(t *testing.T) {
	t.Parallel()
	env, proxy := slowStore(t)
	done(t, env, "init")
	proxy.Inject(testbed.Fault{Op: "PUT", Path: "/packs/", Hang: true})
	p := start(t, env, "backup")
	waitFor(t, "sending a pack", func() bool { return proxy.Count("PUT") > 4 })
	proxy.Inject(testbed.Fault{Hang: true}) // and now nothing can be journalled
	ended := make(chan struct{})
	go func() {
		_ = p.Wait() // killed, as is to be shown
		close(ended)
	}()
	waitFor(t, "ended", func() bool {
		_ = p.Process.Signal(syscall.SIGTERM) // which may have ended already
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	if status, ok := p.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGTERM {
		t.Errorf("ended by %v", p.ProcessState)
	}
}

// TestNoSecretInArguments: what programs are started with, every user can read.
func TestNoSecretInArguments(t *testing.T) {
	t.Parallel()
	pg := testbed.Postgres(t)
	dir := t.TempDir()
	seen := filepath.Join(dir, "seen")
	for _, program := range []string{"pg_dump", "pg_restore"} {
		script := "#!/bin/sh\nprintf '%s\\n' \"$0 $*\" >>" + seen + "\ntr '\\0' ' ' </proc/$PPID/cmdline >>" + seen +
			"\nulimit -c >>" + seen + "\nexec " + filepath.Join(pg.BinDir(), program) + " \"$@\"\n"
		if err := os.WriteFile(filepath.Join(dir, program), []byte(script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	password := pg.Password()
	url := strings.Replace(testbed.SynapseDatabase(t, pg, 0.01), ":"+password+"@", "@", 1)
	file := filepath.Join(dir, "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	conf := "stores: {main: {url: 'file://" + dir + "/store'}}\nhomeservers:\n  matrix.example.com:\n" +
		"    database: {url: '" + url + "', passwordFile: " + file + "}\n    pgBinDir: " + dir + "\n"
	if err := os.WriteFile(filepath.Join(dir, "conf.yaml"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{"SYNAPSE_MAINT_CONFIG=" + filepath.Join(dir, "conf.yaml"), "HOME=" + dir}
	all := done(t, env, "init") + done(t, env, "--log-level", "debug", "backup") + done(t, env, "config", "show") +
		done(t, env, "--log-level", "debug", "restore", "--mode", "beside", "--target-database", "secretless_copy") + done(t, env, "runs", "-o", "json")
	text, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"pg_dump", "pg_restore"} {
		if !strings.Contains(string(text), program) {
			t.Errorf("%s was not run: %s", program, text)
		}
	}
	if strings.Contains(string(text)+all, password) {
		t.Error("the password is in arguments or output")
	}
	if !strings.Contains(string(text), "\n0\n") && !strings.HasSuffix(string(text), "0\n") {
		t.Errorf("core files are possible: %s", text)
	}
}
