package s3_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/s3"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

// open opens a store by its URL, impatient as tests are.
func open(t *testing.T, storeURL string) *s3.Store {
	t.Helper()
	return openWith(t, storeURL, func(*s3.Config) {})
}

func openWith(t *testing.T, storeURL string, change func(*s3.Config)) *s3.Store {
	t.Helper()
	u, err := url.Parse(storeURL)
	if err != nil {
		t.Fatal(err)
	}
	c, err := s3.ParseURL(u)
	if err != nil {
		t.Fatal(err)
	}
	c.Backoff = time.Millisecond
	change(&c)
	s, err := s3.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	server := testbed.S3(t)
	storetest.Test(t, func(t *testing.T) storage.Store { return open(t, server.URL(server.Bucket(t))) })
}

func TestSub(t *testing.T) {
	server := testbed.S3(t)
	storetest.Test(t, func(t *testing.T) storage.Store {
		return storage.Sub(open(t, server.URL(server.Bucket(t))), "one/two")
	})
}

func TestServerKeepsConditions(t *testing.T) {
	t.Parallel()
	server := testbed.S3(t)
	if err := storage.CheckConditions(t.Context(), open(t, server.URL(server.Bucket(t))), "checks/conditions"); err != nil {
		t.Error(err)
	}
}

// Whoever knows the SHA-256 saves a pass over the bytes, and no check: the
// server refuses what is not so.
func TestPutWithAKnownSHA256(t *testing.T) {
	t.Parallel()
	server := testbed.S3(t)
	s := open(t, server.URL(server.Bucket(t)))
	sum := func(text string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(text))) }
	if _, err := s.Put(t.Context(), "right", []byte("body"), storage.PutOptions{SHA256: sum("body")}); err != nil {
		t.Error(err)
	}
	if o, err := s.Stat(t.Context(), "right"); err != nil || o.SHA256 != sum("body") {
		t.Errorf("%+v, %v", o, err)
	}
	for name, known := range map[string]string{"of other bytes": sum("other"), "short": "abcd", "long": sum("body") + "00", "not hex": "x"} {
		if _, err := s.Put(t.Context(), "wrong", []byte("body"), storage.PutOptions{SHA256: known}); err == nil {
			t.Errorf("%s: taken", name)
		}
		if _, err := s.Stat(t.Context(), "wrong"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A bucket that others write to is read as it is.
func TestForeignKeys(t *testing.T) {
	t.Parallel()
	server := testbed.S3(t)
	bucket := server.Bucket(t)
	const key = "[::1]/.an odd+name, %41 \u00fc"
	file := filepath.Join(server.Dir(bucket), key)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, foreign := range []bool{false, true} {
		s := openWith(t, server.URL(bucket), func(c *s3.Config) { c.Foreign = foreign })
		var keys []string
		for o, err := range s.List(t.Context(), "") {
			if err != nil {
				t.Fatal(err)
			}
			keys = append(keys, o.Key)
		}
		body, err := storage.ReadAll(t.Context(), s, key)
		if foreign != slices.Contains(keys, key) || foreign != (err == nil && string(body) == "text") {
			t.Errorf("foreign=%v: %q, %q, %v", foreign, keys, body, err)
		}
	}
}
