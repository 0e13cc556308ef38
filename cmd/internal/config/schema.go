package config

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// Schema is the JSON Schema of the file, for editors. It is made from the same
// structs that the file is read into.
func Schema() []byte {
	root := schemaOf(reflect.TypeFor[File]())
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "synapse-maint configuration"
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(err) // of maps of texts: can't be
	}
	return append(text, '\n')
}

func schemaOf(t reflect.Type) map[string]any {
	switch {
	case isDuration(t):
		return map[string]any{"type": "string", "pattern": `^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$`}
	case t.Kind() == reflect.Struct:
		return object(t)
	case t.Kind() == reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(t.Elem())}
	case t.Kind() == reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(t.Elem())}
	case t.Kind() == reflect.Bool:
		return map[string]any{"type": "boolean"}
	case t.Kind() == reflect.Int:
		return map[string]any{"type": "integer", "minimum": 0}
	default:
		return map[string]any{"type": "string"}
	}
}

// object is the schema of a struct. A field that is always written is required.
func object(t reflect.Type) map[string]any {
	properties, required := map[string]any{}, []string{}
	for f := range t.Fields() {
		key := keyOf(f)
		if key == "" {
			continue
		}
		p := schemaOf(f.Type)
		p["description"] = f.Tag.Get("doc")
		if pattern, ok := f.Tag.Lookup("pattern"); ok {
			p["pattern"] = pattern
		}
		if n, err := strconv.Atoi(f.Tag.Get("max")); err == nil {
			p["maximum"] = n
		}
		if !strings.Contains(f.Tag.Get("yaml"), ",omitempty") {
			required = append(required, key)
		}
		properties[key] = p
	}
	o := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}
