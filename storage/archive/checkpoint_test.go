package archive

import (
	"testing"

	"github.com/synapse-maint/synapse-maint/storage/mem"
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
