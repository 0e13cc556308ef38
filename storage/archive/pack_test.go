package archive

import (
	"bytes"
	"os/exec"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// What a pack gets to have another name is nothing to anybody who reads it, the
// zstd of an operator's machine included.
func TestARenamedPackHoldsTheSame(t *testing.T) {
	t.Parallel()
	plain := []byte("$event\t!room\tm.room.message\n")
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	stored := enc.EncodeAll(plain, nil)
	p := &pack{body: bytes.Clone(stored), blobs: []blobRecord{{Stored: int64(len(stored)), Size: int64(len(plain))}}}
	p.rename()
	first := bytes.Clone(p.body)
	p.rename()
	if bytes.Equal(first, stored) || bytes.Equal(p.body, first) || p.blobs[0].Stored != int64(len(p.body)) {
		t.Errorf("%d bytes, then %d, then %d; the blob has %d", len(stored), len(first), len(p.body), p.blobs[0].Stored)
	}
	cmd := exec.CommandContext(t.Context(), "zstd", "-dc")
	cmd.Stdin = bytes.NewReader(p.body)
	if out, err := cmd.Output(); err != nil || !bytes.Equal(out, plain) {
		t.Errorf("zstd: %q, %v", out, err)
	}
	dec, err := newCodec().blobDecoder()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := dec.DecodeAll(p.body, nil); err != nil || !bytes.Equal(out, plain) {
		t.Errorf("%q, %v", out, err)
	}
}
