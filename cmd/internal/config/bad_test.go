package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// Each file of testdata/bad is named for its fault. Its first line is the error,
// its second says whether the schema knows better.
func TestBadFiles(t *testing.T) {
	t.Parallel()
	for _, path := range files(t, "testdata/bad") {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			t.Parallel()
			text, first, second := twoLines(t, path)
			f, err := Load(path)
			if err == nil {
				t.Fatalf("taken: %+v", f)
			}
			separator := ":"
			if first[0] < '0' || first[0] > '9' {
				separator = ": " // YAML doesn't tell the line
			}
			if want := path + separator + first; err.Error() != want {
				t.Errorf("\ngot  %s\nwant %s", err, want)
			}
			if strings.Contains(strings.ToLower(err.Error()), "hunter2") || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error tells a secret, or has several lines: %q", err)
			}
			faults := againstSchema(t, text)
			if wrong := strings.Contains(second, "wrong"); wrong != (len(faults) > 0) {
				t.Errorf("%s But it says %q", second, faults)
			}
		})
	}
}

func TestProblemsAreAllThere(t *testing.T) {
	t.Parallel()
	_, err := Load("testdata/bad/several_problems.yaml")
	problems, ok := err.(Problems) //nolint:errorlint // Load's contract: it is not wrapped
	if !ok || len(problems) != 3 {
		t.Fatalf("got %#v, want three problems", err)
	}
	for i, want := range []string{":3: unknown key stroe", ":5: jobs is", ":6: recipients is"} {
		if !strings.Contains(problems[i], want) {
			t.Errorf("problem %d: %s, want %s", i, problems[i], want)
		}
	}
}

func files(t *testing.T, folder string) []string {
	t.Helper()
	paths, err := filepath.Glob(folder + "/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files in %s: %v", folder, err)
	}
	return paths
}

func twoLines(t *testing.T, path string) (text []byte, first, second string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	return text, strings.TrimPrefix(lines[0], "# "), strings.TrimPrefix(lines[1], "# ")
}

// againstSchema returns what the schema has against a file. Of one that is no
// YAML, or two documents, it only sees the beginning.
func againstSchema(t *testing.T, text []byte) []string {
	t.Helper()
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil || len(root.Content) == 0 {
		return nil
	}
	return conform(schema(t), root.Content[0], "")
}
