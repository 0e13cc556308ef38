package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"filippo.io/age"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/backup"
	"github.com/synapse-maint/synapse-maint/jobs/journal"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

const (
	server = "matrix.example.org"
	pages  = 4 // of a range
)

// scripted is a snapshot of tables that are made up: row texts by page.
// Each page has two rows.
type scripted struct {
	tables []synapse.Table
	rows   [][]string // by table; two rows a page
	taken  time.Time
	toc    []byte
	stream []byte
	ranges []synapse.Range
	fail   error // of the last range
	wild   bool  // panic in it
	closed int
}

// newScripted makes a snapshot whose rows depend on seed from row `from` on.
func newScripted(seed uint64, from int, rows ...int) *scripted {
	s := &scripted{taken: time.Now().UTC().Truncate(24*time.Hour).AddDate(0, 0, -9).Add(time.Duration(seed) * time.Hour), toc: []byte("PGDMP\x01\x0e\x00 toc")}
	for i, n := range rows {
		name := fmt.Sprintf("table%d", i)
		s.tables = append(s.tables, synapse.Table{DumpID: 100 + i, Schema: "public", Name: name, Copy: "COPY public." + name + " (a) FROM stdin;\n", Pages: int64((n + 1) / 2)})
		var list []string
		for r := range n {
			key := uint64(0)
			if r >= from {
				key = seed
			}
			rnd := rand.New(rand.NewPCG(key, uint64(i*1000+r)))
			list = append(list, fmt.Sprintf("%d\t%x%x%x\n", r, rnd.Uint64(), rnd.Uint64(), rnd.Uint64()))
		}
		s.rows = append(s.rows, list)
		for lo := int64(0); lo == 0 || lo < s.tables[i].Pages; lo += pages {
			s.ranges = append(s.ranges, synapse.Range{Table: i, Lo: lo, Hi: lo + pages})
		}
	}
	slices.Reverse(s.ranges) // any order is fine
	return s
}

func (s *scripted) Database() synapse.Database {
	return synapse.Database{Name: "synapse", Version: 150018, Taken: s.taken, Size: 1 << 20}
}
func (s *scripted) TOC() []byte             { return s.toc }
func (s *scripted) Tables() []synapse.Table { return s.tables }
func (s *scripted) Ranges() []synapse.Range { return s.ranges }
func (s *scripted) Close() error            { s.closed++; return nil }

func (*scripted) MediaRows(context.Context, func(synapse.MediaRow) error) error { return nil }

func (s *scripted) StreamReason() string {
	if s.stream != nil {
		return "it has large objects"
	}
	return ""
}

func (s *scripted) CopyOut(ctx context.Context, r synapse.Range, emit func(synapse.Chunk) error) error {
	if r == s.ranges[len(s.ranges)-1] {
		if s.wild {
			panic("index out of range")
		}
		if s.fail != nil {
			return s.fail
		}
	}
	rows := s.rows[r.Table]
	rows = rows[min(int(r.Lo)*2, len(rows)):min(int(r.Hi)*2, len(rows))]
	for chunk := range slices.Chunk(rows, 5) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		text := []byte{}
		for _, row := range chunk {
			text = append(text, row...)
		}
		// A row that is too long for a chunk goes on in the next.
		cut := len(text) - 3
		if err := emit(synapse.Chunk{Data: text[:cut], Rows: int64(len(chunk)) - 1, Open: true}); err != nil {
			return err
		}
		if err := emit(synapse.Chunk{Data: text[cut:], Rows: 1}); err != nil {
			return err
		}
		for i := range text {
			text[i] = 'x' // a chunk is valid until emit returns
		}
	}
	return nil
}

func (s *scripted) Stream(_ context.Context, emit func([]byte) error) error {
	if s.fail != nil {
		return s.fail
	}
	for piece := range slices.Chunk(s.stream, 1000) {
		if err := emit(piece); err != nil {
			return err
		}
	}
	return nil
}

// want is a table's rows as a restore must find them.
func (s *scripted) want(table int) []byte {
	var all []byte
	for _, row := range s.rows[table] {
		all = append(all, row...)
	}
	return all
}

// keys open an encrypted archive; the zero value is for one that is not.
type keys struct {
	init       archive.InitOptions
	owner, job []age.Identity
}

