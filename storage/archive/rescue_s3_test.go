package archive_test

import (
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/s3"
)

// TestRescueFromABucket runs the script against a real S3 server, with the
// programs an operator would have: aws, and rclone.
func TestRescueFromABucket(t *testing.T) {
	server3 := testbed.S3(t)
	bucket := server3.Bucket(t)
	u, err := url.Parse(server3.URL(bucket))
	ok(t, err)
	conf, err := s3.ParseURL(u)
	ok(t, err)
	bare, err := s3.Open(t.Context(), conf)
	ok(t, err)
	s := storage.Sub(bare, "backups/"+server)

	f := newFixture(10)
	k, identity := newKeys(t), filepath.Join(t.TempDir(), "key.txt")
	writeIdentity(t, identity, k)
	a, err := archive.Init(t.Context(), s, k.opt)
	ok(t, err)
	point, err := take(t, a, f, night)
	ok(t, err)

	script := filepath.Join(server3.Dir(bucket), "backups", server, "rescue.sh")
	for name, source := range map[string]string{
		"aws":    "s3://" + bucket + "/backups/" + server,
		"rclone": "rclone::s3,env_auth,provider=Other,endpoint='" + server3.Endpoint() + "':" + bucket + "/backups/" + server,
	} {
		t.Run(name, func(t *testing.T) {
			run := func(args ...string) string {
				t.Helper()
				cmd := exec.CommandContext(t.Context(), "bash", append([]string{script, "-f", source, "-i", identity}, args...)...)
				// What the machine has set for other servers is not for this one.
				cmd.Env = slices.DeleteFunc(cmd.Environ(), func(v string) bool {
					return strings.HasPrefix(v, "AWS_PROFILE=") || strings.HasPrefix(v, "AWS_CA_BUNDLE=")
				})
				// Debian 12's aws asks for more than others: it does not know the variable.
				cmd.Env = append(cmd.Env, "AWS_ENDPOINT_URL="+server3.Endpoint(), "PATH=/usr/bin:"+os.Getenv("PATH"))
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %s (%v)", args[0], out, err)
				}
				return string(out)
			}
			if out := run("list"); !strings.Contains(out, point+"  2026-11-25T02:00:00Z") {
				t.Errorf("list: %s", out)
			}
			if out := run("-e", server3.Endpoint(), "list"); !strings.Contains(out, point) {
				t.Errorf("list at an endpoint that is named: %s", out)
			}
			to := filepath.Join(t.TempDir(), "out")
			run("restore", "latest", to)
			f.checkRescued(t, to)
		})
	}
}
