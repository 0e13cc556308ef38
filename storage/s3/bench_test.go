package s3_test

import (
	"net/url"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/s3"
)

// BenchmarkPut and BenchmarkGet move packs of 24 MiB: what they cost beside the
// SHA-256 of their bytes is the price of the road.
func BenchmarkPut(b *testing.B) { benchmark(b, false) }

func BenchmarkGet(b *testing.B) { benchmark(b, true) }

func benchmark(b *testing.B, get bool) {
	server := testbed.S3(b)
	u, err := url.Parse(server.URL(server.Bucket(b)))
	if err != nil {
		b.Fatal(err)
	}
	c, err := s3.ParseURL(u)
	if err != nil {
		b.Fatal(err)
	}
	s, err := s3.Open(b.Context(), c)
	if err != nil {
		b.Fatal(err)
	}
	pack := make([]byte, 24<<20)
	if _, err := s.Put(b.Context(), "pack", pack, storage.PutOptions{}); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(pack)))
	b.ReportAllocs()
	for b.Loop() {
		if get {
			_, err = storage.ReadAll(b.Context(), s, "pack")
		} else {
			_, err = s.Put(b.Context(), "pack", pack, storage.PutOptions{})
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}
