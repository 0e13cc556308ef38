package media_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/media"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// Whoever takes what a list lacks for extra, and deletes it, must not take the
// end of an interrupted one for its end.
func TestAnInterruptedListEndsWithAnError(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 2000 {
		w.write(fmt.Sprintf("local_content/aa/bb/f%d", i), "x")
	}
	w.must()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n, last := 0, error(nil)
	for _, err := range archive.Entries(ctx, w.reader(), w.last.Media) {
		cancel()
		n, last = n+1, err
	}
	if !errors.Is(last, context.Canceled) || n > 2000 {
		t.Errorf("%d entries, and then %v", n, last)
	}
}

// The list can be read when the restore begins, and no longer when it deletes.
func TestAListThatIsDamagedMeanwhileDeletesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 2000 {
		w.write(fmt.Sprintf("local_content/aa/bb/f%d", i), "x")
	}
	w.must()
	pages, err := archive.ListingPages(t.Context(), w.reader(), w.last.Media)
	ok(t, err)
	w.write("local_content/zz/zz/extra", "y")
	ok(t, os.Remove(filepath.Join(w.dir, "local_content/aa/bb/f7")))
	before := len(tree(t, w.dir))
	f := w.filler(w.dir, func(o *media.FillOptions) { o.DeleteExtra = true })
	_, err = f.Plan(t.Context())
	ok(t, err)
	var once atomic.Bool
	note, err := f.Fill(t.Context(), func(jobs.Progress) {
		if !once.Swap(true) {
			w.damage(pages[len(pages)/2].ID)
		}
	})
	incomplete(t, err, "the list of media is damaged")
	if n, _ := note.(media.Filled); n.Deleted > 0 || len(tree(t, w.dir)) < before {
		t.Errorf("%+v: %d of %d are left", n, len(tree(t, w.dir)), before)
	}
}

// What is deleted is asked about, a link like a file: it may be all that knows
// where something is.
func TestALinkThatIsExtraIsCounted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("local_content/aa/bb/one", "x")
	w.must()
	ok(t, os.Symlink("/elsewhere", filepath.Join(w.dir, "local_content/aa/bb/link")))
	ok(t, os.Mkdir(filepath.Join(w.dir, "local_content/aa/empty"), 0o750))
	f := w.filler(w.dir, func(o *media.FillOptions) { o.DeleteExtra = true })
	p, err := f.Plan(t.Context())
	if ok(t, err); p.Deletes != 1 || p.Lines[len(p.Lines)-1] != "delete 1 file, 0 B, that the point does not have" {
		t.Errorf("%+v", p)
	}
	note, err := w.fill(w.dir, func(o *media.FillOptions) { o.DeleteExtra = true })
	if ok(t, err); note.Deleted != 1 {
		t.Errorf("%+v", note)
	}
	if now := tree(t, w.dir); now["local_content/aa/bb/link"] != "" || now["local_content/aa/empty"] != "" {
		t.Errorf("still there: %v", now)
	}
}
