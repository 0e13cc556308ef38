package archive

import (
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/storage/mem"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// TestKilledRunIsNotSentAgain ends a writer without Close: the next one knows
// what was indexed from time to time.
func TestKilledRunIsNotSentAgain(t *testing.T) {
	t.Parallel()
	a, err := Init(t.Context(), mem.New(), InitOptions{Homeserver: "h"})
	if err != nil {
		t.Fatal(err)
	}
	w, err := a.Writer(t.Context(), WriterOptions{PackSize: 10_000, Workers: 1, Uploads: 1})
	if err != nil {
		t.Fatal(err)
	}
	w.due = 50_000
	const blobs = 40
	for i := range blobs {
		if _, _, err := w.Add(t.Context(), benchRows(uint64(i), 40_000)); err != nil {
			t.Fatal(err)
		}
	}
	w.Abort()
	if w, err = a.Writer(t.Context(), WriterOptions{}); err != nil {
		t.Fatal(err)
	}
	for i := range blobs {
		if _, _, err := w.Add(t.Context(), benchRows(uint64(i), 40_000)); err != nil {
			t.Fatal(err)
		}
	}
	st, err := w.Close(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st.Blobs > 15 {
		t.Errorf("%d of %d blobs were sent again", st.Blobs, blobs)
	}
}

// A pack that the store has lost ends the run when the next index object is due,
// which would have named it: not hours later.
func TestALostPackEndsTheRunSoon(t *testing.T) {
	t.Parallel()
	s := mem.New()
	packs := 0
	a, err := Init(t.Context(), storetest.Faulty(s, func(c storetest.Call) storetest.Fault {
		if c.Op == storetest.Put && strings.HasPrefix(c.Key, packPrefix) {
			packs++
			return storetest.Fault{Drop: packs == 2}
		}
		return storetest.Fault{}
	}), InitOptions{Homeserver: "h"})
	if err != nil {
		t.Fatal(err)
	}
	w, err := a.Writer(t.Context(), WriterOptions{PackSize: 10_000, Workers: 1, Uploads: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	w.due = 50_000
	for i := range uint64(1000) {
		if _, _, err = w.Add(t.Context(), benchRows(i, 40_000)); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "run it again") || packs > 20 {
		t.Errorf("after %d packs: %v", packs, err)
	}
	for o, err := range s.List(t.Context(), indexPrefix) {
		t.Errorf("%s, %v", o.Key, err)
	}
}
