package testbed

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// Fault is what a [FaultProxy] does to some of the requests (or, in front of
// PostgreSQL, connections) that pass it. The zero value lets everything pass.
type Fault struct {
	Op    string // "PUT", "GET", "HEAD", "DELETE", "LIST", "POST"; of a connection "TCP"; empty for all
	Path  string // only where the path contains this
	Skip  int    // let so many of them pass first
	Times int    // then happen so often; 0 for ever

	Status int    // HTTP: answer with this status and, as S3 does, …
	Code   string // … this error code; the request goes no further

	Delay time.Duration // pass it on only then
	Rate  int64         // bytes a second, both ways
	Hang  bool          // take it and never answer

	CutRequest  int64 // end the connection after so many bytes of the request's body, or to the server
	CutResponse int64 // the same for the answer's body, or to the client
	LoseAnswer  bool  // HTTP: pass it on, then end the connection without the answer

	CorruptRequest  bool // HTTP: change a bit of the request's body
	CorruptResponse bool // HTTP: change a bit of the answer's body

	// Unconditional answers a put whose condition fails as servers do that take
	// conditions and ignore them.
	Unconditional bool

	// Checksum replaces the one in the answer's header, or removes it.
	Checksum *string

	Answered func(*http.Request) // HTTP: runs when the server has answered, before the client hears it
}

// FaultProxy stands before a server and injects faults.
type FaultProxy struct {
	target *url.URL // of HTTP; else nil
	addr   string   // of the target
	listen net.Listener
	closed chan struct{}

	mu     sync.Mutex
	faults []*countedFault
	counts map[string]int
	conns  map[net.Conn]bool // of TCP
}

type countedFault struct {
	Fault
	seen int
}

// Proxy starts a proxy for a test, in front of a URL (http://…: requests are
// looked into) or of host:port (bytes only). What clients sign covers the
// proxy's address, and is passed on unchanged.
func Proxy(t testing.TB, target string) *FaultProxy {
	t.Helper()
	p := &FaultProxy{addr: target, closed: make(chan struct{}), counts: map[string]int{}, conns: map[net.Conn]bool{}}
	if strings.HasPrefix(target, "http://") {
		u, err := url.Parse(target)
		if err != nil {
			t.Fatal(err)
		}
		p.target, p.addr = u, u.Host
		server := httptest.NewUnstartedServer(p.handler())
		server.Config.ErrorLog = log.New(io.Discard, "", 0) // aborted on purpose
		p.listen = server.Listener
		server.Start()
		t.Cleanup(func() {
			close(p.closed)
			server.CloseClientConnections()
			server.Close()
		})
		return p
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.listen = l
	var accepting sync.WaitGroup
	accepting.Go(p.accept)
	t.Cleanup(func() {
		close(p.closed)
		_ = l.Close()
		accepting.Wait()
		p.Cut()
	})
	return p
}

// Addr is the proxy's host:port.
func (p *FaultProxy) Addr() string { return p.listen.Addr().String() }

// URL is the proxy's base URL.
func (p *FaultProxy) URL() string { return "http://" + p.Addr() }

// StoreURL is the store URL of a bucket of the S3 server behind the proxy.
func (p *FaultProxy) StoreURL(bucket string) string { return s3URL(p.URL(), bucket) }

// Inject adds a fault. Of several that fit a request, the first that is not used
// up happens.
func (p *FaultProxy) Inject(f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = append(p.faults, &countedFault{Fault: f})
}

// Reset removes all faults and sets the counts to zero.
func (p *FaultProxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults = nil
	clear(p.counts)
}

// Count is how many requests (or "TCP" connections) of these operations have
// come; of none given: of all.
func (p *FaultProxy) Count(ops ...string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for op, c := range p.counts {
		if len(ops) == 0 || strings.Contains(" "+strings.Join(ops, " ")+" ", " "+op+" ") {
			n += c
		}
	}
	return n
}

// next counts the request and returns what shall happen to it.
func (p *FaultProxy) next(op, path string) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[op]++
	for _, f := range p.faults {
		if f.Op != "" && f.Op != op || !strings.Contains(path, f.Path) {
			continue
		}
		f.seen++
		if f.seen > f.Skip && (f.Times == 0 || f.seen <= f.Skip+f.Times) {
			return f.Fault
		}
	}
	return Fault{}
}

// s3Op tells a listing from other GETs.
func s3Op(r *http.Request) string {
	if r.Method == http.MethodGet && r.URL.Query().Has("list-type") {
		return "LIST"
	}
	return r.Method
}

func (p *FaultProxy) handler() http.Handler {
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f := p.next(s3Op(r), r.URL.Path)
		if !p.hold(f, r) {
			panic(http.ErrAbortHandler)
		}
		if f.Status != 0 {
			answerS3Error(w, r, f)
			return
		}
		r.Body = f.request(r.Body)
		proxy := &httputil.ReverseProxy{
			Transport: transport, FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0),
			Rewrite: func(pr *httputil.ProxyRequest) {
				pr.SetURL(p.target)
				pr.Out.Host = pr.In.Host // as signed
			},
			ModifyResponse: func(resp *http.Response) error { return f.response(r, resp) },
			ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		}
		proxy.ServeHTTP(w, r)
	})
}

// hold waits as the fault says, and returns false if the request ends here.
func (p *FaultProxy) hold(f Fault, r *http.Request) bool {
	var until <-chan time.Time
	switch {
	case f.Hang:
		_, _ = io.Copy(io.Discard, r.Body) // else the end of the client is not seen
	case f.Delay > 0:
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		until = timer.C
	default:
		return true
	}
	select {
	case <-until:
		return true
	case <-r.Context().Done():
	case <-p.closed:
	}
	return false
}

func answerS3Error(w http.ResponseWriter, r *http.Request, f Fault) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(f.Status)
	if r.Method != http.MethodHead && f.Code != "" {
		fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>injected</Message></Error>`, f.Code)
	}
}

// request disturbs a request's body.
func (f Fault) request(body io.ReadCloser) io.ReadCloser {
	return disturb(body, f.CutRequest, f.Rate, f.CorruptRequest)
}

// response disturbs an answer.
func (f Fault) response(r *http.Request, resp *http.Response) error {
	if f.Answered != nil {
		f.Answered(r)
	}
	const checksum = "X-Amz-Checksum-Sha256"
	if f.Unconditional && resp.StatusCode == http.StatusPreconditionFailed {
		_ = resp.Body.Close()
		resp.StatusCode, resp.Status, resp.Body, resp.ContentLength = http.StatusOK, "", http.NoBody, 0
		resp.Header = http.Header{"Content-Length": {"0"}, "Etag": {`"0"`}, checksum: r.Header[checksum]}
	}
	if f.Checksum != nil {
		resp.Header.Del(checksum)
		if *f.Checksum != "" {
			resp.Header.Set(checksum, *f.Checksum)
		}
	}
	if f.LoseAnswer {
		_, _ = io.Copy(io.Discard, resp.Body)
		return io.ErrUnexpectedEOF
	}
	resp.Body = disturb(resp.Body, f.CutResponse, f.Rate, f.CorruptResponse)
	return nil
}
