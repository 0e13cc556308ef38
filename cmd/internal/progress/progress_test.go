package progress

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

const mib = 1 << 20

// screen is a terminal's last line, and how often it was drawn.
type screen struct {
	mu    sync.Mutex
	text  string
	drawn int
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if string(p) != "\r\x1b[K" {
		s.drawn++
	}
	s.text += string(p)
	return len(p), nil
}

func (s *screen) all() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text
}

// line is what is to be seen in the last line.
func (s *screen) line() string {
	text := s.all()
	text = text[strings.LastIndexByte(text, '\n')+1:]
	if i := strings.LastIndex(text, "\r\x1b[K"); i >= 0 {
		text = text[i+len("\r\x1b[K"):]
	}
	return text
}

func columns(n int) func() int { return func() int { return n } }

func start(w io.Writer, columns func() int, label string) *Reporter {
	r := New(Options{Out: w, Width: columns})
	r.Start(label)
	return r
}

// later lets simulated time pass, with a report in every tenth of a second.
func later(r *Reporter, seconds int, from, step, total int64, what string) {
	for i := range int64(seconds * 10) {
		r.Update(what, from+(i+1)*step, total)
		time.Sleep(100 * time.Millisecond)
	}
	synctest.Wait()
}

func TestTerminalShowsBarRateAndRemainingTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s screen
		r := start(&s, columns(110), "backup")
		defer r.Stop()
		time.Sleep(time.Millisecond) // reports and drawings don't fall on the same instant
		later(r, 5, 0, 10*mib, 1000*mib, "public.events")
		want := "backup  [============            ]   50 %  500 MiB of 1.0 GiB  98.0 MiB/s  5.1 s left  public.events"
		if got := s.line(); got != want {
			t.Errorf("\ngot  %q\nwant %q", got, want)
		}
	})
}

func TestTerminalIsDrawnAtMostTenTimesASecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s screen
		r := start(&s, columns(80), "verify")
		var workers sync.WaitGroup
		for range 4 {
			workers.Go(func() {
				for i := range int64(5000) {
					r.Update("reading packs", i, 5000)
					time.Sleep(200 * time.Microsecond)
				}
			})
		}
		workers.Wait()
		r.Stop()
		if s.drawn < 9 || s.drawn > 11 {
			t.Errorf("drawn %d times in a second, want 10", s.drawn)
		}
	})
}

func TestStopClearsTheTerminalsLine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s screen
		r := start(&s, columns(80), "backup")
		later(r, 1, 0, mib, 100*mib, "")
		if s.line() == "" {
			t.Error("nothing was shown")
		}
		r.Stop()
		r.Stop() // again is fine
		if got := s.line(); got != "" {
			t.Errorf("left on the terminal: %q", got)
		}
		r.Update("after the end", 1, 2)
		time.Sleep(time.Minute)
		if got := s.line(); got != "" {
			t.Errorf("shown after the end: %q", got)
		}
	})
}

func TestLogLinesDontMixWithTheBar(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s screen
		r := start(&s, columns(80), "backup")
		defer r.Stop()
		later(r, 1, 0, mib, 100*mib, "")
		fmt.Fprintln(r, "a warning")
		if all := s.all(); !strings.HasSuffix(all, "\r\x1b[Ka warning\n") {
			t.Errorf("the line was not cleared before the warning: %q", all)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !strings.HasPrefix(s.line(), "backup") {
			t.Errorf("the bar did not come back: %q", s.line())
		}
	})
}

func TestElsewhereALineEveryTenSeconds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		r := start(&out, nil, "restore")
		time.Sleep(time.Millisecond) // reports and lines don't fall on the same instant
		later(r, 25, 0, 4*mib, 2000*mib, "rows")
		r.Stop()
		want := `restore, rows: 20 %, 400 MiB of 2.0 GiB, 39.6 MiB/s, 40 s left, 10 s so far
restore, rows: 40 %, 800 MiB of 2.0 GiB, 39.8 MiB/s, 30 s left, 20 s so far
`
		if got := out.String(); got != want {
			t.Errorf("got\n%swant\n%s", got, want)
		}
	})
}

func TestUnknownTotalHasNoPercentage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s screen
		r := start(&s, columns(80), "backup")
		defer r.Stop()
		later(r, 2, 0, mib, 0, "pg_dump")
		if got := s.line(); strings.ContainsAny(got, "%[") || !strings.Contains(got, "MiB/s  pg_dump") {
			t.Errorf("got %q", got)
		}
	})
}

