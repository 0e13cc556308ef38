package endtoend

import (
	"encoding/binary"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const randomKills = 20

// seed of the random instants: a failure can be had again, as far as processes
// allow.
const seed = 20261125

// instants are random, but the same ones in every test: parts of a duration,
// one in each twentieth of it.
func instants() []float64 {
	r := rand.New(rand.NewPCG(seed, 1))
	all := make([]float64, randomKills)
	for i := range all {
		all[i] = (float64(i) + r.Float64()) / randomKills
	}
	return all
}

// killAfter kills the program after a while. It returns false if that ended
// before.
func (w *world) killAfter(d time.Duration, args ...string) bool {
	w.t.Helper()
	p := w.start(args...)
	timer := time.AfterFunc(d, func() { _ = p.Process.Kill() }) // it may have ended
	defer timer.Stop()
	return w.killed(p)
}

// killed waits for the program, which has to be killed or to succeed.
func (w *world) killed(p *process) bool {
	w.t.Helper()
	code := w.end(p)
	status, _ := p.ProcessState.Sys().(syscall.WaitStatus)
	if code != exitDone && status.Signal() != syscall.SIGKILL {
		w.t.Errorf("%v: ended with %d before it was killed: %s", p.Args[1:], code, p.err.String())
	}
	return code != exitDone
}

// killAtWrite kills the program when it writes for the nth time below the
// folders of the store: when it has made the file, and again when it has given
// it its name. Before and after each step the journal is written. It returns
// false if the program wrote less, and where it was killed.
func (w *world) killAtWrite(n int, folders []string, args ...string) (where string, died bool) {
	w.t.Helper()
	events := w.watchWrites(folders)
	p := w.start(args...)
	ended := make(chan struct{})
	killed := make(chan string, 1)
	go func() {
		defer close(killed)
		for i := 1; ; i++ {
			name := events.next(ended)
			if name == "" {
				return
			}
			if i == n {
				_ = p.Process.Kill() // it may have ended
				killed <- name
				return
			}
		}
	}()
	died = w.killed(p)
	close(ended)
	where = <-killed
	w.ok(unix.Close(events.fd)) // not at the test's end: a user may have 128 of them at once
	return where, died
}

// writes are the kernel's news of files in folders.
type writes struct {
	fd     int
	folder map[int32]string
	names  []string // read, not yet asked for
}

// watchWrites watches folders of the homeserver's archive, with those below.
func (w *world) watchWrites(folders []string) *writes {
	w.t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	w.ok(err)
	e := &writes{fd: fd, folder: map[int32]string{}}
	root := filepath.Join(w.folder, homeserver)
	for _, f := range folders {
		w.ok(filepath.WalkDir(filepath.Join(root, f), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				return err
			}
			wd, err := unix.InotifyAddWatch(fd, path, unix.IN_CREATE|unix.IN_MOVED_TO)
			e.folder[int32(wd)], _ = filepath.Rel(root, path)
			return err
		}))
	}
	return e
}

// next waits for a file. It returns "" when stop is closed.
func (e *writes) next(stop <-chan struct{}) string {
	const poll = 20 // milliseconds until it looks at stop
	buf := make([]byte, 64<<10)
	for len(e.names) == 0 {
		select {
		case <-stop:
			return ""
		default:
		}
		ready := []unix.PollFd{{Fd: int32(e.fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(ready, poll); n < 1 || err != nil {
			continue
		}
		n, err := unix.Read(e.fd, buf)
		if err != nil {
			continue
		}
		e.parse(buf[:n])
	}
	name := e.names[0]
	e.names = e.names[1:]
	return name
}

// parse reads struct inotify_event of inotify(7).
func (e *writes) parse(b []byte) {
	for len(b) >= unix.SizeofInotifyEvent {
		wd := int32(binary.NativeEndian.Uint32(b))
		size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(b[12:]))
		name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:size]), "\x00")
		e.names = append(e.names, filepath.Join(e.folder[wd], name))
		b = b[size:]
	}
}

