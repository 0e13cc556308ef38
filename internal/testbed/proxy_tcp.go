package testbed

import (
	"io"
	"net"
	"sync"
	"time"
)

// accept takes connections until the listener is closed.
func (p *FaultProxy) accept() {
	for {
		client, err := p.listen.Accept()
		if err != nil {
			return
		}
		go p.connection(client, p.next("TCP", ""))
	}
}

// Cut ends all connections through a proxy of bytes, as a server that crashes
// does. New ones are accepted.
func (p *FaultProxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *FaultProxy) track(c net.Conn, open bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if open {
		p.conns[c] = true
	} else {
		delete(p.conns, c)
		_ = c.Close()
	}
}

// connection passes bytes both ways until either end closes.
func (p *FaultProxy) connection(client net.Conn, f Fault) {
	p.track(client, true)
	defer p.track(client, false)
	if f.Hang {
		<-p.closed
		return
	}
	if f.Delay > 0 {
		timer := time.NewTimer(f.Delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-p.closed:
			return
		}
	}
	server, err := net.Dial("tcp", p.addr)
	if err != nil {
		return
	}
	p.track(server, true)
	defer p.track(server, false)
	var both sync.WaitGroup
	pass := func(to, from net.Conn, cut int64) {
		_, err := io.Copy(to, disturb(from, cut, f.Rate, false))
		if half, ok := to.(*net.TCPConn); ok && err == nil {
			_ = half.CloseWrite() // the other way may go on
			return
		}
		_, _ = client.Close(), server.Close()
	}
	both.Go(func() { pass(server, client, f.CutRequest) })
	both.Go(func() { pass(client, server, f.CutResponse) })
	both.Wait()
}

// disturb returns body with faults: it fails after cut bytes, gives rate bytes
// a second, or has a bit changed. Zeros are no faults.
func disturb(body io.ReadCloser, cut, rate int64, corrupt bool) io.ReadCloser {
	if cut == 0 && rate == 0 && !corrupt || body == nil {
		return body
	}
	return &disturbed{body, cut, rate, corrupt}
}

type disturbed struct {
	io.ReadCloser
	cut, rate int64
	corrupt   bool
}

func (d *disturbed) Read(p []byte) (int, error) {
	if d.cut < 0 {
		return 0, io.ErrUnexpectedEOF
	}
	if d.cut > 0 {
		p = p[:min(int64(len(p)), d.cut)]
	}
	if d.rate > 0 {
		p = p[:min(int64(len(p)), max(d.rate/20, 1))]
	}
	n, err := d.ReadCloser.Read(p)
	if d.cut > 0 {
		if d.cut -= int64(n); d.cut == 0 {
			d.cut = -1 // used up
		}
	}
	if d.corrupt && n > 0 {
		p[0] ^= 1
		d.corrupt = false
	}
	if d.rate > 0 && n > 0 {
		<-time.After(time.Duration(n) * time.Second / time.Duration(d.rate))
	}
	return n, err
}
