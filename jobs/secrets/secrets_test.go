package secrets_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/secrets"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

const confidential = "hunter2 is the password of everything"

func keyFolder(t testing.TB) string {
	t.Helper()
	return folder(t, map[string]string{
		"homeserver.yaml": "server_name: matrix.example.org\nform_secret: " + confidential + "\n", "matrix.example.org.signing.key": confidential,
		"empty": "", "big": strings.Repeat(confidential+"\n", 300_000),
	})
}

func source(dir string) secrets.Files {
	return secrets.Files{Configs: []string{dir + "/homeserver.yaml"}, Extra: []string{dir + "/empty", dir + "/big"}}
}

// What comes back is what was there, for its owner only; a second time nothing
// is written.
func TestSecretsComeBack(t *testing.T) {
	t.Parallel()
	from := keyFolder(t)
	s := newSafe(t)
	m, _ := s.take(t, source(from))
	if len(m.Secrets.Blobs) != 2 {
		t.Errorf("11 MB are in %d blobs", len(m.Secrets.Blobs))
	}
	to := filepath.Join(t.TempDir(), "a", "secrets")
	for round := range 2 {
		files, err := secrets.Write(t.Context(), s.reader(t), m.Secrets, to)
		ok(t, err)
		if len(files) != 4 {
			t.Fatalf("%d files", len(files))
		}
		for _, f := range files {
			want, err := os.ReadFile(f.From)
			ok(t, err)
			got, err := os.ReadFile(f.Path)
			ok(t, err)
			st, err := os.Stat(f.Path)
			ok(t, err)
			if string(got) != string(want) || st.Mode() != 0o600 || f.Mode != "0640" || f.UID != os.Getuid() || f.Kept != (round == 1) {
				t.Errorf("%+v, mode %v, same bytes: %v", f, st.Mode(), string(got) == string(want))
			}
		}
	}
	for _, dir := range []string{to, filepath.Join(to, filepath.Dir(from))} {
		if st, err := os.Stat(dir); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", dir, st.Mode(), err)
		}
	}
}

// The job, which takes backups every night, opens none of them.
func TestJobCantReadSecrets(t *testing.T) {
	t.Parallel()
	s := newSafe(t)
	m, _ := s.take(t, source(keyFolder(t)))
	if _, err := s.job.Reader(t.Context(), archive.ReaderOptions{}); !errors.Is(err, archive.ErrNoKey) {
		t.Errorf("the job's reader: %v", err)
	}
	w, err := s.job.Writer(t.Context(), archive.WriterOptions{})
	ok(t, err)
	defer w.Abort()
	to := filepath.Join(t.TempDir(), "out")
	if _, err := secrets.Write(t.Context(), w, m.Secrets, to); !errors.Is(err, archive.ErrNoKey) {
		t.Error(err)
	}
	if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder was made: %v", err)
	}
}

// No byte of a secret is in the store, in a manifest, or in what is printed; nor
// can it be guessed: the same secrets have other IDs the next night.
func TestSecretsAreNowhere(t *testing.T) {
	t.Parallel()
	s := newSafe(t)
	from := keyFolder(t)
	first, _ := s.take(t, source(from))
	second, _ := s.take(t, source(from))
	if first.Secrets.Blobs[0].ID == second.Secrets.Blobs[0].ID || first.Secrets.Blobs[1].ID == second.Secrets.Blobs[1].ID {
		t.Error("the same secrets have the same ID")
	}
	items, err := source(from).Secrets(t.Context())
	ok(t, err)
	manifest, err := json.Marshal(first)
	ok(t, err)
	asJSON, err := json.Marshal(items)
	ok(t, err)
	for where, text := range map[string]string{
		"the store": s.everything(t), "the manifest": string(manifest), "a printed item": fmt.Sprintf("%v %+v %#v %s %x", items, items, items, items[0], items[0]),
		"an item's JSON": string(asJSON),
	} {
		for _, secret := range []string{confidential, base64.StdEncoding.EncodeToString([]byte(confidential))[:40]} {
			if strings.Contains(text, secret) {
				t.Errorf("a secret is in %s", where)
			}
		}
	}
}

