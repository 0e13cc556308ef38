package media_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/media"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
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

// world is a media store and an archive for it.
type world struct {
	t       testing.TB
	dir     string // the media store
	store   storage.Store
	job     *archive.Archive // as the backup opens it
	owner   *archive.Archive // as a restore does
	options media.Options
	last    *archive.Manifest
	taken   time.Time // of the next point
	stats   archive.Stats
	warned  []string
	spoiled error // what the last attempt did to the writer

	identity string // of the owner

	mu   sync.Mutex
	seen []jobs.Progress // of the last attempt
}

// follow is told of the progress.
func (w *world) follow(p jobs.Progress) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, p)
}

func newWorld(t testing.TB) *world {
	t.Helper()
	return newWorldIn(t, mem.New(), false)
}

func newWorldIn(t testing.TB, s storage.Store, encrypted bool) *world {
	t.Helper()
	w := &world{t: t, dir: filepath.Join(t.TempDir(), "media_store"), store: s, taken: time.Now()}
	ok(t, os.Mkdir(w.dir, 0o750))
	w.options.Dir = w.dir
	o := archive.InitOptions{Homeserver: server}
	var keys []age.Identity
	if encrypted {
		owner, err := age.GenerateX25519Identity()
		ok(t, err)
		w.identity = owner.String()
		keys, o.Recipients = []age.Identity{owner}, []string{owner.Recipient().String()}
		o.JobIdentity, err = archive.NewJobIdentity(o.Recipients)
		ok(t, err)
	}
	var err error
	w.job, err = archive.Init(t.Context(), s, o)
	ok(t, err)
	w.owner, err = archive.Open(t.Context(), s, keys...)
	ok(t, err)
	return w
}

// old is a time that files have which nobody touched lately.
func old() time.Time { return time.Now().Add(-time.Hour).Truncate(time.Second).Add(123456789) }

// write makes a file of the media store.
func (w *world) write(path, text string) {
	w.t.Helper()
	full := filepath.Join(w.dir, path)
	ok(w.t, os.MkdirAll(filepath.Dir(full), 0o750))
	ok(w.t, os.WriteFile(full, []byte(text), 0o640))
	ok(w.t, os.Chtimes(full, old(), old()))
}

// take takes a point; rows are what the database has.
func (w *world) take(rows ...synapse.MediaRow) (*archive.Manifest, error) {
	w.t.Helper()
	return w.takeContext(w.t.Context(), rows...)
}

func (w *world) takeContext(ctx context.Context, rows ...synapse.MediaRow) (*archive.Manifest, error) {
	w.t.Helper()
	p := media.NewPart(w.options)
	ok(w.t, p.Consult(ctx, func(_ context.Context, yield func(synapse.MediaRow) error) error {
		for _, r := range rows {
			if err := yield(r); err != nil {
				return err
			}
		}
		return nil
	}))
	aw, err := w.job.Writer(ctx, archive.WriterOptions{PackSize: 1 << 20}) // so that puts come early
	ok(w.t, err)
	defer aw.Abort()
	m := &archive.Manifest{Homeserver: server, Started: w.taken, Taken: w.taken}
	w.warned, err = p.Take(ctx, aw, w.last, m, w.follow)
	if w.spoiled = aw.Err(); err != nil {
		return m, err
	}
	if w.stats, err = aw.Close(ctx); err != nil {
		return m, err
	}
	m.Finished = m.Taken
	_, err = w.job.Commit(ctx, m)
	ok(w.t, err)
	w.last = m
	w.taken = w.taken.Add(time.Minute)
	return m, nil
}

func (w *world) must(rows ...synapse.MediaRow) *archive.Manifest {
	w.t.Helper()
	m, err := w.take(rows...)
	ok(w.t, err)
	return m
}

func (w *world) reader() *archive.Reader {
	w.t.Helper()
	r, err := w.owner.Reader(w.t.Context(), archive.ReaderOptions{})
	ok(w.t, err)
	return r
}

// filler restores the last point to a folder.
func (w *world) filler(dir string, change ...func(*media.FillOptions)) *media.Filler {
	w.t.Helper()
	o := media.FillOptions{Reader: w.reader(), Media: w.last.Media, Dir: dir}
	for _, c := range change {
		c(&o)
	}
	return media.NewFiller(o)
}

