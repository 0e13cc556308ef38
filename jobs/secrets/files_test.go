package secrets_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/secrets"
)

const homeserverYAML = `
server_name: matrix.example.org
pid_file: DIR/homeserver.pid
media_store_path: DIR/media
signing_key_path: "DIR/matrix.example.org.signing.key"
log_config: DIR/log.yaml
registration_shared_secret_path: DIR/run/registration
macaroon_secret_key: an inline secret
tls_certificate_path: tls.crt
listeners:
  - port: 8008
    path: /run/synapse.sock
database:
  name: psycopg2
  args: {host: db, sslrootcert: DIR/ca.pem, passfile: DIR/pgpass}
redis: &redis
  password_path: DIR/run/redis
worker_redis: *redis
app_service_config_files: [DIR/bridge.yaml, DIR/irc.yaml]
oidc_providers:
  - idp_id: one
    client_secret_path: DIR/run/oidc
    discovery_url_path: https://example.org/path
email:
  template_dir: DIR/templates
media_storage_providers:
  - module: s3_storage_provider.S3StorageProviderBackend
    config: {bucket: b, key_file: DIR/not-this}
`

// Every file that homeserver.yaml names is found, and nothing that it names
// besides.
func TestFilesThatHomeserverYAMLNames(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{
		"homeserver.yaml": homeserverYAML, "matrix.example.org.signing.key": "ed25519 a_1 key", "log.yaml": "version: 1",
		"run/registration": "r", "run/redis": "r", "run/oidc": "o", "tls.crt": "c", "ca.pem": "c", "pgpass": "p", "bridge.yaml": "as_token: x",
		"irc.yaml": "as_token: y", "templates/mail.html": "<p>", "templates/sub/x.txt": "x", "homeserver.pid": "1", "media/local_content/x": "x", "not-this": "x",
		"conf.d/server.yaml": "form_secret_path: DIR/run/form", "conf.d/readme.txt": "", "run/form": "f",
	})
	s := newSafe(t)
	m, warnings := s.take(t, secrets.Files{Configs: []string{filepath.Join(dir, "homeserver.yaml")}})
	if len(warnings) > 0 || len(m.Degraded) > 0 {
		t.Errorf("warnings %q, degraded %q", warnings, m.Degraded)
	}
	in := "named in homeserver.yaml as "
	want := map[string]string{
		"homeserver.yaml": "configuration", "matrix.example.org.signing.key": "signing key", "log.yaml": in + "log_config",
		"run/registration": in + "registration_shared_secret_path", "run/redis": in + "redis.password_path", "tls.crt": in + "tls_certificate_path",
		"ca.pem": in + "database.args.sslrootcert", "pgpass": in + "database.args.passfile", "bridge.yaml": in + "app_service_config_files",
		"irc.yaml": in + "app_service_config_files", "run/oidc": in + "oidc_providers.0.client_secret_path",
		"templates/mail.html": in + "email.template_dir", "templates/sub/x.txt": in + "email.template_dir",
		"conf.d/server.yaml": "configuration", "run/form": "named in server.yaml as form_secret_path",
	}
	if got := whats(dir, m.Secrets.Files); !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if f := m.Secrets.Files[0]; f.Name != strings.TrimPrefix(dir, "/")+"/homeserver.yaml" || f.Size == 0 {
		t.Errorf("%+v", f)
	}
}

// Synapse makes its signing key beside the configuration, whatever that says.
func TestSigningKeyThatNothingNames(t *testing.T) {
	t.Parallel()
	files := map[string]string{"homeserver.yaml": "server_name: matrix.example.org"}
	without := folder(t, files)
	_, warnings, why := newSafe(t).takeSome(t, secrets.Files{Configs: []string{without + "/homeserver.yaml"}})
	if len(warnings) != 1 || !strings.Contains(why, "signing.key (signing key): no such file") || !strings.Contains(warnings[0], "matrix.example.org.signing.key (signing key): no such file") {
		t.Errorf("without a key: %q", warnings)
	}
	files["matrix.example.org.signing.key"] = "ed25519 a_1 key"
	dir := folder(t, files)
	m, warnings := newSafe(t).take(t, secrets.Files{Configs: []string{dir + "/homeserver.yaml"}})
	if len(warnings) > 0 || whats(dir, m.Secrets.Files)["matrix.example.org.signing.key"] != "signing key" {
		t.Errorf("%v, %q", m.Secrets.Files, warnings)
	}
}

