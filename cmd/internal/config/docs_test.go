package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

const docs = "../../../docs/configuration.md"

// Every example in the documentation is a good file, to the schema too.
func TestExamplesOfDocumentation(t *testing.T) {
	t.Parallel()
	examples := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$").FindAllStringSubmatch(read(t, docs), -1)
	if len(examples) < 3 {
		t.Fatalf("%d examples were found", len(examples))
	}
	for i, e := range examples {
		name := fmt.Sprintf("example %d", i+1)
		f, err := parse(name, []byte(e[1]))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, n := range f.Names() {
			_, h, err := f.Homeserver(n)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if s, err := f.StoreNamed(h.Store); err != nil || s.URL == "" {
				t.Errorf("%s: %s has no store: %v", name, n, err)
			}
		}
		if faults := againstSchema(t, []byte(e[1])); len(faults) > 0 {
			t.Errorf("%s: %q", name, faults)
		}
	}
}

// Every key is explained, and every key that is explained is one.
func TestDocumentationHasEveryKey(t *testing.T) {
	t.Parallel()
	keys := map[string]bool{}
	paths(reflect.TypeFor[Store](), "stores.NAME.", keys)
	paths(reflect.TypeFor[Homeserver](), "", keys)
	text := read(t, docs)
	table, _, _ := strings.Cut(text, "## Flags and environment")
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Za-z.]+)` \\|").FindAllStringSubmatch(table, -1) {
		if !keys[row[1]] {
			t.Errorf("%s is explained, and is no key", row[1])
		}
		delete(keys, row[1])
	}
	for key := range keys {
		t.Errorf("%s is not explained", key)
	}
}

// paths lists the keys of a struct and of those in it.
func paths(t reflect.Type, above string, to map[string]bool) {
	for f := range t.Fields() {
		if key := above + keyOf(f); f.Type.Kind() == reflect.Struct {
			paths(f.Type, key+".", to)
		} else {
			to[key] = true
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
