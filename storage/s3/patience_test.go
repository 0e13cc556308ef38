package s3_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/s3"
)

// told collects what is said about tries that go on.
type told struct {
	mu    sync.Mutex
	texts []string
}

func (t *told) add(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.texts = append(t.texts, text)
}

// A server that is not there is said to be so at once, and given up in seconds,
// not after half a minute of silence.
func TestUnreachableServerIsSaidAndGivenUpSoon(t *testing.T) {
	testbed.S3(t) // credentials
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		endpoint, want string
		said           int
	}{
		"nobody listens": {nobody, "connection refused (tried 6 times)", 1},
		"unknown host":   {"http://s3.invalid", "no such host", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var said told
			s, err := s3.Open(t.Context(), s3.Config{Bucket: "b", Endpoint: c.endpoint, Retrying: said.add})
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err = listKeys(t.Context(), s)
			if err == nil || !strings.HasSuffix(err.Error(), c.want) {
				t.Errorf("error is %v", err)
			}
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("it took %s", took)
			}
			if len(said.texts) != c.said {
				t.Errorf("said: %q", said.texts)
			}
			for _, text := range said.texts {
				if !strings.HasPrefix(text, "s3://b/: no connection to "+c.endpoint) || !strings.HasSuffix(text, "refused: trying again") {
					t.Errorf("said: %q", text)
				}
			}
		})
	}
}

// One that was there is waited for: an upload of hours must not end with a
// restart of the server.
func TestServerThatWasThereIsWaitedFor(t *testing.T) {
	testbed.S3(t) // credentials
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"x"`)
	})
	server := httptest.NewServer(handler)
	addr := server.Listener.Addr().String()
	back := make(chan *httptest.Server, 1)
	s, err := s3.Open(t.Context(), s3.Config{Bucket: "b", Endpoint: "http://" + addr, Backoff: 20 * time.Millisecond, Retries: 12})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "a", nil, storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	server.CloseClientConnections()
	server.Close()
	time.AfterFunc(150*time.Millisecond, func() { // more than six tries
		l, err := net.Listen("tcp", addr)
		if err != nil {
			t.Error(fmt.Errorf("listen again: %w", err))
			back <- nil
			return
		}
		again := &httptest.Server{Listener: l, Config: &http.Server{Handler: handler}}
		again.Start()
		back <- again
	})
	if _, err := s.Put(t.Context(), "a", nil, storage.PutOptions{}); err != nil {
		t.Error(err)
	}
	if again := <-back; again != nil {
		again.Close()
	}
}
