package endtoend

import (
	"syscall"
	"testing"
)

// promised is the memory that the program needs at most, in KiB as getrusage(2)
// counts it.
const promised = 256 << 10

// TestARowOf400MBFitsIntoTheMemory, both ways: rows are never held whole.
func TestARowOf400MBFitsIntoTheMemory(t *testing.T) {
	t.Parallel()
	w := tinyWorld(t)
	// External: not compressed, so that it is as long on disk as on the way.
	w.sql(w.name, `SET ROLE synapse; CREATE TABLE huge (id int PRIMARY KEY, body text);
		ALTER TABLE huge ALTER body SET STORAGE EXTERNAL; INSERT INTO huge SELECT 1, repeat(md5('a'), 400 << 15)`)
	sum := "SELECT md5(body) FROM huge"
	want := w.query(w.name, sum)
	target := w.name + "_beside"
	for _, args := range [][]string{{"backup"}, w.restore("--mode", "beside", "--target-database", target)} {
		p := w.start(args...)
		if code := w.end(p); code != exitDone {
			t.Fatalf("%v: exit code %d: %s", args, code, p.err.String())
		}
		used, ok := p.ProcessState.SysUsage().(*syscall.Rusage)
		if !ok || used.Maxrss > promised {
			t.Errorf("%s: %d MiB of memory, more than %d", args[0], used.Maxrss>>10, promised>>10)
		}
		t.Logf("%s: %d MiB", args[0], used.Maxrss>>10)
	}
	if got := w.query(target, sum); got != want {
		t.Error("the row came back as another one")
	}
	w.sql("postgres", "DROP DATABASE "+target)
}
