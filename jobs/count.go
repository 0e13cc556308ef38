package jobs

import "fmt"

// Count is a number for people with its noun: "1 pack", "12,345 rows". Without a
// noun it is the number alone.
func Count(n int64, noun string) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	switch {
	case noun == "":
		return text
	case n == 1:
		return text + " " + noun
	default:
		return text + " " + noun + "s"
	}
}
