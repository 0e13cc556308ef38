package endtoend

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

// A nightly prune that begins while the backup is still at work waits for it,
// and then goes by the points that there are: nobody has looked at a list.
func TestANightlyPruneThatOverlapsTheBackupPrunes(t *testing.T) {
	t.Parallel()
	w, proxy, _ := bucketWorld(t)
	w.done("backup")
	w.goOn()
	held, goOn := make(chan struct{}), make(chan struct{})
	proxy.Inject(testbed.Fault{Op: "PUT", Path: "/packs/", Times: 1, Answered: func(*http.Request) {
		close(held)
		<-goOn
	}})
	backup := w.start("backup")
	<-held

	out := filepath.Join(w.dir, "prune.out")
	f, err := os.Create(out)
	w.ok(err)
	defer f.Close() //nolint:errcheck // nothing is written by us
	prune := w.command("prune", "--keep-last", "1", "--yes", "--wait", "60s")
	prune.Stdout = f
	w.ok(prune.Start())
	w.waitFor("planned", func() bool {
		text, err := os.ReadFile(out)
		return err == nil && strings.Contains(string(text), "GOES")
	})
	close(goOn)
	if code := w.end(backup); code != exitDone {
		t.Fatalf("backup: exit code %d: %s", code, backup.err.String())
	}
	if code := w.end(prune); code != exitDone {
		t.Fatalf("prune: exit code %d: %s", code, prune.err.String())
	}
	if left := w.points(); len(left) != 1 {
		t.Errorf("points are %v", left)
	}
}
