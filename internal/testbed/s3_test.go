package testbed_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

func TestS3ServerIsSharedAndSetsTheEnvironment(t *testing.T) {
	s := testbed.S3(t)
	if again := testbed.S3(t); again != s {
		t.Error("a second server was started")
	}
	for _, kv := range s.Env() {
		k, want, _ := strings.Cut(kv, "=")
		if got := os.Getenv(k); got != want {
			t.Errorf("%s is not set to the server's", k)
		}
	}
}

func TestS3BucketsAreFolders(t *testing.T) {
	t.Parallel()
	s := testbed.S3(t)
	a, b := s.Bucket(t), s.Bucket(t)
	if a == b {
		t.Fatalf("two buckets have the name %s", a)
	}
	for _, bucket := range []string{a, b, s.LockedBucket(t)} {
		if info, err := os.Stat(s.Dir(bucket)); err != nil || !info.IsDir() {
			t.Errorf("bucket %s: %v", bucket, err)
		}
	}
}

func TestStartS3Stops(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "s3")
	s, err := testbed.StartS3(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	s.Stop()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, s.Endpoint(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if resp, err := http.DefaultClient.Do(req); err == nil {
		_ = resp.Body.Close()
		t.Error("a stopped server answers")
	}
}

func TestS3ServerCountsRequests(t *testing.T) {
	t.Parallel()
	s, err := testbed.StartS3Counting(t.Context(), filepath.Join(t.TempDir(), "s3"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	for _, name := range []string{"one", "other"} {
		if err := s.MakeBucket(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/one/a", "/one/b", "/other/a"} {
		get(t, s.Endpoint()+path) // refused, and counted
	}
	for i, want := range []int{2, 0} {
		counts, err := s.TakeRequests("one")
		if err != nil {
			t.Fatal(err)
		}
		if len(counts) > 1 || counts["s3_GetObject"] != want {
			t.Errorf("call %d: %v, want %d of s3_GetObject", i, counts, want)
		}
	}
	get(t, s.Endpoint()+"/one/a")
	if counts, err := s.TakeRequests("one"); err != nil || counts["s3_GetObject"] != 1 {
		t.Errorf("afterwards: %v, %v, want one", counts, err)
	}
}

func get(t *testing.T, url string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
}