// fill restores the last point and returns the note.
func (w *world) fill(dir string, change ...func(*media.FillOptions)) (media.Filled, error) {
	w.t.Helper()
	note, err := w.filler(dir, change...).Fill(w.t.Context(), w.follow)
	filled, _ := note.(media.Filled)
	return filled, err
}

// entries are the paths of a point.
func (w *world) entries() map[string]archive.Entry {
	w.t.Helper()
	all := map[string]archive.Entry{}
	for e, err := range archive.Entries(w.t.Context(), w.reader(), w.last.Media) {
		ok(w.t, err)
		all[e.Path] = e
	}
	return all
}

// tree describes all there is below a folder: kinds, modes, owners, times and
// bytes.
func tree(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	ok(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		text := fmt.Sprintf("%o %d:%d %d.%09d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		switch d.Type() {
		case 0:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += " " + string(b)
		case fs.ModeSymlink:
			to, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " -> " + to
		}
		all[rel] = text
		return nil
	}))
	return all
}

// same compares two trees.
func same(t testing.TB, got, want map[string]string) {
	t.Helper()
	for path, text := range want {
		if got[path] != text {
			t.Errorf("%q is %.150q, not %.150q", path, got[path], text)
		}
	}
	for path := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%q is there and should not be", path)
		}
	}
}

// names are the paths of a tree, sorted.
func names(tree map[string]string) string {
	var all []string
	for p := range tree {
		all = append(all, p)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// row is what Synapse's database says of a file of local content.
func row(path, text string) synapse.MediaRow {
	return synapse.MediaRow{Class: media.ClassOf(path), Path: path, Length: int64(len(text)), SHA256: hexSum(text)}
}

func hexSum(text string) string {
	sum := sumOf(text)
	return hex.EncodeToString(sum[:])
}

// refused fails unless err says all of the texts.
func refused(t testing.TB, err error, texts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error that says %q", texts)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%v does not say %q", err, text)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than a line: %v", err)
	}
}

func incomplete(t testing.TB, err error, texts ...string) {
	t.Helper()
	refused(t, err, texts...)
	if !errors.Is(err, jobs.ErrIncomplete) {
		t.Errorf("not done in part: %v", err)
	}
}

// placeOf finds a blob, as FORMAT.md says: the key of its pack, and where in it.
func (w *world) placeOf(id archive.ID) (key string, at int) {
	t := w.t
	t.Helper()
	dec, err := zstd.NewReader(nil)
	ok(t, err)
	defer dec.Close()
	for o, err := range w.store.List(t.Context(), "index/") {
		ok(t, err)
		body := read(t, w.store, o.Key)
		if w.identity != "" {
			id, err := age.ParseX25519Identity(w.identity)
			ok(t, err)
			r, err := age.Decrypt(bytes.NewReader(body), id)
			ok(t, err)
			body, err = io.ReadAll(r)
			ok(t, err)
		}
		plain, err := dec.DecodeAll(body, nil)
		ok(t, err)
		for line := range strings.Lines(string(plain)) {
			var p struct {
				Pack  string
				Blobs []struct {
					ID     archive.ID
					Offset int
				}
			}
			ok(t, json.Unmarshal([]byte(line), &p))
			for _, b := range p.Blobs {
				if b.ID == id {
					return "packs/" + p.Pack[:2] + "/" + p.Pack, b.Offset
				}
			}
		}
	}
	t.Fatalf("blob %s is nowhere", id)
	return "", 0
}

func read(t testing.TB, s storage.Store, key string) []byte {
	t.Helper()
	b, err := storage.ReadAll(t.Context(), s, key)
	ok(t, err)
	return b
}

// damage changes some bytes of a blob as it is stored.
func (w *world) damage(id archive.ID) {
	w.t.Helper()
	key, at := w.placeOf(id)
	body := read(w.t, w.store, key)
	for i := at + 20; i < at+40; i++ {
		body[i] ^= 0xff
	}
	put(w.t, w.store, key, string(body))
}
