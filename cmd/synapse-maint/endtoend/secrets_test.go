package endtoend

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

// lookout looks at the program and what it starts, as every user of the machine
// can: their arguments, and whether they may leave a core file.
type lookout struct {
	seen   map[string]string // arguments, by the program's name, of all of them
	limits map[string]string // of core files
}

// watch looks until stop is closed.
func (l *lookout) watch(root int, stop <-chan struct{}) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			pids := family(root)
			for _, pid := range pids {
				l.look(pid, len(pids) > 1)
			}
		}
	}
}

// family is a process with its children; the program starts none that start
// others.
func family(root int) []string {
	all := []string{strconv.Itoa(root)}
	lists, _ := filepath.Glob(filepath.Join("/proc", all[0], "task", "*", "children"))
	for _, list := range lists {
		text, _ := os.ReadFile(list) // of a thread that may have ended
		all = append(all, strings.Fields(string(text))...)
	}
	return all
}

// look notes the limit of core files once the program has had the time to set
// its own: before it starts another.
func (l *lookout) look(pid string, limited bool) {
	args, err := os.ReadFile(filepath.Join("/proc", pid, "cmdline"))
	if err != nil || len(args) == 0 {
		return // it has ended
	}
	limits, err := os.ReadFile(filepath.Join("/proc", pid, "limits"))
	if err != nil {
		return
	}
	words := strings.Split(strings.TrimRight(string(args), "\x00"), "\x00")
	name := filepath.Base(words[0])
	l.seen[name] += strings.Join(words, " ") + "\n"
	for line := range strings.Lines(string(limits)) {
		if text, ok := strings.CutPrefix(line, "Max core file size"); ok && limited {
			l.limits[name] = strings.Join(strings.Fields(text), " ")
		}
	}
}

// TestCredentialsAreNeverInLogs nor in arguments, errors, the journal or any
// other object of the store, whatever the program is asked to do.
func TestCredentialsAreNeverInLogs(t *testing.T) {
	t.Parallel()
	s3 := testbed.S3(t)
	w := emptyWorld(t, testbed.Postgres(t))
	w.useDatabase(tinyDatabase(t, w.pg))
	bucket := s3.Bucket(t)
	w.set(s3.Env()...)
	w.set("SYNAPSE_MAINT_STORE=" + s3.URL(bucket))
	secrets := w.secrets(s3)
	w.slowly()

	var said bytes.Buffer
	l := &lookout{seen: map[string]string{}, limits: map[string]string{}}
	run := func(want int, args ...string) {
		t.Helper()
		p := w.start(append([]string{"--log-level", "debug"}, args...)...)
		stop := make(chan struct{})
		var watching sync.WaitGroup
		watching.Go(func() { l.watch(p.Process.Pid, stop) })
		if code := w.end(p); code != want {
			t.Errorf("%v: exit code %d, want %d: %s", args, code, want, p.err.String())
		}
		close(stop)
		watching.Wait()
		said.WriteString(p.out.String() + p.err.String())
	}
	target, out := w.name+"_beside", filepath.Join(w.dir, "out")
	run(exitUsage, "init", "--recipient", "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p")
	run(exitDone, "backup")
	run(exitDone, "--log-format", "json", "backup", "-o", "json")
	run(exitDone, "verify", "--read-data", "--identity", w.key)
	run(exitDone, w.restore("--mode", "beside", "--target-database", target)...)
	run(exitFailed, w.restore("--mode", "beside", "--target-database", target)...) // it is not empty
	run(exitDone, "export", "latest", out, "--identity", w.key)
	run(exitDone, "list")
	run(exitDone, "runs", "-o", "json")
	run(exitDone, "restore", "status")
	run(exitDone, "config", "show")
	run(exitFailed, "--pg-bin-dir", w.dir, "backup")
	run(exitFailed, "--store", "s3://no-such-bucket?endpoint="+s3.Endpoint()+"&path_style=true", "backup")
	w.sql("postgres", "DROP DATABASE "+target)

	for _, program := range []string{"synapse-maint", "pg_dump", "pg_restore"} {
		if got := l.limits[program]; l.seen[program] == "" || got != "1 1 bytes" {
			t.Errorf("%s was not seen at work, or may leave core files: %q", program, got)
		}
	}
	for kind, secret := range secrets {
		if strings.Contains(said.String(), secret) {
			t.Errorf("the %s is in the output", kind)
		}
		for program, args := range l.seen {
			if strings.Contains(args, secret) {
				t.Errorf("the %s is in arguments of %s", kind, program)
			}
		}
		for _, dir := range []string{s3.Dir(bucket), out} {
			if path := containing(t, dir, secret); path != "" {
				t.Errorf("the %s is in %s", kind, path)
			}
		}
	}
}

// secrets makes an encrypted archive, and are all that nobody may see, each by
// its kind.
func (w *world) secrets(s3 *testbed.S3Server) map[string]string {
	w.t.Helper()
	all := map[string]string{
		"database password": w.pg.Password(), "operator's key": w.encrypt(), "S3 secret": valueOf(s3.Env(), "AWS_SECRET_ACCESS_KEY"),
	}
	job, err := os.ReadFile(filepath.Join(w.dir, "synapse-maint", homeserver+".job.key"))
	w.ok(err)
	for line := range strings.Lines(string(job)) {
		if strings.HasPrefix(line, "AGE-SECRET-KEY-") {
			all["job identity"] = strings.TrimSpace(line)
		}
	}
	for _, kind := range []string{"S3 secret", "job identity"} {
		if all[kind] == "" {
			w.t.Fatalf("there is no %s to look for", kind)
		}
	}
	return all
}

// valueOf finds a variable in an environment.
func valueOf(env []string, name string) string {
	for _, kv := range env {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			return v
		}
	}
	return ""
}

// containing is a file below dir that has the text; empty if there is none.
func containing(t *testing.T, dir, text string) (found string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		body, err := os.ReadFile(path)
		if bytes.Contains(body, []byte(text)) {
			found = path
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("%s: %d files, %v", dir, files, err)
	}
	return found
}
