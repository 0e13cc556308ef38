package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// DidYouMean is what an error about an unknown name ends with: the near miss,
// or what there is; empty where there is nothing.
func DidYouMean(name string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	if near := nearest(name, names); near != "" {
		return "; did you mean " + near + "?"
	}
	const few = 12
	if len(names) > few {
		return "; there are " + strings.Join(names[:few], ", ") + fmt.Sprintf(" and %d more", len(names)-few)
	}
	return "; there are " + strings.Join(names, ", ")
}

// nearest is the name that was probably meant, empty if none is near.
func nearest(name string, among []string) string {
	const longest = 250 // letters of any name; the search takes their square
	if len(name) > longest {
		return ""
	}
	best := slices.MinFunc(among, func(a, b string) int { return cmp.Compare(distance(name, a), distance(name, b)) })
	if distance(name, best) <= min(max(2, len(name)/3), len(name)/2) {
		return best
	}
	const telling = 4 // letters: fewer are in many names
	for _, other := range among {
		short, long := strings.ToLower(name), strings.ToLower(other)
		if len(short) >= telling && strings.Contains(long, short) || len(long) >= telling && strings.Contains(short, long) {
			return other
		}
	}
	return ""
}

// distance is how many letters have to be added, dropped, changed or swapped
// with their neighbour to make b of a, whatever their case.
func distance(a, b string) int {
	a, b = strings.ToLower(a), strings.ToLower(b)
	before, above := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above = above, row
	}
	return above[len(b)]
}