func TestElsewhereALineGoesToTheLog(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		var r *Reporter
		r = New(Options{Out: &out, Line: func(label, what string, done, total int64) {
			fmt.Fprintln(r, label, what, done, total) // a log writes above the bar
		}})
		r.Start("backup")
		r.Update("public.events", 3, 4)
		time.Sleep(interval)
		synctest.Wait()
		r.Stop()
		if got := out.String(); got != "backup public.events 3 4\n" {
			t.Errorf("got %q", got)
		}
	})
}

func TestStartEndsWhatWasShownBefore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s screen
		r := start(&s, columns(80), "backup")
		later(r, 1, 0, mib, 100*mib, "public.events")
		r.Start("verify")
		time.Sleep(time.Second)
		synctest.Wait()
		if got := s.line(); got != "verify" {
			t.Errorf("got %q", got)
		}
		r.Stop()
	})
}

func TestStopWithoutStart(t *testing.T) {
	t.Parallel()
	New(Options{}).Stop()
}

// A resumed run reports what was done before it: that must not look like
// gigabytes a second.
func TestRateIsThatOfThisProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		r := start(&out, nil, "restore")
		r.Update("rows", 900*mib, 1000*mib)
		time.Sleep(time.Millisecond)
		later(r, 11, 900*mib, mib/2, 1000*mib, "rows")
		r.Stop()
		if got := out.String(); !strings.Contains(got, "5.0 MiB/s, 10 s left") {
			t.Errorf("got %q", got)
		}
	})
}

func TestReportsThatOvertakeEachOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		r := start(&out, nil, "backup")
		r.Update("a", 90, 100)
		r.Update("b", 80, 100)
		time.Sleep(interval)
		synctest.Wait()
		r.Stop()
		if got := out.String(); !strings.HasPrefix(got, "backup, b: 90 %, ") {
			t.Errorf("the bar went back: %q", got)
		}
	})
}

func TestAnotherPartOfTheWorkIsCountedAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		r := start(&out, nil, "restore")
		r.Update("rows", 100, 100)
		r.Update("media", 5, 50)
		time.Sleep(interval)
		synctest.Wait()
		r.Stop()
		if got := out.String(); !strings.HasPrefix(got, "restore, media: 10 %, 5 B of 50 B, ") {
			t.Errorf("got %q", got)
		}
	})
}

// stuck is a terminal that was stopped with Ctrl-S.
type stuck struct{ until chan struct{} }

func (s stuck) Write(p []byte) (int, error) { <-s.until; return len(p), nil }

func TestAStoppedTerminalDoesNotHoldUpTheWork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := stuck{make(chan struct{})}
		r := start(s, columns(80), "backup")
		time.Sleep(time.Second)
		r.Update("not held up", 1, 2) // else the test ends in a deadlock
		close(s.until)
		r.Stop()
	})
}

func TestLineIsNeverWiderThanTheTerminal(t *testing.T) {
	t.Parallel()
	began := time.Now()
	s := state{
		label: "backup", what: "public.événements_日本語_with_a_very_long_name_that_goes_on_and_on",
		done: 1 << 30, total: 3 << 30, reported: true,
		samples: []sample{{began, 0}, {began.Add(10 * time.Second), 1 << 30}},
	}
	for columns := range 200 {
		if got := width(s.line(columns)); got > max(0, columns-1) {
			t.Errorf("%d columns: %d wide: %q", columns, got, s.line(columns))
		}
	}
	for columns, want := range map[int]string{
		14:  "backup   33 …",
		50:  "backup   33 %  1.0 GiB of 3.0 GiB  102 MiB/s  20…",
		100: "backup  [======              ]   33 %  1.0 GiB of 3.0 GiB  102 MiB/s  20 s left  public.événements…",
	} {
		if got := s.line(columns); got != want {
			t.Errorf("%d columns:\ngot  %q\nwant %q", columns, got, want)
		}
	}
}

func TestNamesCantMoveTheCursor(t *testing.T) {
	t.Parallel()
	s := state{label: "backup", what: "a\x1b[2Jb\nc\rd\u202ee"}
	for _, got := range []string{s.line(80), s.text()} {
		if strings.ContainsAny(got, "\x1b\n\r\u202e") {
			t.Errorf("%q", got)
		}
	}
}

func BenchmarkUpdate(b *testing.B) {
	r := start(&bytes.Buffer{}, nil, "backup")
	defer r.Stop()
	for b.Loop() {
		r.Update("public.events", 1, 2)
	}
}
