package testbed_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

func TestSynapseDatabasePassesSynapsesChecks(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	url := testbed.SynapseDatabase(t, p, 0.01)
	check := func(when string) {
		for _, c := range synapse.Checks() {
			if strings.HasPrefix(c.Name, "one-time keys") {
				continue // a running homeserver has some
			}
			if got := query(t, url, fmt.Sprintf("SELECT ok || ' ' || detail FROM (%s) x(ok, detail)", c.SQL)); !strings.HasPrefix(got, "true ") {
				t.Errorf("%s: %s: %s", when, c.Name, got)
			}
		}
	}
	check("filled")
	before := count(t, url, "events")
	if err := testbed.GrowSynapse(t.Context(), url, 10); err != nil {
		t.Fatal(err)
	}
	check("grown")
	if err := testbed.GrowSynapse(t.Context(), url, 10); err != nil {
		t.Fatal(err)
	}
	check("grown twice")
	if grown := count(t, url, "events") - before; grown < before/20 || grown > before/4 {
		t.Errorf("%d events grew by %d", before, grown)
	}
}

func TestSynapseDatabaseHasSynapsesShape(t *testing.T) {
	t.Parallel()
	url := testbed.SynapseDatabase(t, testbed.Postgres(t), 0.01)
	for what, want := range map[string][2]int{
		"tables":              {165, 185},
		"indexes":             {320, 350},
		"sequences":           {22, 30},
		"matviews, views":     {0, 0},
		"one-time keys":       {1000, 100000},
		"invalid constraints": {3, 3},
	} {
		got, err := strconv.Atoi(query(t, url, map[string]string{
			"tables":              `SELECT count(*)::text FROM pg_tables WHERE schemaname = 'public'`,
			"indexes":             `SELECT count(*)::text FROM pg_indexes WHERE schemaname = 'public'`,
			"sequences":           `SELECT count(*)::text FROM pg_sequences WHERE schemaname = 'public'`,
			"matviews, views":     `SELECT count(*)::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('m', 'v')`,
			"one-time keys":       `SELECT count(*)::text FROM e2e_one_time_keys_json`,
			"invalid constraints": `SELECT count(*)::text FROM pg_constraint WHERE NOT convalidated`,
		}[what]))
		if err != nil || got < want[0] || got > want[1] {
			t.Errorf("%s: %d, want %d to %d", what, got, want[0], want[1])
		}
	}
}

func TestFillSynapseGivesTheSameRowsAgain(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	sum := func(url, table string) string {
		return query(t, url, `SELECT sum(hashtextextended(t::text, 0)::numeric)::text FROM `+table+` t`)
	}
	a, b := testbed.SynapseDatabase(t, p, 0.01), testbed.SynapseDatabase(t, p, 0.01)
	for _, table := range []string{"event_json", "state_groups_state", "receipts_linearized", "user_directory"} {
		if sum(a, table) != sum(b, table) {
			t.Errorf("%s differs", table)
		}
	}
}

func count(t *testing.T, url, table string) int {
	t.Helper()
	n, err := strconv.Atoi(query(t, url, "SELECT count(*)::text FROM "+table))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
