package postgres

import (
	"cmp"
	"slices"
	"sync"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// queue gives out the work on tables: parts to copy, then, when all of a
// table's parts are in, its indexes and constraints, then its ANALYZE. What it
// gives out next belongs to the table with the most work left, so that the
// longest chain (the rows and then the indexes of the largest table) starts
// first and the small tables fill the gaps at the end.
type queue struct {
	mu      sync.Mutex
	change  *sync.Cond
	tables  []*tableWork
	stopped bool
}

// tableWork is what is left to do on a table.
type tableWork struct {
	synapse.LoadTable
	index    int   // in the request
	parts    []int // not yet begun
	left     int64 // bytes of them
	bytes    int64 // of all parts
	copying  int
	builds   []build // not yet begun
	building int
	alone    bool       // the build in progress suffers no other
	analyze  bool       // not yet begun
	after    *tableWork // its rows have to be in first; may be nil
}

// kind of a piece of work.
type kind int

const (
	copyPart kind = iota
	buildIndex
	analyzeTable
)

// piece is a piece of work.
type piece struct {
	kind  kind
	table *tableWork
	part  int
	build build
	// helpers is how many parallel workers of the server a build may use: none
	// while there is other work for the other cores, because two indexes on two
	// cores are done sooner than one after the other on both.
	helpers int
}

func newQueue(tables []*tableWork) *queue {
	q := &queue{tables: tables}
	q.change = sync.NewCond(&q.mu)
	for _, t := range tables {
		// Those that suffer no other go first, while the other sessions still
		// find work on other tables.
		slices.SortStableFunc(t.builds, func(a, b build) int { return cmp.Compare(order(a), order(b)) })
	}
	return q
}

func order(b build) int {
	if b.alone {
		return 0
	}
	return 1
}

// next waits for a piece of work; ok is false when there is none left, or the
// queue was stopped.
func (q *queue) next(workers int) (p piece, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.stopped {
			return piece{}, false
		}
		best, waiting := q.best()
		if best != nil {
			return q.begin(best, workers), true
		}
		if !waiting {
			return piece{}, false
		}
		q.change.Wait()
	}
}

// ahead gives out a further part to copy, if that is what comes next.
func (q *queue) ahead() (p piece, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	best, _ := q.best()
	if q.stopped || best == nil || len(best.parts) == 0 {
		return piece{}, false
	}
	return q.begin(best, 1), true
}

// best is the table with the most work left among those that something can be
// begun of; waiting says whether some table has work that can't begin yet.
func (q *queue) best() (best *tableWork, waiting bool) {
	for _, t := range q.tables {
		if t.idle() {
			continue
		}
		waiting = true
		if t.ready() && (best == nil || t.weight() > best.weight()) {
			best = t
		}
	}
	return best, waiting
}

// weight estimates what is left: an index costs about as much as copying the
// rows that it is on (measured on Synapse's tables).
func (t *tableWork) weight() int64 {
	return t.left + int64(len(t.builds))*t.bytes
}

// idle says that nothing more will come of the table.
func (t *tableWork) idle() bool {
	return len(t.parts) == 0 && len(t.builds) == 0 && !t.analyze
}

func (t *tableWork) ready() bool {
	switch {
	case len(t.parts) > 0:
		return t.after == nil || t.after.full()
	case t.copying > 0 || t.alone:
		return false
	case len(t.builds) > 0:
		return t.building == 0 || !t.builds[0].alone
	default:
		return t.building == 0
	}
}

// full says whether the table's rows are in, and those that had to come first.
func (t *tableWork) full() bool {
	return len(t.parts) == 0 && t.copying == 0 && (t.after == nil || t.after.full())
}

func (q *queue) begin(t *tableWork, workers int) piece {
	p := piece{table: t}
	switch {
	case len(t.parts) > 0:
		p.kind, p.part = copyPart, t.parts[0]
		t.parts = t.parts[1:]
		t.left -= t.Parts[p.part].Bytes
		t.copying++
	case len(t.builds) > 0:
		p.kind, p.build = buildIndex, t.builds[0]
		t.builds = t.builds[1:]
		t.building++
		t.alone = p.build.alone
		p.helpers = q.helpers(t, workers)
	default:
		p.kind = analyzeTable
		t.analyze = false
	}
	return p
}

// helpers is how many of the server's parallel workers a build may use that was
// just begun: all other cores, where the work that is left for them would keep
// them busy for less than half of it, and none otherwise. What waits for the
// build is no work for them.
func (q *queue) helpers(t *tableWork, workers int) int {
	var others int64
	for _, o := range q.tables {
		if o == t && t.alone {
			others += t.bytes
			continue
		}
		others += o.weight() + int64(o.building)*o.bytes
		for range o.copying {
			others += o.bytes / int64(len(o.Parts))
		}
	}
	others -= t.bytes // its own
	if 2*others < t.bytes*int64(workers-1) || others == 0 {
		return workers - 1
	}
	return 0
}

// end says that a piece of work is done.
func (q *queue) end(p piece) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch p.kind {
	case copyPart:
		p.table.copying--
	case buildIndex:
		p.table.building--
		p.table.alone = false
	}
	q.change.Broadcast()
}

// stop lets next give out nothing more.
func (q *queue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	q.change.Broadcast()
}
