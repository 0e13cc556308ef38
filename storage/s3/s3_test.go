package s3_test

import (
	"net/url"
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
	u, err := url.Parse(storeURL)
	if err != nil {
		t.Fatal(err)
	}
	c, err := s3.ParseURL(u)
	if err != nil {
		t.Fatal(err)
	}
	c.Backoff = time.Millisecond
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
