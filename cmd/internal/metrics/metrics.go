// Package metrics writes what a run did for Prometheus, as files that the
// textfile collector of node_exporter reads: what watches a CronJob or a systemd
// timer, which no longer run when somebody asks.
//
// Two files a job: one of the last run, whatever became of it, and one of the
// last that did what it should, so that an alert on its age fires when runs fail
// and when there are none at all. For backups a third one of the newest point,
// which a run has listed also where it did not do all it should.
//
// It imports the Prometheus client, jobs and the results of the procedures. It
// opens no port.
package metrics

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/backup"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// set is the metrics of one file.
type set struct {
	registry *prometheus.Registry
	labels   prometheus.Labels // of all
	err      error
}

func newSet(run *jobs.Run) *set {
	return &set{registry: prometheus.NewRegistry(), labels: prometheus.Labels{"homeserver": run.Homeserver, "job": run.Job}}
}

// gauge adds metrics of one name: by the value of a label, or, without one, a
// single one under the empty key.
func (s *set) gauge(name, help, label string, values map[string]float64) {
	var names []string
	if label != "" {
		names = []string{label}
	}
	v := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "synapse_maint", Name: name, Help: help, ConstLabels: s.labels}, names)
	if err := s.registry.Register(v); err != nil {
		s.err = err
		return
	}
	for key, value := range values {
		if label == "" {
			v.WithLabelValues().Set(value)
		} else {
			v.WithLabelValues(key).Set(value)
		}
	}
}

func (s *set) one(name, help string, value float64) {
	s.gauge(name, help, "", map[string]float64{"": value})
}

func (s *set) write(path string) error {
	if s.err != nil {
		return s.err
	}
	return prometheus.WriteToTextfile(path, s.registry)
}

// Write writes the files of a run that has ended to a folder.
func Write(dir string, run *jobs.Run) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	name := filepath.Join(dir, "synapse_maint_"+strings.ReplaceAll(run.Homeserver, "/", "_")+"_"+run.Job)
	last := newSet(run)
	states := map[string]float64{}
	for _, state := range []jobs.State{jobs.Done, jobs.Incomplete, jobs.Failed, jobs.Interrupted} {
		states[string(state)] = 0
	}
	states[string(run.State)] = 1
	last.gauge("last_run_state", "1 for the state in which the last run ended.", "state", states)
	last.one("last_run_started_timestamp_seconds", "When the last run began.", float64(run.Started.Unix()))
	last.one("last_run_duration_seconds", "How long the last run took.", run.Ended.Sub(run.Started).Seconds())
	if err := last.write(name + ".prom"); err != nil {
		return fmt.Errorf("metrics of %s: %w", run, err)
	}
	if err := writePoint(name+"_point.prom", run); err != nil {
		return fmt.Errorf("metrics of %s: %w", run, err)
	}
	if run.State != jobs.Done {
		return nil
	}
	good := newSet(run)
	good.one("last_success_timestamp_seconds", "When the last run that did all it should ended.", float64(run.Ended.Unix()))
	if err := good.write(name + "_success.prom"); err != nil {
		return fmt.Errorf("metrics of %s: %w", run, err)
	}
	return nil
}

// writePoint writes the file of the point that a backup has listed, if it has.
func writePoint(path string, run *jobs.Run) error {
	if run.Job != backup.JobName {
		return nil
	}
	r, err := backup.ResultOf(run)
	if err != nil || r.Point == "" {
		return nil //nolint:nilerr // the run came to no point
	}
	s := newSet(run)
	point(s, r)
	return s.write(path)
}

// point adds what a backup's result says of its point.
func point(s *set, r backup.Result) {
	s.one("point_taken_timestamp_seconds", "The instant that the newest recovery point restores.", float64(r.Taken.Unix()))
	s.gauge("point_bytes", "Bytes of the newest recovery point: held, new to the archive, added to the store.", "kind", map[string]float64{
		"logical": float64(r.Logical), "new": float64(r.New), "stored": float64(r.Stored),
	})
	parts := map[string]float64{archive.PartDatabase: 0, archive.PartMedia: 0, archive.PartSecrets: 0}
	for _, p := range r.Parts {
		parts[p] = 1
	}
	s.gauge("point_part", "1 for the parts that the newest recovery point has.", "part", parts)
	s.one("point_degraded", "How many things were lost already when the newest recovery point was taken.", float64(len(r.Degraded)))
	s.one("point_warnings", "Warnings of the newest backup.", float64(len(r.Warnings)))
	if r.Media != nil {
		media(s, r.Media)
	}
}

func media(s *set, m *backup.Media) {
	files, bytes := map[string]float64{}, map[string]float64{}
	for _, c := range m.Classes {
		files[c.Name], bytes[c.Name] = float64(c.Files), float64(c.Bytes)
	}
	s.gauge("media_files", "Media files of the newest recovery point.", "class", files)
	s.gauge("media_bytes", "Bytes of these.", "class", bytes)
	found := map[string]float64{
		"unstable": float64(m.Unstable.Number()), "vanished": float64(m.Vanished.Number()), "unreadable": float64(m.Odd.Number()),
	}
	if p := m.Proof; p != nil {
		found["proved"], found["unproved"] = float64(p.Proved), float64(p.Unproved)
		found["missing"], found["lost"] = float64(p.Missing.Number()), float64(p.Lost.Number())
		found["orphan"], found["mismatch"] = float64(p.Orphans.Number()), float64(p.Mismatches.Number())
	}
	s.gauge("media_findings", "Media files by what was found of them: proved by the database's SHA-256, lost, …", "finding", found)
}
