package endtoend

import (
	"syscall"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
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
	w.frugal("backup")
	w.frugal(w.restore("--mode", "beside", "--target-database", target)...)
	if got := w.query(target, sum); got != want {
		t.Error("the row came back as another one")
	}
	w.sql("postgres", "DROP DATABASE "+target)
}

// frugal runs a command that has to get along with the memory promised.
func (w *world) frugal(args ...string) {
	w.t.Helper()
	p := w.start(args...)
	if code := w.end(p); code != exitDone {
		w.t.Fatalf("%v: exit code %d: %s", args, code, p.err.String())
	}
	used, ok := p.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok || used.Maxrss > promised {
		w.t.Errorf("%s: %d MiB of memory, more than %d", args[0], used.Maxrss>>10, promised>>10)
	}
	w.t.Logf("%s: %d MiB", args[0], used.Maxrss>>10)
}

// A backup was killed for memory that grew as it went (plugin-barman-cloud#765).
// Here neither many jobs nor bytes that do not compress, encrypted, let it grow:
// 300 MB that are 75 % of that in the store. Rows of 2 MB repeat themselves at a
// distance that zstd's window does not reach.
func TestMemoryDoesNotGrowWithJobsOrBytes(t *testing.T) {
	t.Parallel()
	w := emptyWorld(t, testbed.Postgres(t))
	w.useDatabase(tinyDatabase(t, w.pg))
	w.encrypt()
	w.sql(w.name, `SET ROLE synapse; CREATE TABLE noise (id int PRIMARY KEY, body text);
		ALTER TABLE noise ALTER body SET STORAGE EXTERNAL;
		WITH base AS MATERIALIZED (SELECT string_agg(encode(decode(md5(i::text), 'hex'), 'base64'), '' ORDER BY i) AS t FROM generate_series(1, 85000) i)
		INSERT INTO noise SELECT i, substr(t, 1 + i * 7919) || substr(t, 1, i * 7919) FROM base, generate_series(1, 150) i`)
	sum := "SELECT md5(string_agg(md5(body), '' ORDER BY id)) FROM noise"
	want := w.query(w.name, sum)
	target := w.name + "_beside"
	w.frugal("backup", "--jobs", "8")
	w.frugal(w.restore("--mode", "beside", "--target-database", target, "--jobs", "8")...)
	if got := w.query(target, sum); got != want {
		t.Error("the rows came back as others")
	}
	w.sql("postgres", "DROP DATABASE "+target)
}
