// Package good holds what looks like state and is none.
package good

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"regexp"
)

// ErrGone is a sentinel.
var ErrGone = errors.New("gone")

var errWrapped = fmt.Errorf("wrapped: %w", ErrGone)

var word = regexp.MustCompile(`\w+`)

//go:embed rules.go
var text string

var _ io.Writer = (*nothing)(nil)

var table = []string{"a", "b"}

type nothing struct{}

func (*nothing) Write(p []byte) (int, error) { return len(p), errWrapped }

func lookup(i int) string { return table[i] + text + word.String() }