func TestNeverStoredUnencrypted(t *testing.T) {
	t.Parallel()
	s := mem.New()
	a, err := archive.Init(t.Context(), s, archive.InitOptions{Homeserver: server})
	ok(t, err)
	_, _, err = take(t, a, source(keyFolder(t)))
	if err == nil || err.Error() != secrets.Unencrypted {
		t.Error(err)
	}
	for o, err := range s.List(t.Context(), "packs/") {
		ok(t, err)
		t.Errorf("%s was stored", o.Key)
	}
	// Nor is a point that somebody else has put together listed.
	m := &archive.Manifest{Homeserver: server, Taken: time.Now(), Secrets: &archive.Secrets{}}
	if _, err := a.Commit(t.Context(), m); err == nil {
		t.Error("a point with secrets was listed in an archive that is not encrypted")
	}
}

func TestFolderWithOtherFilesIsRefused(t *testing.T) {
	t.Parallel()
	s := newSafe(t)
	m, _ := s.take(t, source(keyFolder(t)))
	name := m.Secrets.Files[0].Name
	for what, file := range map[string]string{"is another file": name, "has other files": "unrelated"} {
		to := folder(t, map[string]string{file: "mine"})
		_, err := secrets.Write(t.Context(), s.reader(t), m.Secrets, to)
		if err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "nothing was written") {
			t.Errorf("%s: %v", what, err)
		}
		entries, _ := os.ReadDir(to)
		if got, _ := os.ReadFile(filepath.Join(to, file)); string(got) != "mine" || len(entries) != 1 {
			t.Errorf("%s: the folder was touched", what)
		}
	}
}

// A killed restore leaves a partial file and some whole ones; the next goes on.
// A folder may be named by a link to it; nothing else may.
func TestFolderBehindALink(t *testing.T) {
	t.Parallel()
	s := newSafe(t)
	m, _ := s.take(t, source(keyFolder(t)))
	dir := t.TempDir()
	link, dangling := filepath.Join(dir, "link"), filepath.Join(dir, "dangling")
	to := filepath.Join(dir, "to")
	ok(t, os.Mkdir(to, 0o700))
	ok(t, os.Symlink("to", link))
	ok(t, os.Symlink("nowhere", dangling))
	for range 2 { // the second finds what the first has written
		_, err := secrets.Write(t.Context(), s.reader(t), m.Secrets, link)
		ok(t, err)
	}
	if _, err := os.Stat(filepath.Join(to, m.Secrets.Files[0].Name)); err != nil {
		t.Error(err)
	}
	for _, place := range []string{dangling, filepath.Join(to, m.Secrets.Files[0].Name)} {
		if _, err := secrets.Write(t.Context(), s.reader(t), m.Secrets, place); err == nil || !strings.Contains(err.Error(), place+" is no folder: nothing was written") {
			t.Errorf("%s: %v", place, err)
		}
	}
}

func TestWriteGoesOnAfterAKill(t *testing.T) {
	t.Parallel()
	s := newSafe(t)
	m, _ := s.take(t, source(keyFolder(t)))
	to := filepath.Join(t.TempDir(), "secrets")
	ctx, cancel := context.WithCancel(t.Context())
	f := secrets.NewFiller(s.reader(t), m.Secrets, to)
	plan, err := f.Plan(ctx)
	ok(t, err)
	if plan.Files != 4 || plan.Same != 0 || !strings.Contains(plan.Lines[0], "matrix.example.org.signing.key: signing key, was /") {
		t.Errorf("%+v", plan)
	}
	_, err = f.Fill(ctx, func(jobs.Progress) {})
	ok(t, err)
	cancel()
	ok(t, os.Rename(filepath.Join(to, m.Secrets.Files[1].Name), filepath.Join(to, m.Secrets.Files[1].Name+".synapse-maint-partial")))
	plan, err = f.Plan(t.Context())
	ok(t, err)
	if plan.Files != 1 || plan.Same != 3 || len(plan.Problems) > 0 {
		t.Errorf("%+v", plan)
	}
	note, err := f.Fill(t.Context(), func(jobs.Progress) {})
	ok(t, err)
	if text := fmt.Sprint(note); text != fmt.Sprintf("{%s 4 3}", to) {
		t.Error(text)
	}
	if _, err := os.Stat(filepath.Join(to, m.Secrets.Files[1].Name)); err != nil {
		t.Error(err)
	}
}

