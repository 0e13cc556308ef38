package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"
)

// The generated part of a document lies between these lines.
const (
	beginMark = "<!-- make bench writes from here -->"
	endMark   = "<!-- to here -->"
)

// report is the table, as Markdown.
func (b *bench) report(took time.Duration) string {
	var s strings.Builder
	fmt.Fprintf(&s, "Scale %g, median of %d, %s, %d CPUs, PostgreSQL %d, %s, %s.\n\n",
		b.scale, b.rounds, cpuModel(), runtime.NumCPU(), b.pg.Major(), runtime.Version(), time.Now().UTC().Format(time.DateOnly))
	s.WriteString("| what | against | aim | measured | |\n|---|---|---|---|---|\n")
	for _, r := range b.rows {
		aim := "–"
		if r.aim > 0 {
			aim = fmt.Sprintf("≤ %g%s", r.aim, unit(r.unit))
		}
		fmt.Fprintf(&s, "| %s | %s | %s | **%.2f**%s | %s |\n", r.what, r.against, aim, r.got, unit(r.unit), r.detail)
	}
	for _, n := range b.notes {
		s.WriteString("\n" + n)
	}
	fmt.Fprintf(&s, "\nTook %s in all.\n", took.Round(time.Second))
	return s.String()
}

func unit(u string) string {
	if u == "" {
		return ""
	}
	return " " + u
}

func cpuModel() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

// rewrite replaces the generated part of a document.
func rewrite(path, text string) error {
	old, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	head, rest, ok := bytes.Cut(old, []byte(beginMark))
	_, foot, ok2 := bytes.Cut(rest, []byte(endMark))
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the table: the lines %q and %q", path, beginMark, endMark)
	}
	doc := fmt.Sprintf("%s%s\n%s%s%s", head, beginMark, text, endMark, foot)
	return os.WriteFile(path, []byte(doc), 0o644)
}
