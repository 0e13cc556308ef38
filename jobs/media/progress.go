package media

import (
	"sync/atomic"

	"github.com/synapse-maint/synapse-maint/jobs"
)

// progress tells how far the media are: in files, and in the bytes that the
// point before had, as far as there is one.
type progress struct {
	report func(jobs.Progress)
	total  int64 // bytes; 0: unknown
	files  atomic.Int64
	bytes  atomic.Int64
}

// every is how many files go without a report where nothing is read of them.
const every = 256

func newProgress(report func(jobs.Progress)) *progress {
	if report == nil {
		report = func(jobs.Progress) {}
	}
	return &progress{report: report}
}

// part counts bytes of a file that is under way: one may take minutes.
func (p *progress) part(bytes int64) { p.say(p.files.Load(), p.bytes.Add(bytes)) }

// file counts a file, and its bytes that were not counted as parts. Of those that
// only had to be looked at, few are reported.
func (p *progress) file(bytes int64, quick bool) {
	n, b := p.files.Add(1), p.bytes.Add(bytes)
	if quick && n%every != 0 {
		return
	}
	p.say(n, b)
}

func (p *progress) say(n, b int64) {
	total := p.total
	if total > 0 {
		total = max(total, b) // the store has grown
	}
	p.report(jobs.Progress{What: "media, " + jobs.Count(n, "file"), Done: b, Total: total})
}
