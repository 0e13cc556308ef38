package backup_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/backup"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// both runs a test with and without encryption.
func both(t *testing.T, test func(t *testing.T, k keys)) {
	t.Helper()
	t.Parallel()
	t.Run("plain", func(t *testing.T) { t.Parallel(); test(t, keys{}) })
	t.Run("encrypted", func(t *testing.T) { t.Parallel(); test(t, newKeys(t)) })
}

func TestSecondPointStoresWhatChanged(t *testing.T) {
	both(t, func(t *testing.T, k keys) {
		s := mem.New()
		initArchive(t, s, k)
		first, second := newScripted(1, 0, 900, 7, 0), newScripted(2, 890, 900, 7, 0)
		for i := range 890 {
			second.rows[0][i] = first.rows[0][i]
		}
		copy(second.rows[1], first.rows[1])
		a := mustTake(t, s, k, first, 2)
		b := mustTake(t, s, k, second, 3)
		if a.Rows != 907 || a.Tables != 3 || a.New < a.Logical*9/10 {
			t.Errorf("first: %+v", a)
		}
		if b.Rows != 907 || b.New > a.New/20 || b.Stored > a.Stored/2 {
			t.Errorf("second: %+v", b)
		}
		if len(a.Warnings)+len(b.Warnings) > 0 {
			t.Errorf("warnings: %q %q", a.Warnings, b.Warnings)
		}
		list := points(t, s, k)
		if len(list) != 2 {
			t.Fatalf("%d points", len(list))
		}
		mustHold(t, s, k, list[0], first)
		mustHold(t, s, k, list[1], second)
		if first.closed != 1 {
			t.Errorf("snapshot closed %d times", first.closed)
		}
		if got := list[0].Database.Tables[0]; got.Range != pages || got.Pages != 450 || got.DumpID != 100 {
			t.Errorf("table: %+v", got)
		}
	})
}

// However a dump fails, it leaves the archive as it was, and the next works.
func TestFailedDumpNeverBecomesAPoint(t *testing.T) {
	t.Parallel()
	lost := errors.New("the snapshot is lost: the server was restarted")
	for name, damage := range map[string]func(s *scripted){
		"the last range fails":       func(s *scripted) { s.fail = lost },
		"a panic":                    func(s *scripted) { s.wild = true },
		"no table of contents":       func(s *scripted) { s.toc = nil },
		"a range is missing":         func(s *scripted) { s.ranges = s.ranges[1:] },
		"a range twice":              func(s *scripted) { s.ranges = append(s.ranges, s.ranges[2]) },
		"the table's end is missing": func(s *scripted) { s.tables[0].Pages += pages },
		"a table without any range": func(s *scripted) {
			s.tables = append(s.tables, synapse.Table{Schema: "public", Name: "events", Pages: 9})
		},
		"a stream that fails":         func(s *scripted) { s.stream, s.fail = []byte("PGDMP"), lost },
		"a stream of nothing":         func(s *scripted) { s.stream = []byte{} },
		"a stream that is no archive": func(s *scripted) { s.stream = []byte("pg_dump: error: connection lost") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mem.New()
			initArchive(t, s, keys{})
			snap := newScripted(1, 0, 100, 3)
			damage(snap)
			run, err := take(t.Context(), s, keys{}, snap, 2)
			if err == nil || run.State != jobs.Failed {
				t.Errorf("run %+v, error %v", run, err)
			}
			if n := len(points(t, s, keys{})); n > 0 {
				t.Errorf("%d points are listed", n)
			}
			if snap.closed != 1 {
				t.Errorf("snapshot closed %d times", snap.closed)
			}
			mustTake(t, s, keys{}, newScripted(1, 0, 100, 3), 2)
			if n := len(points(t, s, keys{})); n != 1 {
				t.Errorf("%d points after the next run", n)
			}
		})
	}
}

