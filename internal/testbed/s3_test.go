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