func TestRelativePathsAndFurtherFiles(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{
		"conf/main.yaml": "server_name: x\nsigning_key: ed25519 a_1 k\nlog_config: log.yaml\nform_secret_path: form", "conf/form": "f",
		"run/log.yaml": "version: 1", "extra/a.conf": "a", "extra/b.conf": "b", "tree/x/y": "y", "tree/..data/hidden": "no",
	})
	m, warnings := newSafe(t).take(t, secrets.Files{
		Configs: []string{dir + "/conf"}, Folder: dir + "/run",
		Extra: []string{dir + "/extra/*.conf", dir + "/tree", dir + "/extra/a.conf", dir + "/none/*", dir + "/gone"},
	})
	want := map[string]string{
		"conf/main.yaml": "configuration", "conf/form": "named in main.yaml as form_secret_path", "run/log.yaml": "named in main.yaml as log_config",
		"extra/a.conf": "configured", "extra/b.conf": "configured", "tree/x/y": "configured",
	}
	if got := whats(dir, m.Secrets.Files); !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	if len(warnings) != 2 || !strings.HasSuffix(warnings[0], "no file is like that") || !strings.HasSuffix(warnings[1], "no such file or directory") {
		t.Errorf("%q", warnings)
	}
}

// A Secret mounted by Kubernetes is links to links.
func TestMountedSecret(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"m/..2026/form": "f", "homeserver.yaml": "form_secret_path: DIR/m/form"})
	ok(t, os.Symlink("..2026", dir+"/m/..data"))
	ok(t, os.Symlink("..data/form", dir+"/m/form"))
	m, warnings := newSafe(t).take(t, secrets.Files{Configs: []string{dir + "/homeserver.yaml"}, Extra: []string{dir + "/m"}})
	if got := whats(dir, m.Secrets.Files); len(got) != 2 || got["m/form"] == "" || len(warnings) > 0 {
		t.Errorf("%v, %q", got, warnings)
	}
}

// What can't be read costs itself alone, and is said in one line each.
func TestSecretsThatCantBeRead(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{
		"homeserver.yaml": "tls_private_key_path: DIR/gone.pem\nlog_config: DIR/pipe\nredis: {ca_path: DIR/many}\nkey_file: DIR/huge\nform_secret_path: DIR/form",
		"huge":            "", "form": "f",
	})
	ok(t, os.Truncate(dir+"/huge", 17<<20))
	ok(t, syscall.Mkfifo(dir+"/pipe", 0o600))
	ok(t, os.Mkdir(dir+"/many", 0o700))
	for n := range 201 {
		ok(t, os.WriteFile(fmt.Sprintf("%s/many/%d", dir, n), nil, 0o600))
	}
	m, warnings := newSafe(t).take(t, secrets.Files{Configs: []string{dir + "/homeserver.yaml"}})
	for _, want := range []string{
		"/gone.pem (named in homeserver.yaml as tls_private_key_path): no such file or directory", "/pipe (named in homeserver.yaml as log_config): it is no file",
		"/many (named in homeserver.yaml as redis.ca_path): left out: it has more than 200 files", "/huge (named in homeserver.yaml as key_file): left out: larger than 16 MiB",
	} {
		if !strings.Contains(strings.Join(warnings, "\n"), "secrets: "+dir+want) {
			t.Errorf("no warning %q in %q", want, warnings)
		}
	}
	if len(m.Secrets.Files) != 2 || len(warnings) != 4 || len(m.Degraded) != 4 {
		t.Errorf("%d files, %d warnings, degraded %q", len(m.Secrets.Files), len(warnings), m.Degraded)
	}
}