// A store that goes away at any call: nothing is listed that can't be
// restored, and the next run works.
func TestStoreLostAtEachCall(t *testing.T) {
	both(t, func(t *testing.T, k keys) {
		gone := errors.New("503 slow down")
		for n := 1; ; n++ {
			s := mem.New()
			initArchive(t, s, k)
			mustTake(t, s, k, newScripted(1, 0, 60, 3), 2)
			faulty := storetest.Faulty(s, storetest.FailNth(n, gone))
			_, err := take(t.Context(), faulty, k, newScripted(2, 30, 60, 3), 3)
			list := points(t, s, k)
			if err != nil && !errors.Is(err, gone) {
				t.Errorf("call %d: %v", n, err)
			}
			if err == nil && len(list) != 2 {
				t.Errorf("call %d: success, but %d points", n, len(list))
			}
			unlock(t, s)
			mustTake(t, s, k, newScripted(2, 30, 60, 3), 3)
			if again := points(t, s, k); len(again) != 2 {
				t.Errorf("call %d: %d points, then %d", n, len(list), len(again))
			}
			if calls := faulty.Count(); n > calls {
				if err != nil || calls < 15 {
					t.Errorf("%d calls without a fault, %v: is anything tested?", calls, err)
				}
				return
			}
		}
	})
}

// unlock stands for the time after which a dead holder is taken over: the test
// process itself lives on.
func unlock(t *testing.T, s storage.Store) {
	t.Helper()
	ok(t, s.Delete(t.Context(), "locks/"+server+".json"))
}

// A put that is acknowledged but truncated, dropped, or whose answer is lost.
func TestTruncatedPutIsNoticed(t *testing.T) {
	both(t, func(t *testing.T, k keys) {
		for name, fault := range map[string]storetest.Fault{
			"truncated":       {Truncate: true, Bytes: 10},
			"dropped":         {Drop: true},
			"the answer lost": {Err: errors.New("connection reset"), Late: true},
		} {
			for n := 1; ; n++ {
				s := mem.New()
				initArchive(t, s, k)
				faulty := storetest.Faulty(s, func(c storetest.Call) storetest.Fault {
					if c.Op != storetest.Put || c.OfOp != n {
						return storetest.Fault{}
					}
					return fault
				})
				_, err := take(t.Context(), faulty, k, newScripted(1, 0, 60, 3), 2)
				// Success is fine where the put was repeated: then points has
				// read the whole point.
				if list := points(t, s, k); err == nil && len(list) != 1 {
					t.Errorf("put %d %s: success, and %d points", n, name, len(list))
				}
				unlock(t, s)
				if _, err := take(t.Context(), s, k, newScripted(2, 30, 60, 3), 3); err != nil {
					t.Errorf("put %d %s: the next backup: %v", n, name, err)
				}
				points(t, s, k)
				if puts := faulty.Count(storetest.Put); n > puts {
					if err != nil || puts < 8 {
						t.Errorf("%d puts without a fault, %v: is anything tested?", puts, err)
					}
					break
				}
			}
		}
	})
}

// A run that is killed between any two calls of the store, and resumed.
func TestKilledRunResumes(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		s := mem.New()
		initArchive(t, s, keys{})
		dead := storetest.Faulty(s, storetest.FailNth(n, errors.New("killed"))) // no call after it: what a kill leaves
		_, err := take(t.Context(), dead, keys{}, newScripted(1, 0, 60, 3), 2)
		unlock(t, s)
		r := mustTake(t, s, keys{}, newScripted(2, 60, 60, 3), 2)
		if list := points(t, s, keys{}); len(list) != 1 {
			t.Errorf("killed at call %d, resumed: %d points", n, len(list))
		} else if r.Rows != 63 {
			t.Errorf("killed at call %d, resumed: %+v", n, r)
		}
		if n > dead.Count() {
			ok(t, err)
			return
		}
	}
}

func TestInterruptedBackupEndsSoon(t *testing.T) {
	t.Parallel()
	s := mem.New()
	initArchive(t, s, keys{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	faulty := storetest.Faulty(s, func(c storetest.Call) storetest.Fault {
		if c.Op == storetest.Put && strings.HasPrefix(c.Key, "packs/") {
			cancel()
		}
		return storetest.Fault{}
	})
	run, err := take(ctx, faulty, keys{}, newScripted(1, 0, 600), 2)
	if !errors.Is(err, context.Canceled) || run.State != jobs.Interrupted {
		t.Errorf("%v, %v", run.State, err)
	}
	if n := len(points(t, s, keys{})); n > 0 {
		t.Errorf("%d points", n)
	}
	mustTake(t, s, keys{}, newScripted(1, 0, 600), 2) // and no lock stays
}

func TestEmptiedDatabaseIsNoticed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		rows []int
		want string
	}{
		{"all rows gone", []int{0, 0}, "had 5,003 rows"},
		{"most rows gone", []int{1200, 3}, "has 1,203 now"},
		{"one table emptied", []int{0, 4000}, "public.table0 (5,000 rows)"},
		{"a table dropped", []int{}, "had 5,003 rows"},
		{"some rows less", []int{4900, 0}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := mem.New()
			initArchive(t, s, keys{})
			mustTake(t, s, keys{}, newScripted(1, 0, 5000, 3), 2)
			r := mustTake(t, s, keys{}, newScripted(2, 0, c.rows...), 3)
			text := fmt.Sprint(r.Warnings)
			if c.want == "" && len(r.Warnings) > 0 || !strings.Contains(text, c.want) {
				t.Errorf("warnings %s, want %q", text, c.want)
			}
		})
	}
}

