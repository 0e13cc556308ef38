package config

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// reader walks the file beside the structs that it is read into, because only
// the walk knows the line of an unknown key and the keys that it could be.
type reader struct {
	path     string
	problems []problem
}

type problem struct {
	line int
	text string
}

func (r *reader) say(line int, format string, args ...any) {
	r.problems = append(r.problems, problem{line, printable(fmt.Sprintf(format, args...))})
}

func (r *reader) inOrder() Problems {
	slices.SortStableFunc(r.problems, func(a, b problem) int { return cmp.Compare(a.line, b.line) })
	var all Problems
	for _, p := range r.problems {
		all = append(all, fmt.Sprintf("%s:%d: %s", r.path, p.line, p.text))
	}
	return all
}

func typeOf(f *File) reflect.Type { return reflect.TypeOf(f).Elem() }

func isDuration(t reflect.Type) bool { return t == reflect.TypeFor[time.Duration]() }

// walk compares a node with the type it is read into. It never quotes a value:
// that may be a secret in the wrong place.
func (r *reader) walk(n *yaml.Node, t reflect.Type, name string) {
	n = meant(n)
	switch {
	case n.ShortTag() == "!!null":
		// `recipients:` with all lines below it commented out must not turn
		// encryption off.
		r.say(n.Line, "%s has no value: give it one, or remove it", name)
	case t.Kind() == reflect.Struct || t.Kind() == reflect.Map:
		if n.Kind != yaml.MappingNode {
			r.say(n.Line, "%s has keys with values, below each other", cmp.Or(name, "the file"))
			return
		}
		r.keys(n, t, name)
	case t.Kind() == reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			r.say(n.Line, "%s is a list: [one, another]", name)
			return
		}
		for _, v := range n.Content {
			r.walk(v, t.Elem(), "each of "+name)
		}
	default:
		tag, kind := scalar(t)
		if n.Kind != yaml.ScalarNode || n.ShortTag() != tag || n.Decode(reflect.New(t).Interface()) != nil {
			r.say(n.Line, "%s is %s", name, kind)
		}
	}
}

func (r *reader) keys(n *yaml.Node, t reflect.Type, name string) {
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := meant(n.Content[i]), n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			r.say(key.Line, "a key%s is not a text", in(name))
			continue
		}
		if line := seen[key.Value]; line > 0 {
			r.say(key.Line, "%s is there already, in line %d", shown(key.Value), line)
			continue
		}
		seen[key.Value] = key.Line
		if t.Kind() == reflect.Map {
			r.walk(value, t.Elem(), shown(key.Value))
			continue
		}
		field, ok := fieldOf(t, key.Value)
		switch {
		case ok:
			r.walk(value, field.Type, key.Value)
		case t == reflect.TypeFor[Database]() && strings.EqualFold(key.Value, "password"):
			r.say(key.Line, "%s", errPassword)
		default:
			r.say(key.Line, "unknown key %s%s%s", shown(key.Value), in(name), DidYouMean(key.Value, keysOf(t)))
		}
	}
}

// shown is a key as it is written in an error: not too long, and no secret that
// was put in a key's place.
func shown(key string) string {
	const long = 80
	switch {
	case strings.Contains(strings.ToUpper(key), "AGE-SECRET-KEY-") || HasPassword(key):
		return "(a secret)"
	case len(key) > long:
		key = key[:long] + "…"
	}
	return key
}

// printable makes one line of a text.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

func in(name string) string {
	if name == "" {
		return ""
	}
	return " in " + name
}

// scalar is how YAML tags what a value of the type is written as, and its name
// for people.
func scalar(t reflect.Type) (tag, kind string) {
	switch {
	case isDuration(t):
		return "!!str", "a length of time in hours or minutes, like 72h or 30m"
	case t.Kind() == reflect.Bool:
		return "!!bool", "true or false"
	case t.Kind() == reflect.Int:
		return "!!int", "a whole number"
	default:
		return "!!str", "a text: put it in quotes"
	}
}

// keyOf is the key of a struct's field; empty for one that is not in files.
func keyOf(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return strings.TrimPrefix(name, "-")
}

func keysOf(t reflect.Type) (keys []string) {
	for f := range t.Fields() {
		if k := keyOf(f); k != "" {
			keys = append(keys, k)
		}
	}
	return keys
}

func fieldOf(t reflect.Type, key string) (reflect.StructField, bool) {
	for f := range t.Fields() {
		if k := keyOf(f); k != "" && k == key {
			return f, true
		}
	}
	return reflect.StructField{}, false
}

// meant is the node that an alias stands for.
func meant(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// place is a value in the file, and the line where its key is.
type place struct {
	node *yaml.Node
	line int
}

// find returns the value below keys, or the nearest above that there is.
func (p place) find(keys ...string) place {
	for _, key := range keys {
		if p.node == nil {
			break
		}
		n := meant(p.node)
		for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
			if k := meant(n.Content[i]); k.Value == key {
				p = place{n.Content[i+1], n.Content[i].Line}
				break
			}
		}
	}
	return p
}

// item returns the line of a list's item.
func (p place) item(i int) int {
	if n := meant(p.node); n.Kind == yaml.SequenceNode && i < len(n.Content) {
		return n.Content[i].Line
	}
	return p.line
}
