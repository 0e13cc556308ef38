package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Load reads a configuration file. The error of one that is not right is a
// [Problems]. Paths in it are relative to the file's folder; in the [File] they
// are absolute.
func Load(path string) (*File, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("configuration file: %w", err)
	}
	return parse(path, text)
}

// Problems are what is wrong with a configuration file, each with file and
// line, in the order of the lines. There is at least one.
type Problems []string

// Error is the first problem, and how many there are.
func (p Problems) Error() string {
	switch n := len(p) - 1; {
	case n == 1:
		return p[0] + " (and 1 more problem)"
	case n > 1:
		return fmt.Sprintf("%s (and %d more problems)", p[0], n)
	}
	return p[0]
}

func parse(path string, text []byte) (*File, error) {
	f := &File{path: path}
	root, err := document(text)
	if err != nil {
		return nil, Problems{yamlProblem(path, err.Error())}
	}
	if root == nil {
		return f, nil
	}
	r := reader{path: path}
	r.walk(root, typeOf(f), "")
	if len(r.problems) > 0 {
		return nil, r.inOrder()
	}
	if err := root.Decode(f); err != nil { // the walk saw all that can go wrong; but if not
		return nil, Problems{yamlProblem(path, err.Error())}
	}
	r.check(place{root, root.Line}, f)
	if len(r.problems) > 0 {
		return nil, r.inOrder()
	}
	return f, f.absolute()
}

// document returns what is in the only document of a YAML file; nil if nothing
// is.
func document(text []byte) (*yaml.Node, error) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	var first, second yaml.Node
	err := d.Decode(&first)
	if errors.Is(err, io.EOF) || err == nil && first.Content[0].ShortTag() == "!!null" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = d.Decode(&second)
	if err == nil {
		return nil, fmt.Errorf("line %d: a second document: all is in one", second.Line)
	}
	if !errors.Is(err, io.EOF) {
		return nil, err
	}
	return first.Content[0], nil
}

var (
	yamlLine   = regexp.MustCompile(`^line (\d+): (.*)$`)
	yamlAnchor = regexp.MustCompile(`anchor '[^']*'`)
	// What the library's scanner says of a tab is of where the value before it begins.
	yamlTab = regexp.MustCompile(`^found a tab character that violates indentation`)
	// What its parser says, unlike its scanner, is of the line before, and of where
	// the list or mapping begins.
	yamlParser = regexp.MustCompile(`^did not find expected (<document start>|node content|'-' indicator|key|',' or '.')`)
)

// yamlProblem writes YAML's "line 3: …" as path:3: …. What YAML takes for an
// anchor's name may be the middle of a password.
func yamlProblem(path, text string) string {
	text = strings.TrimPrefix(strings.Join(strings.Fields(text), " "), "yaml: ")
	text = yamlAnchor.ReplaceAllString(text, "anchor")
	m := yamlLine.FindStringSubmatch(text)
	if m == nil {
		return path + ": " + text
	}
	line, _ := strconv.Atoi(m[1]) // of digits
	switch {
	case yamlParser.MatchString(m[2]):
		return fmt.Sprintf("%s:%d: %s, here or below", path, line+1, m[2])
	case yamlTab.MatchString(m[2]):
		return fmt.Sprintf("%s:%d: %s, here or below", path, line, m[2])
	}
	return fmt.Sprintf("%s:%d: %s", path, line, m[2])
}

// absolute makes the file's paths absolute.
func (f *File) absolute() error {
	file, err := filepath.Abs(f.path)
	if err != nil {
		return fmt.Errorf("configuration file: %w", err)
	}
	from := func(p *string) {
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(filepath.Dir(file), *p)
		}
	}
	f.Defaults.paths(from)
	for name, h := range f.Homeservers {
		h.paths(from)
		f.Homeservers[name] = h
	}
	return nil
}

// paths calls a function with each path.
func (h *Homeserver) paths(each func(*string)) {
	each(&h.Database.PasswordFile)
	each(&h.JobIdentity)
	each(&h.PgBinDir)
	for i := range h.Identities {
		each(&h.Identities[i])
	}
}
