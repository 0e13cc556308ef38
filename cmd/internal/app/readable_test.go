package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A secret that every user can read is warned of, once; one that a container
// was given is not.
func TestSecretsThatEveryUserCanReadAreWarnedOf(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file, folder os.FileMode
		under        string
		want         bool
	}{
		"everybody's":         {0o644, 0o755, "", true},
		"the owner's":         {0o600, 0o755, "", false},
		"the group's":         {0o640, 0o755, "", false},
		"in a private folder": {0o644, 0o700, "", false},
		"a mounted Secret's":  {0o644, 0o755, "..2026_11_25_02_00_00.123", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, err := os.MkdirTemp("/tmp", "readable-") //nolint:usetesting // that of the test is the owner's only
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			real := filepath.Join(dir, c.under, "password")
			link := filepath.Join(dir, "link")
			for _, err := range []error{
				os.MkdirAll(filepath.Dir(real), 0o755), os.WriteFile(real, []byte("secret"), 0o600),
				os.Chmod(real, c.file), os.Chmod(filepath.Dir(real), c.folder), os.Chmod(dir, c.folder), os.Symlink(real, link),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			var said []string
			a := &App{opt: Options{Warn: func(text string) { said = append(said, text) }}}
			for range 2 {
				a.warnOfReaders(link)
			}
			if got := len(said) == 1 && strings.Contains(said[0], link); got != c.want || len(said) > 1 {
				t.Errorf("said %q", said)
			}
		})
	}
}
