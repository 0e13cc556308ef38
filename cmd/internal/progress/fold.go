package progress

import (
	"regexp"
	"strings"
)

// Columns is how wide the lines of results are at most, where they have blanks
// to be broken at.
const Columns = 100

// labelled is the beginning of a line that has something to say of something: two
// blanks, a word, and blanks up to its column.
var labelled = regexp.MustCompile(`^( {2}\S+ +)\S`)

// Fold breaks the lines that are too wide. What is in a column of its own goes on
// in it.
func Fold(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		indent := strings.Repeat(" ", max(2, len(line)-len(strings.TrimLeft(line, " "))))
		if m := labelled.FindStringSubmatch(line); m != nil {
			indent = strings.Repeat(" ", width(m[1]))
		}
		rest := strings.TrimRight(line, "\n")
		for width(rest) > Columns {
			at := lastBlank(rest, len(indent))
			if at < 0 {
				break
			}
			b.WriteString(rest[:at] + "\n")
			rest = indent + rest[at+1:]
		}
		b.WriteString(rest + line[len(strings.TrimRight(line, "\n")):])
	}
	return b.String()
}

// lastBlank is where a line is broken, behind its indent: at the last blank that
// still fits, or else at the first; -1 if there is none.
func lastBlank(line string, indent int) int {
	at, n := -1, 0
	for i, r := range line {
		if r == ' ' && i > indent && (n <= Columns || at < 0) {
			at = i
		}
		n++
	}
	return at
}