func TestWrongArchiveIsRefused(t *testing.T) {
	t.Parallel()
	s := mem.New()
	initArchive(t, s, keys{})
	a, err := archive.Open(t.Context(), s)
	ok(t, err)
	job := backup.New(backup.Options{Archive: a, Homeserver: "other.example.org"})
	if _, err := job.Plan(t.Context(), &jobs.Run{}); err == nil || !strings.Contains(err.Error(), server) {
		t.Errorf("error %v", err)
	}
}

// What can't be locked again is said, and no reason to go without a point.
func TestLockThatIsRefusedIsAWarning(t *testing.T) {
	t.Parallel()
	k, bare := newKeys(t), mem.New()
	initArchive(t, bare, k)
	mustTake(t, bare, k, newScripted(1, 0, 9), 1)
	s := storetest.Faulty(bare, func(c storetest.Call) storetest.Fault {
		if c.Op == storetest.Retain {
			return storetest.Fault{Err: fmt.Errorf("not allowed: %w", fs.ErrPermission)}
		}
		return storetest.Fault{}
	})
	a, err := archive.Open(t.Context(), s, k.job...)
	ok(t, err)
	snap := newScripted(2, 5, 9)
	run, err := runner(s).Run(t.Context(), backup.New(backup.Options{
		Archive: a, Homeserver: server, Retain: 720 * time.Hour,
		Source: func(context.Context) (backup.Snapshot, error) { return snap, nil },
	}), id(2))
	ok(t, err)
	r, err := backup.ResultOf(run)
	ok(t, err)
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "can be deleted sooner than 720h0m0s from now: lock ") {
		t.Errorf("warnings: %q", r.Warnings)
	}
	mustHold(t, bare, k, points(t, bare, k)[1], snap)
}

func TestPreviewTouchesNothing(t *testing.T) {
	t.Parallel()
	s := mem.New()
	initArchive(t, s, keys{})
	before := time.Now()
	a, err := archive.Open(t.Context(), s)
	ok(t, err)
	snap := newScripted(1, 0, 40, 600)
	p, err := backup.New(backup.Options{Archive: a, Source: func(context.Context) (backup.Snapshot, error) { return snap, nil }}).Preview(t.Context())
	ok(t, err)
	if p.Bytes != 320*8192 || p.Tables[0].Name != "public.table1" || snap.closed != 1 {
		t.Errorf("%+v, closed %d times", p, snap.closed)
	}
	for o, err := range s.List(t.Context(), "") {
		ok(t, err)
		if o.Modified.After(before) {
			t.Errorf("%s was written", o.Key)
		}
	}
}

func TestProgressReachesItsTotal(t *testing.T) {
	t.Parallel()
	s := mem.New()
	initArchive(t, s, keys{})
	a, err := archive.Open(t.Context(), s)
	ok(t, err)
	last := make(chan jobs.Progress, 1000)
	job := backup.New(backup.Options{
		Archive: a, Jobs: 1, Progress: func(p jobs.Progress) { last <- p },
		Source: func(context.Context) (backup.Snapshot, error) { return newScripted(1, 0, 100, 7), nil },
	})
	_, err = runner(s).Run(t.Context(), job, id(2))
	ok(t, err)
	close(last)
	var p jobs.Progress
	for p = range last {
		if p.Done > p.Total {
			t.Errorf("%+v", p)
		}
	}
	if p.Done != p.Total || p.Total != (50+4)*8192 {
		t.Errorf("at last %+v", p)
	}
}
