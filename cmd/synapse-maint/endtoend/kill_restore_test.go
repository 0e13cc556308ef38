package endtoend

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// standing is what restore status says.
type standing struct {
	Run, State, Says string
	Leftovers        []struct{ Name string }
}

// status asks where a restore stands; empty: the newest. The zero value if there
// is none.
func (w *world) status(run ...string) (s standing) {
	w.t.Helper()
	p := w.start(append([]string{"--log-level", "off", "restore", "status", "-o", "json"}, run...)...)
	const exitNothing = 4
	if code := w.end(p); code == exitNothing {
		return s
	}
	w.ok(json.Unmarshal(p.out.Bytes(), &s))
	return s
}

// restoreKills kills restores of one point, in one mode.
type restoreKills struct {
	*world
	mode    string
	args    []string
	want    string // fingerprint of the point
	old     string // of the live database before the restore
	earlier string // the newest restore before
}

// prepare lets the live database go on, so that it is none of what a point has.
func (k *restoreKills) prepare() {
	k.t.Helper()
	k.earlier = k.status().Run
	k.goOn()
	k.old = k.fingerprint(k.name)
}

func (k *restoreKills) after(where string, died bool) {
	k.t.Helper()
	begun := k.status()
	if died {
		k.liveIsWhole(begun, where)
	}
	if died && (begun.Run == k.earlier || begun.State != "done") { // else it died of old age
		p := k.start(append([]string{"--log-level", "warn"}, k.args...)...)
		if code := k.end(p); code != exitDone {
			k.t.Errorf("killed at %s, then: exit code %d: %s", where, code, p.err.String())
		}
	}
	end := k.status()
	if end.State != "done" {
		k.t.Errorf("killed at %s, then: %+v", where, end)
	}
	if died && begun.Run != k.earlier && begun.State != "done" && begun.Run != end.Run {
		k.t.Errorf("killed at %s: %s was not resumed, %s was begun", where, begun.Run, end.Run)
	}
	result := k.name
	if k.mode == "beside" {
		result = k.name + "_beside"
		if got := k.fingerprint(k.name); got != k.old {
			k.t.Errorf("killed at %s: the live database is %s, not %s", where, got, k.old)
		}
	}
	if got := k.fingerprint(result); got != k.want {
		k.t.Errorf("killed at %s, then: %s, want %s", where, got, k.want)
	}
	k.tidy(where, begun, end)
}

// liveIsWhole is what holds after a death: the live database is the old one or
// the new one; in-place it may be gone, and status says so.
func (k *restoreKills) liveIsWhole(s standing, where string) {
	k.t.Helper()
	got, err := k.ask(k.name, sums)
	switch {
	case err != nil && k.mode == "in-place" && strings.Contains(err.Error(), "does not exist"):
		if !strings.Contains(s.Says, "dropped") {
			k.t.Errorf("killed at %s: the live database is gone, and status says: %s", where, s.Says)
		}
	case err != nil:
		k.t.Errorf("killed at %s: the live database: %v", where, err)
	case got != k.old && (got != k.want || k.mode == "beside"):
		k.t.Errorf("killed at %s: the live database is %s, neither the old one %s nor the new one %s", where, got, k.old, k.want)
	}
}

// tidy looks that nothing is left but what status tells of, and removes that.
func (k *restoreKills) tidy(where string, runs ...standing) {
	k.t.Helper()
	left := strings.Fields(k.databases())
	var told []string
	if k.mode == "beside" {
		told = append(told, k.name+"_beside")
	}
	for _, run := range runs {
		if run.Run == k.earlier {
			continue // nothing was begun
		}
		for _, l := range k.status(run.Run).Leftovers {
			if !slices.Contains(told, l.Name) {
				told = append(told, l.Name)
				k.done("restore", "drop", run.Run, "--now", "--yes")
			}
		}
	}
	slices.Sort(told)
	if !slices.Equal(left, told) {
		k.t.Errorf("killed at %s: the server has %v, status tells of %v", where, left, told)
	}
	if k.mode == "beside" {
		k.sql("postgres", "DROP DATABASE "+k.name+"_beside")
	}
	if left := k.databases(); left != "" {
		k.t.Errorf("killed at %s: after restore drop there is %s", where, left)
	}
}

// newRestoreKills takes a point of a world's database, and restores it once, so
// that the folders are there.
func newRestoreKills(w *world, mode string) *restoreKills {
	w.t.Helper()
	w.done("backup")
	k := &restoreKills{world: w, mode: mode, want: w.fingerprint(w.name)}
	k.args = w.restore("--mode", mode)
	if mode == "beside" {
		k.args = append(k.args, "--target-database", w.name+"_beside")
	}
	k.done(k.args...)
	k.tidy("nothing", k.status())
	return k
}

func (k *restoreKills) victim() victim {
	return victim{args: k.args, prepare: k.prepare, after: k.after}
}

var modes = [...]string{"swap", "in-place", "beside"}

// A restore that was killed before or after any of its steps has hurt nothing,
// and the same command finishes it: the live database is the old one or the new
// one, the half-loaded one is used again, and nothing is left that status does
// not know.
func TestARestoreKilledAtAnyStepHurtsNothingAndGoesOn(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			k := newRestoreKills(tinyWorld(t), mode)
			k.killAtEachWrite(k.victim(), "journal", "locks")
		})
	}
}

// The same at instants at which it does anything whatever.
func TestARestoreKilledAtRandomHurtsNothingAndGoesOn(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			k := newRestoreKills(newWorld(t), mode)
			v := k.victim()
			v.few = mode != "swap" // the load is the same, and every step is tried in each mode
			k.killAtRandom(v)
		})
	}
}
