package testbed_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

func TestFillMediaGivesTheSameFilesAgain(t *testing.T) {
	t.Parallel()
	tree := func(seed uint64) map[string]string {
		o := testbed.SmallMedia()
		o.Seed = seed
		m := fillMedia(t, o)
		before := readTree(t, m.Dir)
		if err := m.Change(t.Context(), 5); err != nil {
			t.Fatal(err)
		}
		after := readTree(t, m.Dir)
		if maps.Equal(before, after) {
			t.Error("the change changed nothing")
		}
		return after
	}
	if a, b := tree(1), tree(1); !maps.Equal(a, b) {
		t.Error("the same seed gave other names, times or bytes")
	}
	if a, b := tree(1), tree(2); maps.Equal(a, b) {
		t.Error("another seed gave the same")
	}
}

func TestMediaStoreHasSynapsesShape(t *testing.T) {
	t.Parallel()
	m := fillMedia(t, testbed.SmallMedia())
	classes := map[string]*regexp.Regexp{
		"local_content":        regexp.MustCompile(`^[A-Za-z]{2}/[A-Za-z]{2}/[A-Za-z]{20}$`),
		"local_thumbnails":     regexp.MustCompile(`^[A-Za-z]{2}/[A-Za-z]{2}/[A-Za-z]{20}/\d+-\d+-image-(jpeg|png)-(crop|scale)$`),
		"remote_content":       regexp.MustCompile(`^hs\d+\.example\.org/[A-Za-z]{2}/[A-Za-z]{2}/[A-Za-z]{20}$`),
		"remote_thumbnail":     regexp.MustCompile(`^hs\d+\.example\.org/[A-Za-z]{2}/[A-Za-z]{2}/[A-Za-z]{20}/\d+-\d+-image-(jpeg|png)-(crop|scale)$`),
		"url_cache":            regexp.MustCompile(`^\d{4}-\d\d-\d\d/[A-Za-z]{16}$`),
		"url_cache_thumbnails": regexp.MustCompile(`^\d{4}-\d\d-\d\d/[A-Za-z]{16}/\d+-\d+-image-(jpeg|png)-(crop|scale)$`),
	}
	files, contents, seen := readTree(t, m.Dir), map[string]int{}, map[string]int{}
	for path, content := range files {
		class, rest, _ := strings.Cut(path, "/")
		if r := classes[class]; r == nil || !r.MatchString(rest) {
			t.Errorf("Synapse has no file %s", path)
		}
		seen[class]++
		contents[content[strings.LastIndex(content, " "):]]++
	}
	if len(seen) != len(classes) {
		t.Errorf("classes: %v", seen)
	}
	if n := len(files); n < 290 || n > 310 || n != m.Files() {
		t.Errorf("%d files, of %d that it says", n, m.Files())
	}
	if b := m.Bytes(); b < 3<<20 || b > 5<<20 {
		t.Errorf("%d bytes", b)
	}
	if double := len(files) - len(contents); double < 1 || double > 15 {
		t.Errorf("%d files repeat another", double)
	}
}

func TestMediaItemsAndFilesAreTheSame(t *testing.T) {
	t.Parallel()
	m := fillMedia(t, testbed.SmallMedia())
	for range 3 {
		before := m.Files()
		if err := m.Change(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
		if grown := m.Files() - before; grown < 15 || grown > 30 {
			t.Errorf("%d files grew by %d", before, grown)
		}
	}
	left := readTree(t, m.Dir)
	for _, i := range m.Items {
		got, ok := left[i.Path()]
		if want := i.Created.Format(time.DateTime) + " " + i.SHA256; !ok || got != want {
			t.Errorf("%s: %q, want %q", i.Path(), got, want)
		}
		delete(left, i.Path())
		for _, th := range i.Thumbnails {
			if _, ok := left[i.ThumbnailPath(th)]; !ok {
				t.Errorf("no thumbnail %s", i.ThumbnailPath(th))
			}
			delete(left, i.ThumbnailPath(th))
		}
	}
	if len(left) > 0 {
		t.Errorf("files of no item: %v", left)
	}
}

func TestTinyMediaIsManyFilesOfFewBytes(t *testing.T) {
	t.Parallel()
	m := fillMedia(t, testbed.TinyMedia(1000))
	if n, b := m.Files(), m.Bytes(); n < 990 || n > 1010 || b < 20*1000 || b > 200*1000 {
		t.Errorf("%d files, %d bytes", n, b)
	}
	if files := readTree(t, m.Dir); len(files) != m.Files() {
		t.Errorf("%d files, of %d that it says", len(files), m.Files())
	}
}

func TestMediaRowsSayWhatIsInTheStore(t *testing.T) {
	t.Parallel()
	url := testbed.SynapseDatabase(t, testbed.Postgres(t), 0.01)
	m := fillMedia(t, testbed.SmallMedia())
	for range 2 { // what it said before goes
		if err := m.SaveRows(t.Context(), url); err != nil {
			t.Fatal(err)
		}
	}
	paths := query(t, url, `SELECT string_agg(p, ' ') FROM (
		SELECT CASE WHEN url_cache IS NULL THEN 'local_content/' || substr(media_id, 1, 2) || '/' || substr(media_id, 3, 2) || '/' || substr(media_id, 5)
			ELSE 'url_cache/' || left(media_id, 10) || '/' || substr(media_id, 12) END FROM local_media_repository
		UNION ALL SELECT 'remote_content/' || media_origin || '/' || substr(filesystem_id, 1, 2) || '/' || substr(filesystem_id, 3, 2) || '/' || substr(filesystem_id, 5) FROM remote_media_cache) x(p)`)
	files := readTree(t, m.Dir)
	for _, p := range strings.Fields(paths) {
		if _, ok := files[p]; !ok {
			t.Errorf("the database has %s, the folder has not", p)
		}
	}
	if n := len(strings.Fields(paths)); n != len(m.Items) {
		t.Errorf("%d rows for %d items", n, len(m.Items))
	}
	if n := count(t, url, "local_media_repository_thumbnails") + count(t, url, "remote_media_cache_thumbnails"); n != m.Files()-len(m.Items) {
		t.Errorf("%d rows for %d thumbnails", n, m.Files()-len(m.Items))
	}
	if n := count(t, url, "local_media_repository WHERE sha256 IS NULL"); n == 0 || n > len(m.Items)/4 {
		t.Errorf("%d rows are from before Synapse hashed", n)
	}
}

func fillMedia(t *testing.T, o testbed.MediaOptions) *testbed.Media {
	t.Helper()
	m, err := testbed.FillMedia(t.Context(), t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// readTree returns the time and hash of each file below a folder.
func readTree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err1 := d.Info()
		text, err2 := os.ReadFile(path)
		rel, err3 := filepath.Rel(dir, path)
		if err := errors.Join(err1, err2, err3); err != nil {
			return err
		}
		sum := sha256.Sum256(text)
		files[rel] = info.ModTime().UTC().Format(time.DateTime) + " " + hex.EncodeToString(sum[:])
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
