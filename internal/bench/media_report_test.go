package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestFastestIsAPeerThatRanInEachRound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		costs map[string][]int // seconds of each round
		want  string
	}{
		"ours is no peer":               {map[string][]int{"ours": {1, 1, 1}, "a": {5, 5, 5}, "b": {4, 4, 4}}, "b"},
		"by the median":                 {map[string][]int{"ours": {1, 1, 1}, "a": {1, 9, 9}, "b": {8, 5, 4}}, "b"},
		"one round is not enough":       {map[string][]int{"ours": {1, 1, 1}, "a": {4}, "b": {5, 5, 5}}, "b"},
		"in the first round, all count": {map[string][]int{"ours": {1}, "a": {5}, "b": {4}}, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := contest(c.costs).fastest(firstSync); got.name != c.want {
				t.Errorf("%s, want %s", got.name, c.want)
			}
		})
	}
}

func TestAPeerThatCannotBeTheFastestRunsOnce(t *testing.T) {
	t.Parallel()
	m := contest(map[string][]int{"ours": {90}, "a": {20}, "b": {29}, "c": {31}})
	m.syncers = append(m.syncers, &syncer{name: "aside", ours: true, aside: true})
	names := func(round int) string {
		var all []string
		for _, s := range m.running(firstSync, round) {
			all = append(all, s.name)
		}
		return strings.Join(all, " ")
	}
	if got := names(0); got != "ours a b c aside" {
		t.Errorf("the first round has %s", got)
	}
	if got := names(1); got != "ours a b" {
		t.Errorf("the second round has %s", got)
	}
}

func TestMediaRowsCompareOursWithTheFastest(t *testing.T) {
	t.Parallel()
	m := contest(map[string][]int{"ours": {1, 2, 3}, "a": {10, 10, 10}, "b": {9, 8, 6}})
	m.bench, m.files, m.bytes = &bench{}, 100, 100<<20
	for _, s := range m.syncers {
		for _, p := range []phase{unchanged, changed, restored} {
			s.costs[p] = s.costs[firstSync]
		}
	}
	m.conclude()
	if len(m.rows) != 5 || m.rows[1].got != 0.25 || !strings.HasSuffix(m.rows[1].against, ": b") {
		t.Errorf("rows: %+v", m.rows)
	}
	if r := m.rows[4]; r.got != 0.07 || r.detail != "7 / 100" {
		t.Errorf("requests: %+v", r)
	}
	if !strings.Contains(m.notes[0], "| ours | 2.00 s; 0.0 CPU-s; 0 MiB; 7 |") {
		t.Errorf("table: %s", m.notes[0])
	}
}

// contest is a bench whose syncers have taken so many seconds.
func contest(seconds map[string][]int) *mediaBench {
	m := &mediaBench{}
	for name, walls := range seconds {
		s := &syncer{name: name, ours: name == "ours", costs: map[phase][]cost{}}
		for _, w := range walls {
			s.costs[firstSync] = append(s.costs[firstSync], cost{sample{wall: time.Duration(w) * time.Second}, 7})
		}
		m.syncers = append(m.syncers, s)
	}
	slices.SortFunc(m.syncers, func(a, b *syncer) int {
		if a.ours != b.ours {
			return map[bool]int{true: -1, false: 1}[a.ours]
		}
		return strings.Compare(a.name, b.name)
	})
	return m
}
