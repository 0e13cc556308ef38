package restore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// judge turns what the load found into what may be said about the result. A
// serious finding is an error unless the operator forces it, and a check that
// was not made is never reported as made.
func (j *Job) judge(report synapse.LoadReport, run string) (verdict, error) {
	var v verdict
	var bad []synapse.Finding
	for _, f := range report.Findings {
		switch {
		case f.OK:
			v.Verified = append(v.Verified, findingText(f))
		case f.Serious:
			bad = append(bad, f)
		default:
			v.Warnings = append(v.Warnings, findingText(f))
		}
	}
	if missing := j.unasked(report); missing != "" {
		bad = append(bad, synapse.Finding{Name: "verification", Serious: true, Detail: missing})
	}
	if len(bad) == 0 {
		return v, nil
	}
	if j.Force {
		for _, f := range bad {
			v.Forced = append(v.Forced, findingText(f))
		}
		j.Log.Warn("serious findings overridden", "findings", findingsText(bad))
		return v, nil
	}
	return v, fmt.Errorf("the restored database must not be used: %s; it is kept for a look (drop it with restore drop %s, or go on in spite of it with restore resume %s --force)",
		findingsText(bad), run, run)
}

// rowCounts is the finding without which nothing may be called restored.
const rowCounts = "row counts"

// unasked says what the load's report leaves unproved.
func (j *Job) unasked(report synapse.LoadReport) string {
	if len(report.Findings) == 0 {
		return "the load reported no checks at all"
	}
	counted := slices.ContainsFunc(report.Findings, func(f synapse.Finding) bool { return f.Name == rowCounts })
	if !counted && len(j.wanted()) > 0 {
		return "the rows were not counted"
	}
	return ""
}

func findingText(f synapse.Finding) string {
	if f.Detail == "" {
		return f.Name
	}
	return f.Name + ": " + f.Detail
}

func findingsText(all []synapse.Finding) string {
	texts := make([]string, len(all))
	for i, f := range all {
		texts[i] = findingText(f)
	}
	return strings.Join(texts, "; ")
}
