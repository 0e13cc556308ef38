package media_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/synapse-maint/synapse-maint/storage/dir"
)

// The script in the archive brings the media back without this program.
func TestRescueMedia(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		t.Run(fmt.Sprintf("encrypted=%v", encrypted), func(t *testing.T) {
			t.Parallel()
			scratch := t.TempDir()
			store := filepath.Join(scratch, "store")
			s, err := dir.Create(store)
			ok(t, err)
			w := newWorldIn(t, s, encrypted)
			w.oddTree()
			for i := range 40 {
				w.write(fmt.Sprintf("local_content/x%d/yy/f%d", i%4, i), fmt.Sprint(i))
			}
			w.must()
			run := func(args ...string) (string, error) {
				if encrypted {
					identity := filepath.Join(scratch, "key.txt")
					ok(t, os.WriteFile(identity, []byte(w.identity+"\n"), 0o600))
					args = append([]string{"-i", identity}, args...)
				}
				out, err := exec.CommandContext(t.Context(), "bash", append([]string{filepath.Join(store, "rescue.sh")}, args...)...).CombinedOutput()
				return string(out), err
			}
			to := filepath.Join(scratch, "out")
			out, err := run("media", "latest", to)
			if err != nil || !strings.Contains(out, "all 53 media files of") || !strings.Contains(out, "local_content/socket is a socket") {
				t.Fatalf("%v: %s", err, out)
			}
			want := tree(t, w.dir)
			delete(want, "local_content/socket")
			same(t, tree(t, to), want)
			var class, made unix.Stat_t // Synapse has to make folders in it
			ok(t, errors.Join(unix.Stat(filepath.Join(to, "local_content"), &class), unix.Stat(to, &made)))
			if made.Mode != class.Mode || made.Uid != class.Uid || made.Gid != class.Gid {
				t.Errorf("the folder is %o of %d:%d, the first class %o of %d:%d", made.Mode, made.Uid, made.Gid, class.Mode, class.Uid, class.Gid)
			}

			w.damage(w.entries()["local_content/exact"].Blobs[0])
			if out, err := run("media", "latest", filepath.Join(scratch, "damaged")); err == nil || !strings.Contains(out, "damaged: ") {
				t.Errorf("%v: %s", err, out)
			}
			out, err = run("--skip-damaged", "media", "latest", filepath.Join(scratch, "saved"))
			if err == nil || !strings.Contains(out, "local_content/exact was left out") {
				t.Errorf("%v: %s", err, out)
			}
			delete(want, "local_content/exact")
			same(t, tree(t, filepath.Join(scratch, "saved")), want)
		})
	}
}
