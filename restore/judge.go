package restore

import (
	"fmt"
	"slices"
	"strings"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// judge turns what the load found into what may be said about the result. A
// serious finding is an error unless the operator forces it, and a check that
// was not made is never reported as made.
func (j *Job) judge(report synapse.LoadReport, plan prepared, run string) (verdict, error) {
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
	if f, ok := j.rows(report, plan); !ok {
		bad = append(bad, f)
	} else {
		v.Verified = append(v.Verified, f.Detail)
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

// rows compares the number of rows loaded with the recovery point's.
func (j *Job) rows(report synapse.LoadReport, plan prepared) (synapse.Finding, bool) {
	if len(j.database().Stream) > 0 {
		return synapse.Finding{Detail: "rows: the point holds one stream and does not say how many; pg_restore reported no error"}, true
	}
	var want int64
	for _, t := range j.wanted() {
		if !slices.Contains(plan.Skipped, tableName(t)) && !j.leavesOut(t) {
			want += t.Rows
		}
	}
	f := synapse.Finding{Name: "rows", Serious: true, Detail: fmt.Sprintf("%d loaded, the recovery point has %d", report.Rows, want)}
	return f, report.Rows == want
}

// leavesOut says whether a table's rows are left out of the restore: one-time
// keys that were handed out already must not be handed out again.
func (j *Job) leavesOut(t archive.Table) bool {
	return !j.KeepOTK && j.dump.Schema != nil && t.Name == synapse.OneTimeKeysTable
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
