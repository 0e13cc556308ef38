package metrics_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/cmd/internal/metrics"
	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/backup"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

func ended(t *testing.T, state jobs.State, r backup.Result) *jobs.Run {
	t.Helper()
	note, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 11, 25, 2, 0, 0, 0, time.UTC)
	return &jobs.Run{
		RunID: jobs.RunID{Job: backup.JobName, Homeserver: "matrix.example.com", Due: start}, State: state,
		Started: start, Ended: start.Add(90 * time.Second),
		Steps: []jobs.StepRecord{{Name: "commit", State: state, Note: note}},
	}
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func has(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, want := range lines {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("there is no line %s in\n%s", want, text)
		}
	}
}

const (
	lastFile    = "synapse_maint_matrix.example.com_backup.prom"
	successFile = "synapse_maint_matrix.example.com_backup_success.prom"
	pointFile   = "synapse_maint_matrix.example.com_backup_point.prom"
)

func TestMetricsOfABackup(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	r := backup.Result{Point: "20261125T020000Z-0123456789abcdef", Parts: []string{"database", "media"}, Logical: 900, New: 90, Stored: 9, Media: &archive.Media{
		Classes: []archive.Class{{Name: "local_content", Files: 7, Bytes: 700}},
		Proof:   &archive.Proof{Proved: 5, Lost: &archive.Findings{Count: 2}},
	}, Degraded: []string{"2 local files are lost"}}
	if err := metrics.Write(dir, ended(t, jobs.Done, r)); err != nil {
		t.Fatal(err)
	}
	has(t, read(t, dir, lastFile),
		`synapse_maint_last_run_state{homeserver="matrix.example.com",job="backup",state="done"} 1`,
		`synapse_maint_last_run_state{homeserver="matrix.example.com",job="backup",state="failed"} 0`,
		`synapse_maint_last_run_duration_seconds{homeserver="matrix.example.com",job="backup"} 90`)
	has(t, read(t, dir, successFile),
		`synapse_maint_last_success_timestamp_seconds{homeserver="matrix.example.com",job="backup"} 1.79557209e+09`)
	has(t, read(t, dir, pointFile),
		`synapse_maint_point_bytes{homeserver="matrix.example.com",job="backup",kind="new"} 90`,
		`synapse_maint_point_part{homeserver="matrix.example.com",job="backup",part="secrets"} 0`,
		`synapse_maint_point_degraded{homeserver="matrix.example.com",job="backup"} 1`,
		`synapse_maint_media_files{class="local_content",homeserver="matrix.example.com",job="backup"} 7`,
		`synapse_maint_media_findings{finding="lost",homeserver="matrix.example.com",job="backup"} 2`)
}

// A failed run must not make the last good one look new, nor hide it.
func TestMetricsOfAFailureLeaveTheLastSuccess(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	good := ended(t, jobs.Done, backup.Result{})
	failed := ended(t, jobs.Failed, backup.Result{})
	incomplete := ended(t, jobs.Incomplete, backup.Result{})
	if err := metrics.Write(dir, good); err != nil {
		t.Fatal(err)
	}
	before := read(t, dir, successFile)
	for _, run := range []*jobs.Run{failed, incomplete} {
		run.Ended = run.Ended.Add(24 * time.Hour)
		if err := metrics.Write(dir, run); err != nil {
			t.Fatal(err)
		}
		has(t, read(t, dir, lastFile), `synapse_maint_last_run_state{homeserver="matrix.example.com",job="backup",state="`+string(run.State)+`"} 1`)
	}
	if read(t, dir, successFile) != before {
		t.Error("the last success is another one than the one that was a success")
	}
}

// A store for copies that fails each night must not hide what the nights' points
// have lost.
func TestMetricsOfThePointOfARunThatDidNotDoAll(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lost := func(state jobs.State, point string, n int64) *jobs.Run {
		return ended(t, state, backup.Result{Point: point, Media: &archive.Media{Proof: &archive.Proof{Lost: &archive.Findings{Count: n}}}})
	}
	for _, run := range []*jobs.Run{lost(jobs.Done, "1", 0), lost(jobs.Incomplete, "2", 5), lost(jobs.Failed, "", 0)} {
		if err := metrics.Write(dir, run); err != nil {
			t.Fatal(err)
		}
	}
	has(t, read(t, dir, pointFile), `synapse_maint_media_findings{finding="lost",homeserver="matrix.example.com",job="backup"} 5`)
}

func TestMetricsFolderThatCanNotBeWritten(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := metrics.Write(file, ended(t, jobs.Done, backup.Result{})); err == nil || !strings.Contains(err.Error(), "metrics: ") {
		t.Errorf("%v", err)
	}
}
