package restore

import (
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

func TestRequestsThatAreTheSame(t *testing.T) {
	t.Parallel()
	base := Request{Point: "p", Mode: synapse.ModeBeside, Target: "x", Tables: []string{"a", "b"}}
	change := func(f func(*Request)) Request { r := base; f(&r); return r }
	for _, c := range []struct {
		name  string
		other Request
		same  bool
	}{
		{"equal", base, true},
		{"tables in another order", change(func(r *Request) { r.Tables = []string{"b", "a", "b"} }), true},
		{"from another store", change(func(r *Request) { r.From = "file:///x" }), true},
		{"another point", change(func(r *Request) { r.Point = "q" }), false},
		{"another mode", change(func(r *Request) { r.Mode = synapse.ModeSwap }), false},
		{"another target", change(func(r *Request) { r.Target = "y" }), false},
		{"other tables", change(func(r *Request) { r.Tables = []string{"a"} }), false},
		{"damage skipped", change(func(r *Request) { r.SkipDamaged = true }), false},
		{"another owner", change(func(r *Request) { r.Owner = "o" }), false},
	} {
		if got := base.equal(c.other); got != c.same {
			t.Errorf("%s: same is %v", c.name, got)
		}
	}
}

func TestRequestsThatContradictThemselves(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		request Request
		want    string
	}{
		{Request{Mode: synapse.ModeBeside}, "name the database to load"},
		{Request{Mode: synapse.ModeBeside, Live: "s", Target: "s"}, "s is the live database"},
		{Request{Mode: synapse.ModeSwap}, "the live database has no name"},
		{Request{Mode: synapse.ModeSwap, Live: "s", Target: "t"}, "--mode beside only"},
		{Request{Mode: synapse.ModeInPlace, Live: "s", Tables: []string{"a"}}, "some tables alone make no homeserver"},
		{Request{Mode: synapse.ModeBeside, Target: strings.Repeat("é", 32)}, "has 64 bytes, of which PostgreSQL keeps 63; give a shorter one"},
		{Request{Mode: synapse.ModeSwap, Live: strings.Repeat("x", 64)}, "has 64 bytes"},
		{Request{Mode: "sideways"}, `no mode "sideways"`},
	} {
		if err := c.request.check(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.request, err)
		}
	}
}

// PostgreSQL cuts names at 63 bytes without a word: two would become one.
func TestDerivedNamesFit(t *testing.T) {
	t.Parallel()
	run := slot(jobs.RunID{Due: time.Date(2026, 11, 25, 2, 0, 0, 0, time.UTC)})
	for live, want := range map[string]string{
		"synapse":                     "synapse_restore_20261125t020000z",
		strings.Repeat("x", 63):       strings.Repeat("x", 38) + "_restore_20261125t020000z",
		strings.Repeat("ä", 31):       strings.Repeat("ä", 19) + "_restore_20261125t020000z",
		"a" + strings.Repeat("ä", 31): "a" + strings.Repeat("ä", 18) + "_restore_20261125t020000z",
	} {
		if got := derived(live, "restore", run); got != want || len(got) > maxName {
			t.Errorf("%s: %s (%d bytes)", live, got, len(got))
		}
		if n := len(synapse.NewName(run, live)); n > maxName {
			t.Errorf("%s: %d bytes until it bears its mark", live, n)
		}
	}
}
