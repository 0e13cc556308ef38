// Package progress is how long work looks: a line with bar, rate and remaining
// time on a terminal, a line every ten seconds elsewhere; and bytes, durations
// and ages for people.
//
// The terminal's line is drawn at most ten times a second, never wider than the
// terminal, and gone when the work ends. What else is written there meanwhile
// goes through [Bar.Write] and doesn't mix with it.
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

// Bar shows how far one piece of work is. It is safe for concurrent use. Use
// [New].
type Bar struct {
	terminal bool
	width    func() int
	stop     func() // ends the loop and waits for it; once

	mu  sync.Mutex // of the fields below; held for no longer than it takes to read a number
	now state

	out   sync.Mutex // of the fields below; a terminal may be stopped for hours (Ctrl-S)
	w     io.Writer
	drawn bool // the terminal's last line is ours
}

// state is what is known of the work.
type state struct {
	verb        string // what is done: "backup"
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

// New begins to show work that verb names ("backup"). terminal says whether w
// is one; width tells its columns, and may be nil or return 0 if they are not
// known.
func New(w io.Writer, terminal bool, width func() int, verb string) *Bar {
	b := &Bar{w: w, terminal: terminal, width: width, now: state{verb: verb, began: time.Now()}}
	quit, ended := make(chan struct{}), make(chan struct{})
	b.stop = sync.OnceFunc(func() {
		close(quit)
		<-ended
		b.last()
	})
	go b.loop(quit, ended)
	return b
}

// Report notes how far the work is, in bytes, total 0 if that is not known, and
// what it is at. It returns at once, and may be called from many goroutines,
// thousands of times a second: reports that overtake each other don't let the
// bar go back.
func (b *Bar) Report(done, total int64, what string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &b.now
	first := !s.reported
	another := done < s.done && total != s.total // the next part of the work, counted anew
	if first || another {
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

// Close ends the showing: a terminal's line is cleared, elsewhere a last line
// is written. Reports after it are not shown.
func (b *Bar) Close() { b.stop() }

// Write writes whole lines, such as those of a log, above the terminal's line.
func (b *Bar) Write(p []byte) (int, error) {
	b.out.Lock()
	defer b.out.Unlock()
	b.clear()
	return b.w.Write(p)
}

func (b *Bar) loop(quit, ended chan struct{}) {
	defer close(ended)
	every := interval
	if b.terminal {
		every = redraw
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-quit:
			return
		case <-tick.C:
			b.show()
		}
	}
}

// show draws, or writes a line.
func (b *Bar) show() {
	s := b.measure()
	b.out.Lock()
	defer b.out.Unlock()
	if !b.terminal {
		b.print(s.text() + "\n")
		return
	}
	b.clear()
	b.print(s.line(b.columns()))
	b.drawn = true
}

// last is what is written in the end.
func (b *Bar) last() {
	s := b.measure()
	b.out.Lock()
	defer b.out.Unlock()
	b.clear()
	if !b.terminal && s.reported {
		b.print(s.text() + "\n")
	}
}

// measure notes where the work is, for the rate, and returns a copy of the
// state.
func (b *Bar) measure() state {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &b.now
	if s.reported {
		now := time.Now()
		s.samples = append(s.samples, sample{now, s.done})
		for len(s.samples) > 2 && now.Sub(s.samples[1].at) >= window {
			s.samples = s.samples[1:]
		}
	}
	return *s
}

func (b *Bar) columns() int {
	const usual = 80
	if b.width == nil {
		return usual
	}
	if w := b.width(); w > 0 {
		return w
	}
	return usual
}

// clear removes our line from the terminal.
func (b *Bar) clear() {
	if b.drawn {
		b.print("\r\x1b[K")
		b.drawn = false
	}
}

// print writes what nobody can be told of if it fails: a terminal that is gone.
func (b *Bar) print(text string) { _, _ = io.WriteString(b.w, text) }
