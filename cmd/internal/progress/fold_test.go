package progress

import (
	"strings"
	"testing"
)

func TestFold(t *testing.T) {
	t.Parallel()
	words := strings.Repeat("word ", 30)
	long := strings.Repeat("x", 120)
	for name, c := range map[string]struct{ text, want string }{
		"short":       {"  a  b\n", "  a  b\n"},
		"no end":      {"a", "a"},
		"labelled":    {"  size    " + words + "end\n", "  size    " + strings.TrimSpace(strings.Repeat("word ", 18)) + "\n          " + strings.Repeat("word ", 12) + "end\n"},
		"a step":      {"  1. " + words + "end\n", "  1. " + strings.TrimSpace(strings.Repeat("word ", 19)) + "\n     " + strings.Repeat("word ", 11) + "end\n"},
		"no label":    {words + "end\n", strings.TrimSpace(strings.Repeat("word ", 20)) + "\n  " + strings.Repeat("word ", 10) + "end\n"},
		"no blank":    {"  key  " + long + "\n", "  key  " + long + "\n"},
		"late blank":  {"  key  " + long + " end\n", "  key  " + long + "\n       end\n"},
		"other words": {"  key  " + strings.Repeat("ä", 93) + "\n", "  key  " + strings.Repeat("ä", 93) + "\n"},
	} {
		if got := Fold(c.text); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, c.want)
		}
	}
}
