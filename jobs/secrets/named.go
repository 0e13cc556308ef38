package secrets

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// named adds the files that a configuration file names. What can't be read as
// YAML is stored, but what it names is not known.
func (g *gathering) named(path string, text []byte) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		g.items = append(g.items, Item{
			Name: nameOf(path) + " (what it names)", From: path, What: configuration,
			Err: fmt.Errorf("it is no YAML%s: the files that it names are not known", yamlLine(err)),
		})
		return
	}
	w := naming{g: g, config: path, seen: map[*yaml.Node]bool{}}
	w.walk(&doc, "", "")
}

var lineNumber = regexp.MustCompile(`line \d+`)

// yamlLine is where YAML failed. Its own words may quote a secret.
func yamlLine(err error) string {
	if at := lineNumber.FindString(err.Error()); at != "" {
		return " (" + at + ")"
	}
	return ""
}

// naming walks through a configuration file.
type naming struct {
	g      *gathering
	config string
	seen   map[*yaml.Node]bool // aliases may lead in circles
}

// walk looks at a value, which is that of key, at a place such as
// redis.password_path.
func (w *naming) walk(n *yaml.Node, key, place string) {
	switch n.Kind {
	case yaml.DocumentNode:
		for _, c := range n.Content {
			w.walk(c, "", "")
		}
	case yaml.AliasNode:
		if n.Alias.Kind != yaml.ScalarNode {
			if w.seen[n.Alias] {
				return
			}
			w.seen[n.Alias] = true
		}
		w.walk(n.Alias, key, place)
	case yaml.SequenceNode:
		for i, c := range n.Content {
			at := place
			if c.Kind != yaml.ScalarNode {
				at += "." + strconv.Itoa(i)
			}
			w.walk(c, key, at)
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			w.member(n.Content[i].Value, n.Content[i+1], place)
		}
	case yaml.ScalarNode:
		w.value(n.Value, key, place)
	}
}

func (w *naming) member(key string, value *yaml.Node, above string) {
	place := key
	if above == "" {
		w.top(key, value)
	} else {
		place = above + "." + key
	}
	if !leftOut(key) {
		w.walk(value, key, place)
	}
}

// top takes note of what is said at the top of the file.
func (w *naming) top(key string, value *yaml.Node) {
	switch key {
	case "server_name":
		w.g.server = value.Value
	case "signing_key_path", "signing_key":
		w.g.hasKey = w.g.hasKey || value.Value != ""
	}
}

// leftOut are keys with paths that are no part of the configuration.
func leftOut(key string) bool {
	switch key {
	case "media_store_path", "uploads_path", "media_storage_providers", "pid_file", "worker_pid_file":
		return true
	}
	return false
}

// namesFiles says whether the value of a key is a path, or a list of such.
func namesFiles(key string) bool {
	switch key {
	case "log_config", "worker_log_config", "federation_custom_ca_list", // Synapse's
		"local",                                                  // of saml2_config.sp_config.metadata
		"sslcert", "sslkey", "sslrootcert", "sslcrl", "passfile": // libpq's
		return true
	}
	for _, end := range []string{"_path", "_paths", "_file", "_files", "template_dir", "template_directory", "templates_dir", "templates_directory"} {
		if strings.HasSuffix(key, end) {
			return true
		}
	}
	return false
}

// value adds the file that a value names, if it does.
func (w *naming) value(value, key, place string) {
	const longest = 4096
	if !namesFiles(key) || value == "" || len(value) > longest || strings.ContainsAny(value, "\n\x00") || strings.Contains(value, "://") {
		return
	}
	what := fmt.Sprintf("named in %s as %s", filepath.Base(w.config), printable(place))
	if place == "signing_key_path" {
		what = signingKey
	}
	w.g.add(w.g.resolve(w.config, value), what, namedFiles)
}

// resolve makes a path absolute: where Synapse runs, or else beside the
// configuration.
func (g *gathering) resolve(config, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	beside := filepath.Join(filepath.Dir(config), path)
	if g.folder == "" {
		return beside
	}
	there := filepath.Join(g.folder, path)
	if _, err := os.Stat(there); errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat(beside); err == nil {
			return beside
		}
	}
	return there
}

// printable is text for one line.
func printable(text string) string {
	if q := strconv.Quote(text); len(q) != len(text)+2 {
		return q
	}
	return text
}
