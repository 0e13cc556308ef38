package archive_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/mem"
)

const server = "matrix.example.org"

// keys are those of an encrypted archive.
type keys struct {
	owner age.Identity // a recipient's
	job   age.Identity
	opt   archive.InitOptions
}

func newKeys(t testing.TB) keys {
	t.Helper()
	owner, err := age.GenerateX25519Identity()
	ok(t, err)
	recipients := []string{owner.Recipient().String()}
	text, err := archive.NewJobIdentity(recipients)
	ok(t, err)
	job, err := age.ParseX25519Identity(text)
	ok(t, err)
	return keys{owner, job, archive.InitOptions{Homeserver: server, Recipients: recipients, JobIdentity: text, Program: "test 1"}}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// plainArchive is one that is not encrypted.
func plainArchive(t testing.TB, s storage.Store) *archive.Archive {
	t.Helper()
	a, err := archive.Init(t.Context(), s, archive.InitOptions{Homeserver: server, Program: "test 1"})
	ok(t, err)
	return a
}

// rows are n bytes that compress about as COPY text does.
func rows(seed uint64, n int) []byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "$%x:%s\t!room%d:%s\t%d\tm.room.message\n", rnd.Uint64(), server, rnd.IntN(50), server, rnd.IntN(1e6))
	}
	return b.Bytes()[:n]
}

// fixture is a point's content: two tables that share a blob, and an empty one.
type fixture struct{ toc, a1, a2, b1 []byte }

func newFixture(seed uint64) fixture {
	return fixture{[]byte("PGDMP toc"), rows(1, 300_000), rows(seed, 200_000), rows(seed+1, 100_000)}
}

// take takes a recovery point of f.
func take(t testing.TB, a *archive.Archive, f fixture, taken time.Time) (string, error) {
	t.Helper()
	w, err := a.Writer(t.Context(), archive.WriterOptions{PackSize: 50_000})
	if err != nil {
		return "", err
	}
	defer w.Abort()
	var failed error
	add := func(plain []byte) archive.Blob {
		id, _, err := w.Add(t.Context(), plain)
		failed = errors.Join(failed, err)
		return archive.Blob{ID: id, Size: int64(len(plain)), Rows: int64(bytes.Count(plain, []byte("\n")))}
	}
	m := &archive.Manifest{Homeserver: server, Taken: taken, Program: "test 1", Run: "backup-1", Database: &archive.Database{
		Info: []byte(`{"name":"synapse"}`),
		TOC:  []archive.Blob{add(f.toc)},
		Tables: []archive.Table{
			{DumpID: 201, Schema: "public", Name: "events", Bytes: 500_000, Blobs: []archive.Blob{add(f.a1), add(f.a2)}},
			{DumpID: 202, Schema: "public", Name: "event_json", Bytes: 400_000, Blobs: []archive.Blob{add(f.b1), add(f.a1)}},
			{DumpID: 203, Schema: "public", Name: "empty"},
		},
	}}
	if failed != nil {
		return "", failed
	}
	if _, err := w.Close(t.Context()); err != nil {
		return "", err
	}
	return a.Commit(t.Context(), m)
}

// readPoint reads everything a manifest names and returns it by table.
func readPoint(t testing.TB, a *archive.Archive, m *archive.Manifest) (map[string][]byte, error) {
	t.Helper()
	r, err := a.Reader(t.Context(), archive.ReaderOptions{})
	if err != nil {
		return nil, err
	}
	got := map[string][]byte{}
	read := func(name string, blobs []archive.Blob) error {
		var ids []archive.ID
		for _, b := range blobs {
			ids = append(ids, b.ID)
		}
		for plain, err := range r.Blobs(t.Context(), ids) {
			if err != nil {
				return err
			}
			got[name] = append(got[name], plain...)
		}
		return nil
	}
	err = read("toc", m.Database.TOC)
	for _, tab := range m.Database.Tables {
		err = errors.Join(err, read(tab.Name, tab.Blobs))
	}
	return got, err
}

func (f fixture) check(t testing.TB, got map[string][]byte) {
	t.Helper()
	for name, want := range map[string][]byte{
		"toc": f.toc, "events": bytes.Join([][]byte{f.a1, f.a2}, nil), "event_json": bytes.Join([][]byte{f.b1, f.a1}, nil),
	} {
		if !bytes.Equal(got[name], want) {
			t.Errorf("%s: %d bytes came back, not the %d that were added", name, len(got[name]), len(want))
		}
	}
}

