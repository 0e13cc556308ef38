package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// copier is a connection that sees the snapshot and copies. After its session
// is set up it speaks the protocol itself: what pgx does for each message costs
// more than what is to be done with it here.
type copier struct {
	pg     *pgconn.PgConn // hijacked: it knows how to cancel
	raw    *gulpConn      // below conn, or conn itself
	conn   net.Conn
	wire   wire
	locked map[int]bool // tables, by their index, that this session has a lock on
	chunk  []byte       // the cutter's buffer, kept from range to range
}

func openCopier(ctx context.Context, s *Snapshot) (*copier, error) {
	raw := &gulpConn{}
	c, err := s.cfg.through(raw).Connect(ctx)
	if err != nil {
		return nil, err
	}
	raw.settled = true
	pg := c.PgConn()
	err = executeRaw(ctx, pg, sessionSettings()+newerTimeouts(s.lead.version)+s.lead.importSnapshot())
	if err == nil {
		err = pg.SyncConn(ctx)
	}
	if err != nil {
		_ = c.Close(context.WithoutCancel(ctx))
		return nil, err
	}
	hijacked, err := pg.Hijack()
	if err != nil {
		return nil, err
	}
	return &copier{pg: pg, raw: raw, conn: hijacked.Conn, wire: wire{conn: hijacked.Conn, buf: make([]byte, gulp)}, locked: map[int]bool{}}, nil
}

// lock takes the table's lock, which is free unless somebody waits for an
// exclusive one.
func (w *copier) lock(ctx context.Context, s *Snapshot, table int) (free bool, err error) {
	if w.locked[table] {
		return true, nil
	}
	_, err = w.run(ctx, "LOCK TABLE ONLY "+s.columns[table].table+" IN ACCESS SHARE MODE NOWAIT", nil)
	var pe *pgconn.PgError
	if errors.As(err, &pe) && pe.Code == "55P03" {
		_, err = w.run(ctx, "ROLLBACK;"+s.lead.importSnapshot(), nil)
		clear(w.locked)
		return false, err
	}
	w.locked[table] = err == nil
	return err == nil, err
}

// run sends a statement and gives the rows it copies to c. It returns how many
// the server says there were.
func (w *copier) run(ctx context.Context, sql string, c *cutter) (rows int64, err error) {
	w.raw.begin(ctx)
	if err := w.wire.query(sql); err != nil {
		return 0, err
	}
	var failed error
	for {
		if err := w.wire.rows(c); err != nil {
			return 0, err
		}
		kind, body, err := w.wire.message()
		if err != nil {
			return 0, err
		}
		switch kind {
		case 'E':
			failed = serverError(body)
		case 'H':
			if len(body) > 0 && body[0] != 0 {
				return 0, errors.New("the server copies in binary format")
			}
		case 'C':
			if n, ok := strings.CutPrefix(strings.TrimRight(string(body), "\x00"), "COPY "); ok {
				if rows, err = strconv.ParseInt(n, 10, 64); err != nil {
					return 0, fmt.Errorf("the server ended with COPY %q", n)
				}
			}
		case 'Z':
			return rows, failed
		case 'c', 'N', 'S', 'A': // CopyDone, notices, settings, notifications
		default:
			return 0, fmt.Errorf("the server sent a message of an unexpected kind, %q", kind)
		}
	}
}

// serverError decodes an ErrorResponse.
func serverError(body []byte) error {
	var m pgproto3.ErrorResponse
	if err := m.Decode(body); err != nil {
		return fmt.Errorf("an error of the server that can't be read: %w", err)
	}
	return pgconn.ErrorResponseToPgError(&m)
}

// close ends the session in peace.
func (w *copier) close() {
	_ = w.conn.SetDeadline(time.Now().Add(2 * time.Second))
	_, _ = w.conn.Write([]byte{'X', 0, 0, 0, 4}) // Terminate
	_ = w.conn.Close()
}

// abort ends it in the middle of a statement, which the server would otherwise
// go on with until it next writes.
func (w *copier) abort() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = w.pg.CancelRequest(ctx)
	_ = w.conn.Close()
}

// maxMessage bounds messages other than rows.
const maxMessage = 1 << 20

// wire reads messages of PostgreSQL's protocol (its manual, "Message Formats"):
// a letter, a length of four bytes that counts itself, and a body.
type wire struct {
	conn net.Conn
	buf  []byte
	r, w int // what is read and not yet used is buf[r:w]
}

func (c *wire) query(sql string) error {
	m := append(make([]byte, 5, len(sql)+6), sql...)
	m = append(m, 0)
	m[0] = 'Q'
	binary.BigEndian.PutUint32(m[1:], uint32(len(m)-1)) //nolint:gosec // a statement of ours
	_, err := c.conn.Write(m)
	return err
}

// rows gives CopyData messages to out until another message comes.
func (c *wire) rows(out *cutter) error {
	for {
		if err := c.need(5); err != nil {
			return err
		}
		if c.buf[c.r] != 'd' {
			return nil
		}
		n := int(binary.BigEndian.Uint32(c.buf[c.r+1:])) - 4
		switch {
		case n < 0 || out == nil:
			return fmt.Errorf("the server sent rows of length %d", n)
		case 5+n > len(c.buf):
			if err := c.longRow(n, out); err != nil {
				return err
			}
			continue
		case 5+n > c.w-c.r:
			if err := c.need(5 + n); err != nil {
				return err
			}
		}
		if err := out.add(c.buf[c.r+5 : c.r+5+n]); err != nil {
			return err
		}
		c.r += 5 + n
	}
}

// longRow reads a row that is larger than the gulp straight to where it goes.
func (c *wire) longRow(n int, out *cutter) error {
	if err := out.open(n); err != nil {
		return err
	}
	c.r += 5
	for n > 0 {
		space, err := out.space(n)
		if err != nil {
			return err
		}
		k := copy(space, c.buf[c.r:c.w])
		c.r += k
		if k == 0 {
			if k, err = c.conn.Read(space); err != nil {
				return err
			}
		}
		out.filled(k)
		n -= k
	}
	out.end()
	return nil
}

// message reads a message that isn't a row. The body is valid until the next
// read.
func (c *wire) message() (kind byte, body []byte, err error) {
	if err := c.need(5); err != nil {
		return 0, nil, err
	}
	kind = c.buf[c.r]
	n := int(binary.BigEndian.Uint32(c.buf[c.r+1:])) - 4
	if n < 0 || n > maxMessage {
		return 0, nil, fmt.Errorf("the server sent a message %q of %d bytes", kind, n)
	}
	if 5+n > len(c.buf) {
		c.buf = append(make([]byte, 0, 5+n), c.buf[c.r:c.w]...)[:5+n]
		c.r, c.w = 0, c.w-c.r
	}
	if err := c.need(5 + n); err != nil {
		return 0, nil, err
	}
	body = c.buf[c.r+5 : c.r+5+n]
	c.r += 5 + n
	return kind, body, nil
}

// need reads until at least n bytes are there, which fit into the buffer.
func (c *wire) need(n int) error {
	if c.w-c.r >= n {
		return nil
	}
	c.w = copy(c.buf, c.buf[c.r:c.w])
	c.r = 0
	for c.w < n {
		k, err := c.conn.Read(c.buf[c.w:])
		if err != nil {
			return err
		}
		c.w += k
	}
	return nil
}
