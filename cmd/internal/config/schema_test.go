package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// node is as much of JSON Schema as there is in ours.
type node struct {
	Schema      string          `json:"$schema,omitempty"`
	Title       string          `json:"title,omitempty"`
	Description string          `json:"description,omitempty"`
	Type        string          `json:"type"`
	Properties  map[string]node `json:"properties,omitempty"`
	Additional  json.RawMessage `json:"additionalProperties,omitempty"` // false, or a schema
	Required    []string        `json:"required,omitempty"`
	Items       *node           `json:"items,omitempty"`
	Pattern     string          `json:"pattern,omitempty"`
	Minimum     *int            `json:"minimum,omitempty"`
	Maximum     *int            `json:"maximum,omitempty"`
}

func schema(t *testing.T) node {
	t.Helper()
	return decode(t, Schema())
}

func decode(t *testing.T, text []byte) node {
	t.Helper()
	var s node
	if err := json.Unmarshal(text, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// tags are what YAML calls the types of JSON.
var tags = map[string]string{
	"object": "!!map", "array": "!!seq", "string": "!!str", "integer": "!!int", "boolean": "!!bool",
}

// conform returns what a schema has against a value.
func conform(s node, n *yaml.Node, at string) (faults []string) {
	n = meant(n)
	if n.ShortTag() != tags[s.Type] {
		return []string{fmt.Sprintf("%s is %s, not %s", at, n.ShortTag(), s.Type)}
	}
	switch s.Type {
	case "object":
		return properties(s, n, at)
	case "array":
		for i, v := range n.Content {
			faults = append(faults, conform(*s.Items, v, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case "string":
		if !regexp.MustCompile(s.Pattern).MatchString(n.Value) {
			faults = append(faults, at+" is not "+s.Pattern)
		}
	case "integer":
		i, err := strconv.Atoi(n.Value)
		if err != nil || s.Minimum != nil && i < *s.Minimum || s.Maximum != nil && i > *s.Maximum {
			faults = append(faults, at+" is out of bounds")
		}
	}
	return faults
}

func properties(s node, n *yaml.Node, at string) (faults []string) {
	there := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i].Value
		if there[key] {
			faults = append(faults, at+"."+key+" is there twice") // a parser's matter, not the schema's
		}
		there[key] = true
		p, ok := s.Properties[key]
		if !ok && (string(s.Additional) == "false" || json.Unmarshal(s.Additional, &p) != nil) {
			faults = append(faults, at+"."+key+" is unknown")
			continue
		}
		faults = append(faults, conform(p, n.Content[i+1], at+"."+key)...)
	}
	for _, key := range s.Required {
		if !there[key] {
			faults = append(faults, at+"."+key+" is missing")
		}
	}
	return faults
}

// What the schema offers is what the structs take, and nothing else.
func TestSchemaAgreesWithStructs(t *testing.T) {
	t.Parallel()
	agree(t, schema(t), reflect.TypeFor[File](), "file")
}

func agree(t *testing.T, s node, typ reflect.Type, at string) {
	t.Helper()
	want := map[reflect.Kind]string{
		reflect.Struct: "object", reflect.Map: "object", reflect.Slice: "array",
		reflect.String: "string", reflect.Int: "integer", reflect.Bool: "boolean",
		reflect.Int64: "string", // a duration
	}[typ.Kind()]
	if s.Type != want || want == "" {
		t.Errorf("%s: the schema has %q for a %s", at, s.Type, typ)
	}
	switch typ.Kind() {
	case reflect.Map:
		agree(t, decode(t, s.Additional), typ.Elem(), at+".*")
	case reflect.Slice:
		agree(t, *s.Items, typ.Elem(), at+"[]")
	case reflect.Int64:
		if typ != reflect.TypeFor[time.Duration]() || s.Pattern == "" {
			t.Errorf("%s: %s with pattern %q", at, typ, s.Pattern)
		}
	case reflect.Struct:
		if string(s.Additional) != "false" {
			t.Errorf("%s: unknown keys are not refused", at)
		}
		// Not by the code that makes the schema, but as the YAML decoder sees it.
		keys := keysByDecoder(t, typ)
		if got := slices.Sorted(maps.Keys(s.Properties)); !slices.Equal(got, slices.Sorted(maps.Keys(keys))) {
			t.Errorf("%s: the schema has %q, the struct %q", at, got, slices.Sorted(maps.Keys(keys)))
		}
		for key, field := range keys {
			if s.Properties[key].Description == "" {
				t.Errorf("%s.%s: no description", at, key)
			}
			agree(t, s.Properties[key], field, at+"."+key)
		}
	}
}

// keysByDecoder finds a struct's keys by writing one that has every field set.
func keysByDecoder(t *testing.T, typ reflect.Type) map[string]reflect.Type {
	t.Helper()
	keys := map[string]reflect.Type{}
	for field := range typ.Fields() {
		if !field.IsExported() {
			continue
		}
		one := reflect.New(typ).Elem()
		one.FieldByIndex(field.Index).Set(something(field.Type))
		text, err := yaml.Marshal(one.Addr().Interface())
		if err != nil {
			t.Fatal(err)
		}
		var written map[string]any
		if err := yaml.Unmarshal(text, &written); err != nil {
			t.Fatal(err)
		}
		for key, value := range written {
			if value != nil && value != "" {
				keys[key] = field.Type
			}
		}
	}
	return keys
}

// something is a value of a type that is not its zero.
func something(t reflect.Type) reflect.Value {
	v := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.Struct:
		for f := range t.Fields() {
			if f.IsExported() {
				v.FieldByIndex(f.Index).Set(something(f.Type))
			}
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(t))
		v.SetMapIndex(reflect.ValueOf("name"), something(t.Elem()))
	case reflect.Slice:
		v.Set(reflect.Append(v, something(t.Elem())))
	case reflect.String:
		v.SetString("text")
	case reflect.Bool:
		v.SetBool(true)
	default:
		v.SetInt(1)
	}
	return v
}

func TestSchemaTakesGoodFiles(t *testing.T) {
	t.Parallel()
	for _, path := range files(t, "testdata/good") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if faults := againstSchema(t, text); len(faults) > 0 {
			t.Errorf("%s: %q", path, faults)
		}
	}
}