var night = time.Date(2026, 11, 25, 2, 0, 0, 0, time.UTC)

func TestPointComesBack(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		t.Run(fmt.Sprintf("encrypted=%v", encrypted), func(t *testing.T) {
			t.Parallel()
			k := newKeys(t)
			if !encrypted {
				k.opt.Recipients, k.opt.JobIdentity = nil, ""
			}
			s := mem.New()
			_, err := archive.Init(t.Context(), s, k.opt)
			ok(t, err)
			job, err := archive.Open(t.Context(), s, k.job)
			ok(t, err)
			f := newFixture(10)
			id, err := take(t, job, f, night)
			ok(t, err)

			owner, err := archive.Open(t.Context(), s, k.owner)
			ok(t, err)
			p, err := owner.Find(t.Context(), "latest")
			ok(t, err)
			if p.ID != id || !strings.HasPrefix(id, "20261125T020000Z-") {
				t.Errorf("found %s, committed %s", p.ID, id)
			}
			got, err := readPoint(t, owner, p.Manifest)
			ok(t, err)
			f.check(t, got)
			if owner.Encrypted() != encrypted {
				t.Error("Encrypted is", owner.Encrypted())
			}
		})
	}
}

func TestSecondPointStoresOnlyWhatIsNew(t *testing.T) {
	t.Parallel()
	a := plainArchive(t, mem.New())
	_, err := take(t, a, newFixture(10), night)
	ok(t, err)
	w, err := a.Writer(t.Context(), archive.WriterOptions{})
	ok(t, err)
	for _, c := range []struct {
		plain []byte
		isNew bool
	}{{newFixture(10).a1, false}, {rows(99, 1000), true}, {rows(99, 1000), false}, {nil, true}} {
		if _, isNew, err := w.Add(t.Context(), c.plain); err != nil || isNew != c.isNew {
			t.Errorf("adding %d bytes: new is %v, %v", len(c.plain), isNew, err)
		}
	}
	st, err := w.Close(t.Context())
	ok(t, err)
	if st.NewBytes != 1000 || st.KnownBytes != 301_000 || st.Blobs != 2 || st.Packs != 1 {
		t.Errorf("stats: %+v", st)
	}
}

func TestSameBlobAtTheSameTimeIsSentOnce(t *testing.T) {
	t.Parallel()
	a := plainArchive(t, mem.New())
	w, err := a.Writer(t.Context(), archive.WriterOptions{PackSize: 10_000})
	ok(t, err)
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			if _, _, err := w.Add(t.Context(), rows(uint64(i%8), 50_000)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	st, err := w.Close(t.Context())
	ok(t, err)
	if st.Blobs != 8 || st.NewBytes != 8*50_000 {
		t.Errorf("stats: %+v, not 8 blobs", st)
	}
}

func TestInitTwice(t *testing.T) {
	t.Parallel()
	s := mem.New()
	plainArchive(t, s)
	ok(t, s.Delete(t.Context(), "rescue.sh"))
	_, err := archive.Init(t.Context(), s, archive.InitOptions{Homeserver: server})
	if !errors.Is(err, fs.ErrExist) {
		t.Error("second Init:", err)
	}
	if _, err := s.Stat(t.Context(), "rescue.sh"); err != nil {
		t.Error("a killed Init is not completed:", err)
	}
}

func TestNoArchive(t *testing.T) {
	t.Parallel()
	_, err := archive.Open(t.Context(), mem.New())
	if !errors.Is(err, archive.ErrNoArchive) || !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

func TestWrongIdentityIsOneClearLine(t *testing.T) {
	t.Parallel()
	k, other := newKeys(t), newKeys(t)
	s := mem.New()
	a, err := archive.Init(t.Context(), s, k.opt)
	ok(t, err)
	_, err = take(t, a, newFixture(1), night)
	ok(t, err)
	for name, ids := range map[string][]age.Identity{"none": nil, "another's": {other.owner}, "the job's": {k.job}} {
		a, err := archive.Open(t.Context(), s, ids...)
		ok(t, err)
		_, err = a.Reader(t.Context(), archive.ReaderOptions{})
		if !errors.Is(err, archive.ErrNoKey) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, want := range []string{server, k.opt.Recipients[0], "--identity FILE"} {
			if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %q does not say %q in one line", name, err, want)
			}
		}
	}
	points, err := a.Points(t.Context())
	ok(t, err)
	if points[0].Manifest == nil {
		t.Error("the job can't read its own metadata:", points[0].Err)
	}
}
