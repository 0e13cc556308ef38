package endtoend

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// closingKills kills restore undo or drop of a restore that is made for each.
type closingKills struct {
	*world
	verb      string
	run       string
	old, want string // fingerprints: of the live database before the restore, and of the point
}

// prepare restores, so that there is something to undo and to drop.
func (k *closingKills) prepare() {
	k.t.Helper()
	k.goOn()
	k.old = k.fingerprint(k.name)
	k.done(k.restore()...)
	k.run = k.status().Run
}

func (k *closingKills) after(where string, died bool) {
	k.t.Helper()
	if got := k.fingerprint(k.name); died && got != k.old && got != k.want {
		k.t.Errorf("killed at %s: the live database is %s, neither the old one %s nor the restored one %s", where, got, k.old, k.want)
	}
	if died {
		k.done(k.closing(k.run)...)
	}
	live, says := k.old, "it was undone"
	if k.verb == "drop" {
		live, says = k.want, "what it left was dropped"
	}
	if got := k.fingerprint(k.name); got != live {
		k.t.Errorf("killed at %s, then: the live database is %s, not %s", where, got, live)
	}
	if s := k.status(k.run); !strings.HasPrefix(s.Says, says) {
		k.t.Errorf("killed at %s, then: %s", where, s.Says)
	}
	k.done("restore", "drop", k.run, "--now", "--yes")
	if left := k.databases(); left != "" {
		k.t.Errorf("killed at %s, then dropped: there is %s", where, left)
	}
}

// closing are the arguments of the command that is killed.
func (k *closingKills) closing(run string) []string {
	args := []string{"restore", k.verb, run, "--yes"}
	if k.verb == "drop" {
		args = append(args, "--now")
	}
	return args
}

// An undo or drop that was killed before or after any of its steps has hurt
// nothing, and the same command finishes it.
func TestAnUndoOrDropKilledAtAnyStepHurtsNothingAndGoesOn(t *testing.T) {
	t.Parallel()
	for _, verb := range []string{"undo", "drop"} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			w := tinyArchive(t, false)
			k := &closingKills{world: w, verb: verb, want: w.fingerprint(w.name)}
			k.prepare()
			k.after("nothing", true) // makes the folders
			for n := 1; ; n++ {
				k.prepare()
				where, died := k.killAtWrite(n, []string{"journal", "locks"}, k.closing(k.run)...)
				k.after(where, died)
				if t.Failed() {
					t.Fatalf("killed at write %d, %s", n, where)
				}
				if where == "" {
					t.Logf("killed at %d writes", n-1)
					break
				}
			}
		})
	}
}

// An export that was killed at any instant left nothing that looks like one, or
// a whole one; the next finds nothing in its way.
func TestAnExportKilledAtRandomLeavesNothingThatLooksLikeOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.done("backup")
	out := filepath.Join(w.dir, "out")
	database := filepath.Join(out, "database")
	whole := 0
	w.killAtRandom(victim{
		args:    []string{"export", "latest", out},
		prepare: func() { w.ok(os.RemoveAll(database)) },
		after: func(where string, died bool) {
			if !died || w.exists(database) {
				whole = w.exported(database, whole)
				return
			}
			w.done("export", "latest", out)
			whole = w.exported(database, whole)
			if left, err := os.ReadDir(out); err != nil || len(left) != 1 {
				t.Errorf("killed %s: in the folder there are %v (%v)", where, left, err)
			}
		},
	})
}

func (w *world) exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// exported counts the files of an export, which has to have as many as those
// before it: each table's, and last the table of contents.
func (w *world) exported(folder string, before int) int {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "*.dat*"))
	w.ok(err)
	if !w.exists(filepath.Join(folder, "toc.dat")) || before > 0 && len(files) != before {
		w.t.Errorf("an export of %d files, not %d", len(files), before)
	}
	return len(files)
}
