package journal_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/journal"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

func at(job string, hour int) jobs.RunID {
	return jobs.RunID{Job: job, Homeserver: server, Due: time.Date(2026, 11, 25, hour, 0, 0, 0, time.UTC)}
}

func save(t *testing.T, j *journal.Journal, id jobs.RunID) *jobs.Run {
	t.Helper()
	run, err := j.Open(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	run.State, run.Started = jobs.Running, id.Due
	if err := j.Save(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	return run
}

func TestSavedRunIsOpenedAgain(t *testing.T) {
	t.Parallel()
	s := mem.New()
	j := journal.New(s)
	run := save(t, j, at("backup", 2))
	run.Steps = []jobs.StepRecord{{Name: "copy", State: jobs.Done, Note: []byte(`{"rows":7}`)}}
	if err := j.Save(t.Context(), run); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(t.Context(), "journal/backup/20261125T020000Z.json"); err != nil {
		t.Error(err)
	}
	again, err := j.Open(t.Context(), at("backup", 2))
	if err != nil {
		t.Fatal(err)
	}
	var note struct{ Rows int }
	if err := again.Note("copy", &note); err != nil || note.Rows != 7 {
		t.Errorf("note %+v, %v", note, err)
	}
	if again.RunID != run.RunID || again.State != jobs.Running {
		t.Errorf("%+v", again)
	}
}

func TestOvertakenProcessCanNotSave(t *testing.T) {
	t.Parallel()
	j := journal.New(mem.New())
	first := save(t, j, at("backup", 2))
	second := save(t, j, at("backup", 2))
	if err := j.Save(t.Context(), first); !errors.Is(err, jobs.ErrStale) {
		t.Errorf("the first: %v", err)
	}
	if err := j.Save(t.Context(), second); err != nil {
		t.Error(err)
	}
	fresh := &jobs.Run{RunID: at("backup", 2)}
	if err := j.Save(t.Context(), fresh); !errors.Is(err, jobs.ErrStale) {
		t.Errorf("one that knew of no record: %v", err)
	}
}

func TestRunsAreNewestFirst(t *testing.T) {
	t.Parallel()
	s := mem.New()
	j := journal.New(s)
	for _, hour := range []int{2, 14, 9} {
		save(t, j, at("backup", hour))
	}
	save(t, j, at("backup-old", 20)) // another job, with the same beginning
	save(t, j, at("prune", 20))
	if _, err := s.Put(t.Context(), "journal/backup/README", nil, storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if got, want := runs(t, j, "backup"), []int{14, 9, 2}; !slices.Equal(got, want) {
		t.Errorf("runs of %v, want %v", got, want)
	}
	if got, want := runs(t, j, ""), []int{14, 9, 2, 20, 20}; !slices.Equal(got, want) {
		t.Errorf("all runs of %v, want %v", got, want)
	}
}

// One unreadable record must not hide the others.
func TestDamagedRecordIsReported(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"truncated":      `{"job":"backup","homes`,
		"empty":          ``,
		"another run's":  `{"job":"backup","homeserver":"` + server + `","due":"2026-11-25T03:00:00Z"}`,
		"another server": `{"job":"backup","homeserver":"other.example.org","due":"2026-11-25T09:00:00Z"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mem.New()
			j := journal.New(s)
			for _, hour := range []int{2, 9, 14} {
				save(t, j, at("backup", hour))
			}
			if _, err := s.Put(t.Context(), "journal/backup/20261125T090000Z.json", []byte(body), storage.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			var good, bad []int
			for run, err := range j.Runs(t.Context(), server, "backup") {
				if err != nil {
					bad = append(bad, run.Due.Hour())
				} else {
					good = append(good, run.Due.Hour())
				}
			}
			if !slices.Equal(good, []int{14, 2}) || !slices.Equal(bad, []int{9}) {
				t.Errorf("readable %v, damaged %v", good, bad)
			}
			if _, err := j.Open(t.Context(), at("backup", 9)); err == nil {
				t.Error("a damaged record was opened as a new run: it would run again")
			}
		})
	}
}

func runs(t *testing.T, j *journal.Journal, job string) (hours []int) {
	t.Helper()
	for run, err := range j.Runs(t.Context(), server, job) {
		if err != nil {
			t.Fatal(err)
		}
		hours = append(hours, run.Due.Hour())
	}
	return hours
}
