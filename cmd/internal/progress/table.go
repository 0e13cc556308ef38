package progress

import "strings"

// Table sets rows below a heading in columns, two blanks apart. Columns whose
// heading begins with ">" are set to the right.
func Table(heading []string, rows [][]string) string {
	right := make([]bool, len(heading))
	widths := make([]int, len(heading))
	head := make([]string, len(heading))
	for i, h := range heading {
		head[i], right[i] = strings.CutPrefix(h, ">")
	}
	all := append([][]string{head}, rows...)
	for _, row := range all {
		for i, cell := range row {
			widths[i] = max(widths[i], width(cell))
		}
	}
	var b strings.Builder
	for _, row := range all {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", widths[i]-width(cell))
			if i > 0 {
				line.WriteString("  ")
			}
			if right[i] {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	return b.String()
}
