package progress

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/synapse-maint/synapse-maint/jobs"
)

// rate is in bytes a second; 0 if it is not known yet.
func (s state) rate() float64 {
	if len(s.samples) < 2 {
		return 0
	}
	first, last := s.samples[0], s.samples[len(s.samples)-1]
	seconds := last.at.Sub(first.at).Seconds()
	if seconds <= 0 {
		return 0
	}
	return float64(last.done-first.done) / seconds
}

// figures are what is known in numbers: "1.2 GiB of 2.8 GiB", rate, remaining
// time.
func (s state) figures() []string {
	var all []string
	switch {
	case s.total > 0:
		all = append(all, jobs.Size(s.done)+" of "+jobs.Size(s.total))
	case s.done > 0:
		all = append(all, jobs.Size(s.done))
	}
	rate := s.rate()
	if rate >= 1 {
		all = append(all, jobs.Size(int64(rate))+"/s")
	}
	if left := s.total - s.done; left > 0 && rate >= 1 {
		const longest = 1000 * 24 * time.Hour // a rate of nearly nothing tells no time
		if seconds := float64(left) / rate; seconds < longest.Seconds() {
			all = append(all, Duration(time.Duration(seconds*float64(time.Second)))+" left")
		}
	}
	return all
}

// text is the line where there is no terminal: "backup, public.events: 42 %,
// 1.2 GiB of 2.8 GiB, 90.1 MiB/s, 18 s left, 14 s so far".
func (s state) text() string {
	head := s.label
	if s.what != "" {
		head += ", " + printable(s.what)
	}
	var tail []string
	if s.total > 0 {
		tail = append(tail, fmt.Sprintf("%d %%", s.percent()))
	}
	tail = append(tail, s.figures()...)
	tail = append(tail, Duration(time.Since(s.began))+" so far")
	return head + ": " + strings.Join(tail, ", ")
}

// line is the line on a terminal, without its end: "backup [=====   ]  42 %
// 1.2 GiB of 2.8 GiB  90.1 MiB/s  18 s left  public.events". It takes one
// column less than there are: some terminals wrap after the last. Where there
// is little room, what is at the end goes first, then the bar.
func (s state) line(columns int) string {
	room := columns - 1
	tail := s.figures()
	if s.total > 0 {
		tail = append([]string{fmt.Sprintf("%3d %%", s.percent())}, tail...)
	}
	text := strings.Join(append([]string{s.label}, tail...), "  ")
	const longest, shortest, name = 24, 6, 20 // columns of the bar, and those left for what is worked on
	length := min(longest, room-width(text)-len("[]  ")-name)
	if s.total > 0 && length >= shortest {
		text = strings.Join(append([]string{s.label, s.bar(length)}, tail...), "  ")
	}
	if s.what != "" {
		text += "  " + printable(s.what)
	}
	return fit(text, room)
}

// bar is length columns between brackets.
func (s state) bar(length int) string {
	full := int(float64(s.done) / float64(s.total) * float64(length))
	return "[" + strings.Repeat("=", full) + strings.Repeat(" ", length-full) + "]"
}

// percent is rounded down: 100 is all.
func (s state) percent() int { return int(float64(s.done) / float64(s.total) * 100) }

// printable replaces what would move a terminal's cursor: the names of tables
// are their owner's choice.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// width is how many columns a text takes at most.
func width(text string) (columns int) {
	for _, r := range text {
		columns += cells(r)
	}
	return columns
}

// cells is 2 from where the scripts with wide letters begin (Hangul Jamo), but
// for the ellipsis.
func cells(r rune) int {
	const wide = 0x1100
	if r < wide || r == '…' {
		return 1
	}
	return 2
}

// fit cuts a text to a number of columns.
func fit(text string, columns int) string {
	if width(text) <= columns {
		return text
	}
	var cut strings.Builder
	left := columns - 1 // for the ellipsis
	for _, r := range text {
		if left -= cells(r); left < 0 {
			break
		}
		cut.WriteRune(r)
	}
	if columns < 1 {
		return ""
	}
	return cut.String() + "…"
}