// A configuration that is no YAML is stored; what was wrong is not quoted.
func TestConfigurationThatIsNoYAML(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"homeserver.yaml": "form_secret: *hunter2secret\n"})
	m, warnings, why := newSafe(t).takeSome(t, secrets.Files{Configs: []string{dir + "/homeserver.yaml"}})
	if len(m.Secrets.Files) != 1 || len(warnings) != 1 || strings.Contains(why, "hunter2") || !strings.Contains(warnings[0], "it is no YAML") || strings.Contains(warnings[0], "hunter2") {
		t.Errorf("%v, %q", m.Secrets.Files, warnings)
	}
}

// What is there and is not taken is no success, or retention would drop the last
// point that has it; nor is a point without signing key.
func TestSecretsThatShouldHaveBeenTaken(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{
		"homeserver.yaml": "server_name: x\nsigning_key_path: DIR/loop\ntls_private_key_path: DIR/loop2\nform_secret_path: DIR/gone", "huge": "", "form": "f",
		"inline.yaml": "server_name: x\nsigning_key: ed25519 a_1 k\ntls_private_key_path: DIR/loop2",
	})
	ok(t, os.Symlink("loop", dir+"/loop"))
	ok(t, os.Symlink("loop2", dir+"/loop2"))
	ok(t, os.Truncate(dir+"/huge", 17<<20))
	for _, c := range []struct {
		name string
		from secrets.Source
		want string // of the error; empty for none
	}{
		{"a signing key and another", secrets.Files{Configs: []string{dir + "/homeserver.yaml"}}, "done in part: " + dir + "/loop (signing key): too many levels of symbolic links; and 1 more"},
		{"a certificate's key", secrets.Files{Configs: []string{dir + "/inline.yaml"}}, "/loop2 (named in inline.yaml as tls_private_key_path): too many levels"},
		{"configured and too large", secrets.Files{Extra: []string{dir + "/form", dir + "/huge"}}, "/huge (configured): left out: larger than 16 MiB"},
		{"configured and gone", secrets.Files{Extra: []string{dir + "/form", dir + "/gone", dir + "/no*"}}, ""},
		{"no right", listed{{Name: "a", From: "/a", What: "configured"}, {Name: "b", From: "/b", What: "named in x as y", Err: fs.ErrPermission}}, "/b (named in x as y): permission denied: run this as Synapse's user or as root"},
		{"no key", listed{{Name: "a", From: "/a", What: "configured"}, {Name: "b", From: "/b", What: "signing key", Err: fs.ErrNotExist}}, "/b (signing key): file does not exist"},
	} {
		m, warnings, err := take(t, newSafe(t).job, c.from)
		if c.want == "" {
			ok(t, err)
		} else if !errors.Is(err, jobs.ErrIncomplete) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if m.Secrets == nil || len(m.Secrets.Files) == 0 || len(warnings) == 0 || len(m.Degraded) != len(warnings) {
			t.Errorf("%s: %+v, warnings %q, degraded %q", c.name, m.Secrets, warnings, m.Degraded)
		}
	}
}

// listed are secrets that a source has, as they are.
type listed []secrets.Item

func (l listed) Secrets(context.Context) ([]secrets.Item, error) { return l, nil }

// The signing key is worth having without homeserver.yaml; that it is all is no
// success.
func TestWithoutItsConfigurationTheRestIsTaken(t *testing.T) {
	t.Parallel()
	dir := folder(t, map[string]string{"empty/readme": "", "signing.key": "ed25519"})
	for config, why := range map[string]string{dir + "/homeserver.yaml": "no such file or directory", dir + "/empty": "no *.yaml is in it"} {
		want := config + " (configuration): " + why
		_, _, err := take(t, newSafe(t).job, secrets.Files{Configs: []string{config}})
		if err == nil || errors.Is(err, jobs.ErrIncomplete) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("alone: %v", err)
		}
		m, _, err := take(t, newSafe(t).job, secrets.Files{Configs: []string{config}, Extra: []string{dir + "/signing.key"}})
		if !errors.Is(err, jobs.ErrIncomplete) || !strings.Contains(err.Error(), want) || m.Secrets == nil || len(m.Secrets.Files) != 1 {
			t.Errorf("with the key: %v, %+v", err, m.Secrets)
		}
	}
}
