// Package progress is how long work looks: a line with bar, rate and remaining
// time on a terminal, a line every ten seconds elsewhere; and sizes, durations,
// ages and tables for people.
//
// The terminal's line is drawn at most ten times a second, never wider than the
// terminal, and gone when the work ends. What else is written there meanwhile
// goes through [Reporter.Write] and doesn't mix with it.
//
// It imports the standard library only, knows no job, and never holds up the
// work that it shows.
package progress

import (
	"io"
	"sync"
	"time"
)

const (
	redraw   = 100 * time.Millisecond // between two drawings on a terminal
	interval = 10 * time.Second       // between two lines elsewhere
	window   = 15 * time.Second       // that the rate is a mean of
)

// Options are a reporter's.
type Options struct {
	Out   io.Writer  // a terminal, or whatever takes lines
	Width func() int // columns of the terminal, 0 if unknown; nil: it is none
	// Line gets what is told every ten seconds where there is no terminal; nil:
	// it is written to Out.
	Line func(label, what string, done, total int64)
}

// Reporter shows how far a piece of work is. It is safe for concurrent use.
type Reporter struct {
	opt Options

	life sync.Mutex // of stop
	stop func()     // ends the loop and waits for it; nil: nothing is shown

	mu  sync.Mutex // of now; held for no longer than it takes to note a number
	now state

	out   sync.Mutex // of Out and drawn; a terminal may be stopped for hours (Ctrl-S)
	drawn bool       // the terminal's last line is ours
}

// state is what is known of the work.
type state struct {
	label       string // what is done: "backup"
	what        string // what it is done with now: a table's name
	done, total int64  // bytes; total 0: unknown
	reported    bool
	began       time.Time
	samples     []sample // oldest first, no older than the window but for the first
}

type sample struct {
	at   time.Time
	done int64
}

// New returns a reporter that shows nothing yet.
func New(o Options) *Reporter { return &Reporter{opt: o} }

// Start begins to show a piece of work, and ends the one before.
func (r *Reporter) Start(label string) {
	r.life.Lock()
	defer r.life.Unlock()
	r.end()
	r.mu.Lock()
	r.now = state{label: label, began: time.Now()}
	r.mu.Unlock()
	quit, ended := make(chan struct{}), make(chan struct{})
	r.stop = func() {
		close(quit)
		<-ended
	}
	go r.loop(quit, ended)
}

// Update notes what the work is at and how far it is, in bytes; total 0 is
// unknown. It returns at once, and may be called from many goroutines,
// thousands of times a second: reports that overtake each other don't let the
// bar go back.
func (r *Reporter) Update(what string, done, total int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.now
	another := done < s.done && total != s.total // the next part of the work, counted anew
	if !s.reported || another {
		// What was done before, by a run that this one resumes, says nothing of
		// the rate.
		s.samples = []sample{{time.Now(), done}}
		s.done = done
	}
	s.done, s.total, s.what, s.reported = max(s.done, done), total, what, true
	if total > 0 {
		s.done = min(s.done, total)
	}
}

// Stop removes what is shown. Without a start it does nothing.
func (r *Reporter) Stop() {
	r.life.Lock()
	defer r.life.Unlock()
	r.end()
}

func (r *Reporter) end() {
	if r.stop == nil {
		return
	}
	r.stop()
	r.stop = nil
	r.out.Lock()
	defer r.out.Unlock()
	r.clear()
}

// Write writes whole lines, such as those of a log, above the bar.
func (r *Reporter) Write(p []byte) (int, error) {
	r.out.Lock()
	defer r.out.Unlock()
	r.clear()
	return r.opt.Out.Write(p)
}

func (r *Reporter) loop(quit, ended chan struct{}) {
	defer close(ended)
	every := interval
	if r.opt.Width != nil {
		every = redraw
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-quit:
			return
		case <-tick.C:
			r.show()
		}
	}
}

// show draws, or tells a line.
func (r *Reporter) show() {
	s := r.measure()
	if r.opt.Width == nil && r.opt.Line != nil {
		r.opt.Line(s.label, s.what, s.done, s.total) // may write to us
		return
	}
	r.out.Lock()
	defer r.out.Unlock()
	if r.opt.Width == nil {
		r.print(s.text() + "\n")
		return
	}
	r.clear()
	r.print(s.line(r.columns()))
	r.drawn = true
}

// measure notes where the work is, for the rate, and returns a copy of the
// state.
func (r *Reporter) measure() state {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.now
	if s.reported {
		now := time.Now()
		s.samples = append(s.samples, sample{now, s.done})
		for len(s.samples) > 2 && now.Sub(s.samples[1].at) >= window {
			s.samples = s.samples[1:]
		}
	}
	return *s
}

func (r *Reporter) columns() int {
	const usual = 80
	if w := r.opt.Width(); w > 0 {
		return w
	}
	return usual
}

// clear removes our line from the terminal.
func (r *Reporter) clear() {
	if r.drawn {
		r.print("\r\x1b[K")
		r.drawn = false
	}
}

// print writes what nobody can be told of if it fails: a terminal that is gone.
func (r *Reporter) print(text string) { _, _ = io.WriteString(r.opt.Out, text) }