func newKeys(t *testing.T) keys {
	t.Helper()
	owner, err := age.GenerateX25519Identity()
	ok(t, err)
	recipients := []string{owner.Recipient().String()}
	text, err := archive.NewJobIdentity(recipients)
	ok(t, err)
	job, err := age.ParseX25519Identity(text)
	ok(t, err)
	return keys{archive.InitOptions{Recipients: recipients, JobIdentity: text}, []age.Identity{owner}, []age.Identity{job}}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func initArchive(t *testing.T, s storage.Store, k keys) {
	t.Helper()
	k.init.Homeserver = server
	_, err := archive.Init(t.Context(), s, k.init)
	ok(t, err)
}

// take runs a backup of snap at an hour, with the keys that a backup has.
func take(ctx context.Context, s storage.Store, k keys, snap backup.Snapshot, hour int) (*jobs.Run, error) {
	a, err := archive.Open(ctx, s, k.job...)
	if err != nil {
		return nil, err
	}
	job := backup.New(backup.Options{
		Archive: a, Homeserver: server, Jobs: 3, Program: "test 1",
		Source: func(context.Context) (backup.Snapshot, error) { return snap, nil },
	})
	return runner(s).Run(ctx, job, id(hour))
}

func id(hour int) jobs.RunID {
	return jobs.RunID{Job: backup.JobName, Homeserver: server, Due: time.Date(2026, 11, 25, hour, 0, 0, 0, time.UTC)}
}

func runner(s storage.Store) *jobs.Runner {
	return &jobs.Runner{Journal: journal.New(s), Locker: journal.NewLocker(s, journal.Options{})}
}

// mustTake takes a point that must work out.
func mustTake(t *testing.T, s storage.Store, k keys, snap backup.Snapshot, hour int) backup.Result {
	t.Helper()
	run, err := take(t.Context(), s, k, snap, hour)
	ok(t, err)
	r, err := backup.ResultOf(run)
	ok(t, err)
	return r
}

// points lists the points and proves that each can be restored in full: what
// is listed is whole. It returns their manifests.
func points(t *testing.T, s storage.Store, k keys) []*archive.Manifest {
	t.Helper()
	a, err := archive.Open(t.Context(), s, k.owner...)
	ok(t, err)
	list, err := a.Points(t.Context())
	ok(t, err)
	var all []*archive.Manifest
	for _, p := range list {
		if p.Err != nil {
			t.Errorf("point %s is listed, but: %v", p.ID, p.Err)
			continue
		}
		all = append(all, p.Manifest)
	}
	if len(all) == 0 {
		return nil
	}
	r, err := a.Reader(t.Context(), archive.ReaderOptions{})
	ok(t, err)
	for _, m := range all {
		if m.Database == nil {
			continue
		}
		for _, table := range m.Database.Tables {
			text, err := read(t, r, table.Blobs)
			if err != nil {
				t.Errorf("point of %s is listed, but %s: %v", m.Taken, table.Name, err)
			}
			if int64(len(text)) != table.Bytes || int64(bytes.Count(text, []byte("\n"))) != table.Rows {
				t.Errorf("point of %s, %s: %d bytes, %d rows; want %d, %d", m.Taken, table.Name, len(text), bytes.Count(text, []byte("\n")), table.Bytes, table.Rows)
			}
		}
		if _, err := read(t, r, append(m.Database.TOC, m.Database.Stream...)); err != nil {
			t.Error(err)
		}
	}
	return all
}

func read(t *testing.T, r *archive.Reader, blobs []archive.Blob) (text []byte, err error) {
	t.Helper()
	for _, b := range blobs {
		data, berr := r.Blob(t.Context(), b.ID)
		err = errors.Join(err, berr)
		text = append(text, data...)
	}
	return text, err
}

// mustHold compares a point with the snapshot it was made of.
func mustHold(t *testing.T, s storage.Store, k keys, m *archive.Manifest, snap *scripted) {
	t.Helper()
	a, err := archive.Open(t.Context(), s, k.owner...)
	ok(t, err)
	r, err := a.Reader(t.Context(), archive.ReaderOptions{})
	ok(t, err)
	for i, table := range m.Database.Tables {
		text, err := read(t, r, table.Blobs)
		ok(t, err)
		if !bytes.Equal(text, snap.want(i)) {
			t.Errorf("%s has other rows than the snapshot", table.Name)
		}
	}
}
