package secrets_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/synapse-maint/synapse-maint/jobs/secrets"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/dir"
)

// The script in the archive brings the secrets back without this program.
func TestRescueSecrets(t *testing.T) {
	t.Parallel()
	from, scratch := keyFolder(t), t.TempDir()
	ok(t, os.WriteFile(from+"/binary", []byte("\x00\xff\x00 no text\n\n"), 0o600))
	store, identity := filepath.Join(scratch, "store"), filepath.Join(scratch, "key.txt")
	owner, err := age.GenerateX25519Identity()
	ok(t, err)
	ok(t, os.WriteFile(identity, []byte(owner.String()+"\n"), 0o600))
	recipients := []string{owner.Recipient().String()}
	job, err := archive.NewJobIdentity(recipients)
	ok(t, err)
	s, err := dir.Create(store)
	ok(t, err)
	a, err := archive.Init(t.Context(), s, archive.InitOptions{Homeserver: server, Recipients: recipients, JobIdentity: job})
	ok(t, err)
	m, _, err := take(t, a, source(from), secrets.Files{Extra: []string{from + "/binary"}})
	ok(t, err)

	to := filepath.Join(scratch, "out")
	run := func(args ...string) (string, error) {
		out, err := exec.CommandContext(t.Context(), "bash", append([]string{filepath.Join(store, "rescue.sh"), "-i", identity}, args...)...).CombinedOutput()
		return string(out), err
	}
	out, err := run("secrets", "latest", to)
	if err != nil || !strings.Contains(out, "matrix.example.org.signing.key: signing key, was "+from) || strings.Contains(out, "hunter2") {
		t.Fatalf("%v: %s", err, out)
	}
	for _, f := range m.Secrets.Files {
		want, err := os.ReadFile(f.From)
		ok(t, err)
		path := filepath.Join(to, f.Name)
		got, err := os.ReadFile(path)
		ok(t, err)
		if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 || string(got) != string(want) {
			t.Errorf("%s: %v, %d bytes, not %d", f.Name, st.Mode(), len(got), len(want))
		}
	}
	if out, err := run("restore", "latest", filepath.Join(scratch, "db")); err == nil || !strings.Contains(out, "has no database") {
		t.Errorf("%v: %s", err, out)
	}
}
