package archive_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/dir"
)

// listed makes an archive in a folder whose newest point has media, listed in
// these lines. HELLO in them is the ID of a blob.
func listed(t *testing.T, files int64, lines ...string) (folder string) {
	t.Helper()
	folder = filepath.Join(t.TempDir(), "store")
	s, err := dir.Create(folder)
	ok(t, err)
	a := plainArchive(t, s)
	w, err := a.Writer(t.Context(), archive.WriterOptions{})
	ok(t, err)
	hello, _, err := w.Add(t.Context(), []byte("hello"))
	ok(t, err)
	text := strings.ReplaceAll(strings.Join(lines, "\n")+"\n", "HELLO", hello.String())
	page, _, err := w.AddMeta(t.Context(), []byte(text))
	ok(t, err)
	contents := fmt.Appendf(nil, `{"first":"a","page":"%s","size":%d,"entries":%d}`+"\n", page, len(text), len(lines))
	id, _, err := w.AddMeta(t.Context(), contents)
	ok(t, err)
	_, err = w.Close(t.Context())
	ok(t, err)
	_, err = a.Commit(t.Context(), &archive.Manifest{
		Homeserver: server, Taken: night, Media: &archive.Media{Files: files, Listing: []archive.Blob{{ID: id, Size: int64(len(contents))}}},
	})
	ok(t, err)
	return folder
}

// entry is a line of a listing; more are further members.
func entry(path, more string) string {
	return fmt.Sprintf(`{"path":%q,"mode":"0644","modified":"1764036123.123456789"%s}`, path, more)
}

const hello = `,"size":5,"blobs":["HELLO"]`

// Whoever may write to the store can add points: what they list is made below the
// folder or not at all.
func TestRescueStaysInItsFolder(t *testing.T) {
	t.Parallel()
	for name, forge := range map[string]func(victim string) []string{
		"file below a link": func(v string) []string {
			return []string{entry("a", `,"kind":"link","target":"`+v+`"`), entry("a/x", hello)}
		},
		"deep below a link": func(v string) []string {
			return []string{entry("a/b", `,"kind":"link","target":"`+v+`"`), entry("a/b/c/x", hello)}
		},
		"folder over a link": func(v string) []string {
			return []string{entry("a", `,"kind":"link","target":"`+v+`"`), entry("a", `,"kind":"folder"`)}
		},
		"file over a link": func(v string) []string {
			return []string{entry("a", `,"kind":"link","target":"`+v+`/kept"`), entry("a", "")}
		},
		"link over a folder": func(v string) []string {
			return []string{entry("a/x", hello), entry("a", `,"kind":"link","target":"`+v+`"`), entry("a/y", hello)}
		},
		"name in a blob": func(v string) []string {
			return []string{entry("a", `,"size":5,"blobs":["HELLO - ../../victim/x 0 0\nHELLO"]`)}
		},
		"name in a checksum": func(v string) []string {
			return []string{entry("a", hello+`,"sha256":"00  ../../victim/kept\nHELLO"`)}
		},
		"command in a number": func(v string) []string {
			return []string{strings.Replace(entry("a", hello), "0644", "0644|0|0|1.5|0|x[$(touch "+v+"/x)]|", 1)}
		},
		"command in a size": func(v string) []string {
			return []string{entry("a", `,"blobs":["HELLO"],"size":"5|x[$(touch `+v+`/x)]"`)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scratch := t.TempDir()
			victim := filepath.Join(scratch, "victim")
			ok(t, os.Mkdir(victim, 0o700))
			ok(t, os.WriteFile(filepath.Join(victim, "kept"), []byte("mine"), 0o600))
			folder := listed(t, 1, forge(victim)...)
			out, err := rescue(t, folder, "", "media", "latest", filepath.Join(scratch, "out"))
			if err == nil || !strings.Contains(out, "forged") && (!strings.Contains(out, "two files that are called a") || !strings.Contains(name, " over ")) {
				t.Errorf("%s (%v)", out, err)
			}
			left, err := os.ReadDir(victim)
			ok(t, err)
			info, err := os.Stat(victim)
			ok(t, err)
			if len(left) != 1 || string(mustRead(t, filepath.Join(victim, "kept"))) != "mine" || info.Mode().Perm() != 0o700 {
				t.Errorf("it has written elsewhere: %v, %v", left, info.Mode())
			}
		})
	}
}

// A table's number is the name of a file.
func TestRescueRefusesATableWithAPath(t *testing.T) {
	t.Parallel()
	folder, point, _, s := rescueArchive(t, false, newFixture(10))
	dec, err := zstd.NewReader(nil)
	ok(t, err)
	plain, err := dec.DecodeAll(mustRead(t, filepath.Join(folder, "points", point)), nil)
	ok(t, err)
	for _, number := range []string{"201", "203"} { // with blobs, and without
		forged := strings.Replace(string(plain), `"dump_id":`+number, `"dump_id":"../`+number+`"`, 1)
		if !json.Valid([]byte(forged)) || forged == string(plain) {
			t.Fatal("nothing was forged")
		}
		enc, err := zstd.NewWriter(nil)
		ok(t, err)
		body := enc.EncodeAll([]byte(forged), nil)
		id := fmt.Sprintf("20261126T020000Z-%x", sha256.Sum256(body))[:33]
		_, err = s.Put(t.Context(), "points/"+id, body, storage.PutOptions{})
		ok(t, err)
		scratch := t.TempDir()
		out, err := rescue(t, folder, "", "restore", id, filepath.Join(scratch, "out"))
		if err == nil || !strings.Contains(out, "forged") {
			t.Errorf("%s (%v)", out, err)
		}
		if _, err := os.Stat(filepath.Join(scratch, number+".dat")); err == nil {
			t.Error("it has written beside the folder")
		}
	}
}

// A file's time may be before 1970, and between two seconds.
func TestRescueKeepsTimes(t *testing.T) {
	t.Parallel()
	times := map[string]time.Time{
		"a": time.Unix(-157766400, 500_000_000), "b": time.Unix(-1, 1), "c": time.Unix(-7, 0), "d": time.Unix(0, 0), "e": time.Unix(1764036123, 9),
	}
	var lines []string
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		at := times[name]
		lines = append(lines, fmt.Sprintf(`{"path":%q,"mode":"0644","modified":"%d.%09d"}`, name, at.Unix(), at.Nanosecond()))
	}
	to := filepath.Join(t.TempDir(), "out")
	if out, err := rescue(t, listed(t, 5, lines...), "", "media", "latest", to); err != nil {
		t.Fatalf("%s (%v)", out, err)
	}
	for name, want := range times {
		info, err := os.Stat(filepath.Join(to, name))
		ok(t, err)
		if !info.ModTime().Equal(want) {
			t.Errorf("%s is of %s, not of %s", name, info.ModTime(), want)
		}
	}
}
