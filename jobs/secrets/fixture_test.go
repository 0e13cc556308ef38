package secrets_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/secrets"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

const server = "matrix.example.org"

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// safe is an encrypted archive, as the job opens it and as its owner does.
type safe struct {
	store      storage.Store
	job, owner *archive.Archive
}

func newSafe(t testing.TB) safe {
	t.Helper()
	owner, err := age.GenerateX25519Identity()
	ok(t, err)
	recipients := []string{owner.Recipient().String()}
	text, err := archive.NewJobIdentity(recipients)
	ok(t, err)
	s := mem.New()
	job, err := archive.Init(t.Context(), s, archive.InitOptions{Homeserver: server, Recipients: recipients, JobIdentity: text})
	ok(t, err)
	a, err := archive.Open(t.Context(), s, owner)
	ok(t, err)
	return safe{s, job, a}
}

// take takes a point of what the sources have, with the job's identity alone.
func (s safe) take(t testing.TB, sources ...secrets.Source) (*archive.Manifest, []string) {
	t.Helper()
	m, warnings, err := take(t, s.job, sources...)
	ok(t, err)
	return m, warnings
}

// takeSome takes a point that does not have all that it should have.
func (s safe) takeSome(t testing.TB, sources ...secrets.Source) (m *archive.Manifest, warnings []string, why string) {
	t.Helper()
	m, warnings, err := take(t, s.job, sources...)
	if !errors.Is(err, jobs.ErrIncomplete) {
		t.Fatalf("%v, not incomplete", err)
	}
	return m, warnings, err.Error()
}

func take(t testing.TB, a *archive.Archive, sources ...secrets.Source) (*archive.Manifest, []string, error) {
	t.Helper()
	w, err := a.Writer(t.Context(), archive.WriterOptions{})
	ok(t, err)
	defer w.Abort()
	m := &archive.Manifest{Homeserver: server, Taken: time.Date(2026, 11, 25, 2, 0, 0, 0, time.UTC)}
	part := secrets.NewPart(secrets.Options{Sources: sources})
	warnings, err := part.Take(t.Context(), w, nil, m, func(jobs.Progress) {})
	if err != nil && !errors.Is(err, jobs.ErrIncomplete) {
		return m, warnings, err
	}
	_, cerr := w.Close(t.Context())
	ok(t, cerr)
	_, cerr = a.Commit(t.Context(), m)
	return m, warnings, errors.Join(err, cerr)
}

// reader reads blobs as the owner of the archive.
func (s safe) reader(t testing.TB) *archive.Reader {
	t.Helper()
	r, err := s.owner.Reader(t.Context(), archive.ReaderOptions{})
	ok(t, err)
	return r
}

// everything is all bytes of the store.
func (s safe) everything(t testing.TB) string {
	t.Helper()
	var all strings.Builder
	for o, err := range s.store.List(t.Context(), "") {
		ok(t, err)
		body, err := storage.ReadAll(t.Context(), s.store, o.Key)
		ok(t, err)
		all.WriteString(o.Key + "\n")
		all.Write(body)
	}
	return all.String()
}

// folder writes files, by their paths below a new folder.
func folder(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		ok(t, os.MkdirAll(filepath.Dir(path), 0o755))
		ok(t, os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", dir)), 0o640))
	}
	return dir
}

// whats are the files of a part, below dir, each with what it is.
func whats(dir string, files []archive.SecretFile) map[string]string {
	all := map[string]string{}
	for _, f := range files {
		all[strings.TrimPrefix(f.From, dir+"/")] = f.What
	}
	return all
}
