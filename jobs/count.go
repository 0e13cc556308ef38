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

// Size is a number of bytes for people: "1.2 GiB".
func Size(n int64) string {
	const unit = 1024
	sign, f := "", float64(n)
	if n < 0 {
		sign, f = "-", -f
	}
	if f < unit {
		return fmt.Sprintf("%d B", n)
	}
	units := "KMGTPE"
	for f /= unit; f >= 999.5 && len(units) > 1; f /= unit {
		units = units[1:]
	}
	digits := 1
	if f >= 99.95 {
		digits = 0
	}
	return fmt.Sprintf("%s%.*f %ciB", sign, digits, f, units[0])
}
