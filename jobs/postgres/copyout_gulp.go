package postgres

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// gulp is how much is read from the server at once, in bytes. It fits into a
// core's cache: what is read is used soon after.
const gulp = 256 << 10

// The server sends 8 KiB at a time, and a reader that is woken for each costs
// more than the copy itself. So the kernel is asked to wake it only when
// lowWater bytes are there (SO_RCVLOWAT, which Unix sockets ignore), and the
// last ones of a range are fetched when nothing more came for a moment. Answers
// that are short, as most statements' are, must not wait for that moment.
const (
	lowWater   = 128 << 10
	short      = 256 << 10
	patience   = time.Millisecond
	patientMax = 32 * time.Millisecond // where the server is busy with something else
)

// gulpConn is a connection that reads a lot at once: below TLS, whose own reads
// are small.
type gulpConn struct {
	net.Conn
	ctx   context.Context // of the statement that runs; nil: somebody else's deadlines hold
	buf   []byte
	ready []byte // of buf, not yet given out

	got     int  // bytes, since begin
	low     bool // the kernel waits for lowWater bytes
	settled bool // Conn is the one to keep
}

// begin is called before a statement. Reads fail when ctx ends.
func (g *gulpConn) begin(ctx context.Context) {
	g.ctx, g.got = ctx, 0
	g.wake(false)
}

// wake sets how many bytes the kernel waits for.
func (g *gulpConn) wake(low bool) {
	if g.low == low {
		return
	}
	g.low = low
	if low {
		lowat(g.Conn, lowWater)
	} else {
		lowat(g.Conn, 1)
	}
}

// Read implements [net.Conn].
func (g *gulpConn) Read(p []byte) (int, error) {
	if len(g.ready) == 0 {
		if len(p) >= gulp/2 {
			return g.read(p)
		}
		if g.buf == nil {
			g.buf = make([]byte, gulp)
		}
		n, err := g.read(g.buf)
		if err != nil {
			return 0, err
		}
		g.ready = g.buf[:n]
	}
	n := copy(p, g.ready)
	g.ready = g.ready[n:]
	return n, nil
}

func (g *gulpConn) read(p []byte) (int, error) {
	if g.ctx == nil {
		return g.Conn.Read(p)
	}
	g.wake(g.got >= short)
	for wait := patience; ; wait = min(2*wait, patientMax) {
		if g.ctx.Err() != nil {
			return 0, context.Cause(g.ctx)
		}
		_ = g.Conn.SetReadDeadline(time.Now().Add(wait)) // fails where the connection is closed, and then Read does
		n, err := g.Conn.Read(p)
		g.got += n
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
	}
}

// lowat sets SO_RCVLOWAT. Without it everything works, at a higher price.
func lowat(c net.Conn, n int) {
	sc, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := sc.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVLOWAT, n) })
	}
}
