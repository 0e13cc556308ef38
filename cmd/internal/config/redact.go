package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"

	"go.yaml.in/yaml/v3"
)

// redacted is the file without any password. None is in a file that [Load]
// took; one that was put together from flags may have some.
func (f *File) redacted() *File {
	clean := *f
	clean.Stores, clean.Homeservers = maps.Clone(f.Stores), maps.Clone(f.Homeservers)
	for name, s := range clean.Stores {
		if u, err := url.Parse(s.URL); err != nil {
			s.URL = "…"
		} else if u.User != nil {
			u.User = nil
			s.URL = u.String()
		}
		clean.Stores[name] = s
	}
	clean.Defaults.Database.URL, _ = passwordless(f.Defaults.Database.URL)
	for name, h := range clean.Homeservers {
		h.Database.URL, _ = passwordless(h.Database.URL)
		clean.Homeservers[name] = h
	}
	return &clean
}

// YAML is the file as it was understood, paths absolute, comments gone, without
// any password. [Load] reads it again.
func (f *File) YAML() ([]byte, error) {
	var text bytes.Buffer
	e := yaml.NewEncoder(&text)
	e.SetIndent(2)
	if err := e.Encode(f.redacted()); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	return text.Bytes(), e.Close()
}

// MarshalYAML keeps lists that are said to be empty, where omitempty would let
// the defaults' take their place when the file is read again.
func (h Homeserver) MarshalYAML() (any, error) {
	type plain Homeserver
	var n yaml.Node
	if err := n.Encode(plain(h)); err != nil {
		return nil, err
	}
	sayEmpty(&n, "recipients", h.Recipients)
	sayEmpty(&n, "copies", h.Copies)
	sayEmpty(&n, "identities", h.Identities)
	return &n, nil
}

func sayEmpty(n *yaml.Node, key string, list []string) {
	if list == nil || len(list) > 0 {
		return
	}
	n.Style &^= yaml.FlowStyle // that of {}
	n.Content = append(n.Content,
		&yaml.Node{Kind: yaml.ScalarNode, Value: key},
		&yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle})
}

// MarshalJSON is the same in JSON.
func (f *File) MarshalJSON() ([]byte, error) {
	text, err := f.YAML()
	if err != nil {
		return nil, err
	}
	var tree map[string]any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return nil, err
	}
	return json.Marshal(tree)
}
