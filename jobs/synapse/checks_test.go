package synapse_test

import (
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

func TestChecksAreQuestionsWithNamesOfTheirOwn(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, c := range synapse.Checks() {
		if seen[c.Name] {
			t.Errorf("two checks are called %q", c.Name)
		}
		seen[c.Name] = true
		if !strings.HasPrefix(c.SQL, "SELECT ") || strings.Contains(c.SQL, ";") {
			t.Errorf("%s: not one SELECT: %s", c.Name, c.SQL)
		}
	}
	// What Synapse was seen to refuse to start on, and what breaks encryption.
	for _, name := range []string{
		"locale is C", "one owner", "schema version", "one-time keys are emptied",
		"sequence events_stream_seq is not behind stream_positions",
	} {
		if !seen[name] {
			t.Errorf("no check is called %q", name)
		}
	}
}

func TestIsSynapse(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		tables []string
		want   bool
	}{
		{[]string{"events", "schema_version", synapse.OneTimeKeysTable}, true},
		{[]string{"events", "schema_version"}, false},
		{nil, false},
	} {
		if got := synapse.IsSynapse(c.tables); got != c.want {
			t.Errorf("%v: %v", c.tables, got)
		}
	}
}

func TestOnlySeriousFindingsStopASwap(t *testing.T) {
	t.Parallel()
	r := synapse.LoadReport{Findings: []synapse.Finding{
		{Name: "well", OK: true, Serious: true}, {Name: "odd"}, {Name: "broken", Serious: true},
	}}
	if bad := r.Bad(); len(bad) != 1 || bad[0].Name != "broken" {
		t.Errorf("%+v", bad)
	}
}
