package main

import (
	"fmt"
	"slices"
	"strings"
)

// fastest is the peer with the least median of a phase, of those that ran in
// each round.
func (m *mediaBench) fastest(p phase) *syncer {
	var best *syncer
	for _, s := range m.syncers {
		if s.ours || len(s.costs[p]) == 0 {
			continue
		}
		if best == nil || len(s.costs[p]) > len(best.costs[p]) ||
			len(s.costs[p]) == len(best.costs[p]) && median(samples(s.costs[p])).wall < median(samples(best.costs[p])).wall {
			best = s
		}
	}
	return best
}

func samples(costs []cost) []sample {
	all := make([]sample, len(costs))
	for i, c := range costs {
		all[i] = c.sample
	}
	return all
}

// middle is the run with the median of the wall times.
func middle(costs []cost) cost {
	sorted := slices.SortedFunc(slices.Values(costs), func(a, b cost) int { return int(a.wall - b.wall) })
	return sorted[len(sorted)/2]
}

// conclude adds the rows, and the table of what each syncer cost.
func (m *mediaBench) conclude() {
	us := m.syncers[0]
	size := fmt.Sprintf("%d files, %.1f GiB", m.files, float64(m.bytes)/(1<<30))
	for _, r := range []struct {
		phase
		aim float64
	}{{firstSync, 0.5}, {unchanged, 0.2}, {changed, 0.3}, {restored, 0.6}} {
		peer := m.fastest(r.phase)
		row := compare("media, "+string(r.phase)+", wall", "the fastest of restic, rclone, `aws s3 sync`: "+peer.name,
			samples(us.costs[r.phase]), samples(peer.costs[r.phase]), r.aim)
		if r.phase == firstSync {
			row.what = "media, first sync of " + size + ", wall"
		}
		m.add(row)
	}
	first := middle(us.costs[firstSync])
	m.add(row{
		what: "media, first sync, S3 requests", against: "number of files", aim: 0.01,
		got: float64(first.requests) / float64(m.files), detail: fmt.Sprintf("%d / %d", first.requests, m.files),
	})
	m.note(m.costTable())
}

// costTable says of each syncer and phase what the run of the median wall time
// cost.
func (m *mediaBench) costTable() string {
	phases := []phase{firstSync, unchanged, changed, restored}
	var s strings.Builder
	s.WriteString("Media, median of the runs: wall time; CPU-seconds and peak memory of the client; requests counted at the S3 server.\n\n|")
	for _, p := range phases {
		s.WriteString(" | " + string(p))
	}
	s.WriteString(" |\n|---|---|---|---|---|\n")
	for _, y := range m.syncers {
		s.WriteString("| " + y.name)
		for _, p := range phases {
			cell := "–"
			if len(y.costs[p]) > 0 {
				c := middle(y.costs[p])
				cell = fmt.Sprintf("%.2f s; %.1f CPU-s; %d MiB; %d", c.wall.Seconds(), c.cpu.Seconds(), int64(peak(samples(y.costs[p]))), c.requests)
			}
			s.WriteString(" | " + cell)
		}
		s.WriteString(" |\n")
	}
	s.WriteString("\nPeers: " + strings.Join(m.versions, ", ") + ". A peer that takes more than " +
		fmt.Sprintf("%g times as long as another in the first round of a first sync or a restore is run once only.\n", hopeless))
	return s.String()
}
