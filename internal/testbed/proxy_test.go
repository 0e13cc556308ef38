package testbed_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

var proxied = bytes.Repeat([]byte("0123456789"), 10_000)

// echoProxy is before a server that answers a PUT with its body, and anything else with 100,000 bytes.
func echoProxy(t *testing.T) *testbed.FaultProxy {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Seen-Host", r.Host)
		if r.Method == http.MethodPut {
			if body, err := io.ReadAll(r.Body); err == nil {
				_, _ = w.Write(body)
			}
			return
		}
		_, _ = w.Write(proxied)
	}))
	t.Cleanup(server.Close)
	return testbed.Proxy(t, server.URL)
}

func send(t *testing.T, method, to string) (*http.Response, []byte, error) {
	t.Helper()
	var body io.Reader
	if method == http.MethodPut {
		body = bytes.NewReader(proxied)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, to, body)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	return resp, got, err
}

func TestProxyPasses(t *testing.T) {
	t.Parallel()
	p := echoProxy(t)
	for _, method := range []string{http.MethodPut, http.MethodGet} {
		resp, got, err := send(t, method, p.URL()+"/a")
		if err != nil || !bytes.Equal(got, proxied) {
			t.Fatalf("%s: %d bytes, %v", method, len(got), err)
		}
		if host := resp.Header.Get("Seen-Host"); host != p.Addr() {
			t.Errorf("%s: the server saw the host %s, the client signed %s", method, host, p.Addr())
		}
	}
	if _, _, err := send(t, http.MethodGet, p.URL()+"/a?list-type=2"); err != nil {
		t.Fatal(err)
	}
	if p.Count() != 3 || p.Count("PUT") != 1 || p.Count("GET") != 1 || p.Count("LIST", "GET") != 2 {
		t.Errorf("counted %d requests, %d PUT, %d GET", p.Count(), p.Count("PUT"), p.Count("GET"))
	}
}

func TestProxyChoosesRequests(t *testing.T) {
	t.Parallel()
	p := echoProxy(t)
	p.Inject(testbed.Fault{Op: "GET", Path: "/points/", Skip: 1, Times: 2, Status: 503, Code: "SlowDown"})
	var got []string
	for _, path := range []string{"/points/a", "/packs/a", "/points/a", "/points/b", "/points/a"} {
		resp, body, err := send(t, http.MethodGet, p.URL()+path)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusServiceUnavailable && !strings.Contains(string(body), "<Code>SlowDown</Code>") {
			t.Errorf("answered %s", body)
		}
		got = append(got, resp.Status[:3])
	}
	if want := "200 200 503 503 200"; strings.Join(got, " ") != want {
		t.Errorf("answers are %v, want %s", got, want)
	}
	p.Reset()
	if p.Count() != 0 {
		t.Errorf("after a reset the count is %d", p.Count())
	}
}

func TestProxyDisturbs(t *testing.T) {
	t.Parallel()
	damaged := bytes.Clone(proxied)
	damaged[0] ^= 1
	for name, c := range map[string]struct {
		method string
		fault  testbed.Fault
		want   []byte // nil: no answer
		ok     bool
	}{
		"answer cut":      {"GET", testbed.Fault{CutResponse: 12_345}, proxied[:12_345], false},
		"request cut":     {"PUT", testbed.Fault{CutRequest: 12_345}, nil, false},
		"answer lost":     {"PUT", testbed.Fault{LoseAnswer: true}, nil, false},
		"answer damaged":  {"GET", testbed.Fault{CorruptResponse: true}, damaged, true},
		"request damaged": {"PUT", testbed.Fault{CorruptRequest: true}, damaged, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := echoProxy(t)
			p.Inject(c.fault)
			_, got, err := send(t, c.method, p.URL())
			if (err == nil) != c.ok {
				t.Errorf("error is %v", err)
			}
			if !bytes.Equal(got, c.want) {
				t.Errorf("got %d bytes, want %d", len(got), len(c.want))
			}
		})
	}
}

func TestProxySlowsDown(t *testing.T) {
	t.Parallel()
	p := echoProxy(t)
	for name, f := range map[string]testbed.Fault{
		"delay": {Delay: 300 * time.Millisecond},
		"rate":  {Rate: 300_000}, // of 100,000 bytes
	} {
		p.Reset()
		p.Inject(f)
		start := time.Now()
		if _, got, err := send(t, http.MethodGet, p.URL()); err != nil || len(got) != len(proxied) {
			t.Fatalf("%s: %d bytes, %v", name, len(got), err)
		}
		if took := time.Since(start); took < 290*time.Millisecond {
			t.Errorf("%s: took %s", name, took)
		}
	}
}

// tcpEcho is a proxy of bytes before a server that sends back what it gets.
func tcpEcho(t *testing.T) *testbed.FaultProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return testbed.Proxy(t, l.Addr().String())
}

func dialProxy(t *testing.T, p *testbed.FaultProxy) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*net.TCPConn)
}

func TestProxyOfBytes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault testbed.Fault
		want  int
	}{
		"passes":     {testbed.Fault{}, 1000},
		"cut back":   {testbed.Fault{CutResponse: 400}, 400},
		"cut to":     {testbed.Fault{CutRequest: 300}, 300},
		"other rule": {testbed.Fault{Op: "GET", CutRequest: 300}, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := tcpEcho(t)
			p.Inject(c.fault)
			conn := dialProxy(t, p)
			if _, err := conn.Write(proxied[:1000]); err != nil {
				t.Fatal(err)
			}
			_ = conn.CloseWrite()      // cut already, perhaps
			got, _ := io.ReadAll(conn) // may end in a reset
			if len(got) > c.want || c.want == 1000 && len(got) != 1000 {
				t.Errorf("%d bytes came back, want %d", len(got), c.want)
			}
			if n := p.Count("TCP"); n != 1 {
				t.Errorf("counted %d connections", n)
			}
		})
	}
}

func TestProxyCutsConnections(t *testing.T) {
	t.Parallel()
	p := tcpEcho(t)
	conn := dialProxy(t, p)
	buf := make([]byte, 3)
	ask := func(c net.Conn) error {
		if _, err := c.Write([]byte("abc")); err != nil {
			return err
		}
		_, err := io.ReadFull(c, buf)
		return err
	}
	if err := ask(conn); err != nil {
		t.Fatal(err)
	}
	p.Cut()
	if err := ask(conn); err == nil {
		t.Error("the connection lives on")
	}
	if err := ask(dialProxy(t, p)); err != nil {
		t.Errorf("a new connection: %v", err)
	}
}

func TestProxyHangs(t *testing.T) {
	t.Parallel()
	p := tcpEcho(t)
	p.Inject(testbed.Fault{Hang: true})
	conn := dialProxy(t, p)
	if err := conn.SetDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := conn.Read(make([]byte, 1)); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("error is %v, want silence", err)
	}
}