// A link in the folder leads nowhere out of it.
func TestWriteFollowsNoLink(t *testing.T) {
	t.Parallel()
	s := newSafe(t)
	m, _ := s.take(t, source(keyFolder(t)))
	to, elsewhere := t.TempDir(), t.TempDir()
	ok(t, os.Symlink(elsewhere, filepath.Join(to, strings.SplitN(m.Secrets.Files[0].Name, "/", 2)[0])))
	if _, err := secrets.Write(t.Context(), s.reader(t), m.Secrets, to); err == nil {
		t.Error("written through a link")
	}
	if entries, _ := os.ReadDir(elsewhere); len(entries) > 0 {
		t.Errorf("%v", entries)
	}
}

// Of damaged secrets nothing is written, and the error quotes none of them.
func TestDamagedSecrets(t *testing.T) {
	t.Parallel()
	for name, line := range map[string]string{
		"no JSON":      "{\"data\":\"" + confidential,
		"upwards":      `{"name":"../../x","mode":"0600","modified":"2026-11-25T02:00:00Z","data":""}`,
		"another file": `{"name":"b","mode":"0600","modified":"2026-11-25T02:00:00Z","data":"YQ=="}`,
		"shorter":      `{"name":"a","mode":"0600","modified":"2026-11-25T02:00:00Z","data":""}`,
	} {
		s := newSafe(t)
		part := storeText(t, s, line+"\n", archive.SecretFile{Name: "a", Size: 1})
		to := filepath.Join(t.TempDir(), "out")
		_, err := secrets.Write(t.Context(), s.reader(t), part, to)
		if !errors.Is(err, archive.ErrCorrupt) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(to); err == nil {
			t.Errorf("%s: a folder was made", name)
		}
	}
}

func storeText(t *testing.T, s safe, text string, files ...archive.SecretFile) *archive.Secrets {
	t.Helper()
	w, err := s.job.Writer(t.Context(), archive.WriterOptions{})
	ok(t, err)
	id, _, err := w.Add(t.Context(), []byte(text))
	ok(t, err)
	_, err = w.Close(t.Context())
	ok(t, err)
	return &archive.Secrets{Files: files, Blobs: []archive.Blob{{ID: id, Size: int64(len(text))}}}
}

// A name with a line break, or with what a terminal obeys, is quoted.
func TestOddNamesAreQuoted(t *testing.T) {
	t.Parallel()
	s := newSafe(t)
	m, _ := s.take(t, secrets.Files{Extra: []string{folder(t, map[string]string{"new\nline\x1b[31m": "x"})}})
	p, err := secrets.NewFiller(s.reader(t), m.Secrets, t.TempDir()).Plan(t.Context())
	ok(t, err)
	if text := strings.Join(p.Lines, ""); strings.Count(text, "\n") != 1 || strings.Contains(text, "\x1b") || !strings.Contains(text, `new\nline\x1b[31m`) {
		t.Errorf("%q", text)
	}
}

func TestPreviewStoresNothing(t *testing.T) {
	t.Parallel()
	dir := keyFolder(t)
	v, err := secrets.NewPart(secrets.Options{Sources: []secrets.Source{source(dir), secrets.Files{Extra: []string{dir + "/gone"}}}}).Preview(t.Context())
	ok(t, err)
	if v.Files != 4 || v.Bytes == 0 || len(v.Lines) != 1 {
		t.Errorf("%+v", v)
	}
}
