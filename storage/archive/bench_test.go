package archive

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/synapse-maint/synapse-maint/storage/mem"
)

func benchRows(seed uint64, n int) []byte {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "$%x:example.org\t!room%d:example.org\t%d\tm.room.message\t{\"body\":\"text %d\"}\n", rnd.Uint64(), rnd.IntN(50), rnd.IntN(1e6), rnd.IntN(1000))
	}
	return b.Bytes()[:n]
}

func benchWriter(b *testing.B) *Writer {
	a, err := Init(b.Context(), mem.New(), InitOptions{Homeserver: "h"})
	if err != nil {
		b.Fatal(err)
	}
	w, err := a.Writer(b.Context(), WriterOptions{})
	if err != nil {
		b.Fatal(err)
	}
	return w
}

// BenchmarkAddKnown is the hot path of every night but the first.
func BenchmarkAddKnown(b *testing.B) {
	w := benchWriter(b)
	blob := benchRows(1, 4<<20)
	if _, _, err := w.Add(b.Context(), blob); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(blob)))
	for b.Loop() {
		if _, isNew, err := w.Add(b.Context(), blob); isNew || err != nil {
			b.Fatal(isNew, err)
		}
	}
	w.Abort()
}

func BenchmarkAddNew(b *testing.B) {
	w := benchWriter(b)
	blob := benchRows(1, 4<<20)
	b.SetBytes(int64(len(blob)))
	n := uint64(0)
	for b.Loop() {
		n++
		binary.LittleEndian.PutUint64(blob, n)
		if _, _, err := w.Add(b.Context(), blob); err != nil {
			b.Fatal(err)
		}
	}
	st, err := w.Close(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(st.StoredBytes)/float64(st.NewBytes), "stored/new")
}

func BenchmarkRead(b *testing.B) {
	w := benchWriter(b)
	var ids []ID
	for i := range 16 {
		id, _, err := w.Add(b.Context(), benchRows(uint64(i), 4<<20))
		if err != nil {
			b.Fatal(err)
		}
		ids = append(ids, id)
	}
	if _, err := w.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	r, err := w.a.Reader(b.Context(), ReaderOptions{})
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(ids)) * 4 << 20)
	b.ReportAllocs()
	for b.Loop() {
		for _, err := range r.Blobs(b.Context(), ids) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkIndexLoad2M loads the index of an archive with two million blobs,
// and says what it costs in memory.
func BenchmarkIndexLoad2M(b *testing.B) {
	a := indexOf(b, 2_000_000)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for b.Loop() {
		pairs, err := a.listIndex(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		x, err := a.loadIndex(b.Context(), pairs)
		if err != nil || x.n != 2_000_000 {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "MiB")
		runtime.KeepAlive(x)
	}
}

// indexOf makes an archive whose index names n blobs that are not there.
func indexOf(t testing.TB, n int) *Archive {
	s := mem.New()
	a, err := Init(t.Context(), s, InitOptions{Homeserver: "h"})
	if err != nil {
		t.Fatal(err)
	}
	w, err := a.Writer(t.Context(), WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const perPack = 200
	for i := 0; i < n; i += perPack {
		p := packRecord{Pack: sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(i))), Size: perPack * 50_000}
		for j := range perPack {
			id := sha256.Sum256(binary.LittleEndian.AppendUint32(nil, uint32(i+j)))
			p.Blobs = append(p.Blobs, blobRecord{ID: id, Offset: int64(j) * 50_000, Stored: 50_000, Size: 200_000})
		}
		w.unindexed = append(w.unindexed, p)
		if len(w.unindexed) == 500 {
			if err := w.writeIndex(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.writeIndex(t.Context()); err != nil {
		t.Fatal(err)
	}
	return a
}