// duration is how long an undisturbed run takes.
func (w *world) duration(args ...string) time.Duration {
	w.t.Helper()
	began := time.Now()
	w.done(args...)
	return time.Since(began)
}

// victim is a command that is killed over and over.
type victim struct {
	args    []string
	prepare func()                        // before each time
	after   func(where string, died bool) // looks at what the death left, and mends it
	// few kills a third as often: where another test tries every instant of the
	// same, and only the store or the mode is another one.
	few bool
}

// killAtEachWrite kills the program at each write to folders of the store.
func (w *world) killAtEachWrite(v victim, folders ...string) {
	w.t.Helper()
	for n := 1; ; n++ {
		v.prepare()
		where, died := w.killAtWrite(n, folders, v.args...)
		v.after(where, died)
		if w.t.Failed() {
			w.t.Fatalf("killed at write %d, %s", n, where)
		}
		if where == "" {
			w.t.Logf("killed at %d writes", n-1)
			if n < 5 {
				w.t.Errorf("hardly anything was written below %v", folders)
			}
			return
		}
	}
}

// killAtRandom kills the program at random instants of its run. How long that is
// changes with what else the machine does.
func (w *world) killAtRandom(v victim) {
	w.t.Helper()
	v.prepare()
	whole := w.duration(v.args...)
	v.after("undisturbed", false)
	deaths := 0
	for i, part := range instants() {
		if v.few && i%3 != 1 {
			continue
		}
		for died := false; !died; {
			at := time.Duration(part * float64(whole))
			v.prepare()
			began := time.Now()
			died = w.killAfter(at, v.args...)
			if !died { // faster than it was
				whole = min(time.Since(began), whole*9/10)
			}
			v.after("after "+at.String(), died)
			if w.t.Failed() {
				w.t.Fatalf("killed after %s of %s", at, whole)
			}
		}
		deaths++
	}
	w.t.Logf("killed at %d random instants of about %s", deaths, whole)
}

// backupVictim is a backup of a database that changes. After each death the
// points are as sound as before, and the next backup takes one more.
func (w *world) backupVictim() victim {
	deaths := 0
	return victim{args: []string{"backup"}, prepare: w.goOn, after: func(where string, died bool) {
		before := w.points()
		if !died {
			return
		}
		if deaths++; deaths%3 == 0 {
			w.done("verify", "--read-data")
		}
		p := w.start("--log-level", "warn", "backup")
		if code := w.end(p); code != exitDone {
			w.t.Errorf("killed at %s, then: exit code %d: %s", where, code, p.err.String())
		}
		if now := w.points(); len(now) != len(before)+1 {
			w.t.Errorf("killed at %s: %d points, then %d", where, len(before), len(now))
		}
	}}
}

// A backup that was killed at any instant leaves no point that does not
// restore, no lock, and nothing that is in the next one's way.
func TestAKilledBackupLeavesNoBrokenPointAndNoLock(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.done("backup") // makes the folders
	oldest, want := w.points()[0], w.fingerprint(w.name)
	v := w.backupVictim()
	w.killAtEachWrite(v, "journal", "locks", "index", "index.copy", "points")
	w.killAtRandom(v)
	w.done("verify", "--read-data")
	w.newestRestores()
	for _, point := range []string{oldest, w.points()[len(w.points())/2]} {
		if got := w.restored(point); point == oldest && got != want {
			t.Errorf("the oldest: %s, want %s", got, want)
		}
	}
}

// restored is the fingerprint of what a point gives.
func (w *world) restored(point string) string {
	w.t.Helper()
	target := w.name + "_beside"
	w.done(w.restore("--mode", "beside", "--target-database", target, "--at", point)...)
	defer w.sql("postgres", "DROP DATABASE "+target)
	return w.fingerprint(target)
}

// newestRestores takes a last point and compares what it gives with what is in
// the database.
func (w *world) newestRestores() {
	w.t.Helper()
	w.done("backup")
	if got, want := w.restored("latest"), w.fingerprint(w.name); got != want {
		w.t.Errorf("restored %s, want %s", got, want)
	}
}
