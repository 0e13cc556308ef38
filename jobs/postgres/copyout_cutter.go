package postgres

import "github.com/synapse-maint/synapse-maint/jobs/synapse"

// cutter makes chunks of rows. Where it cuts depends on the rows alone, not on
// how they arrive: before the row that does not fit, or, if that is longer than
// a chunk, after every max bytes of it.
type cutter struct {
	buf   []byte
	max   int
	emit  func(synapse.Chunk) error
	rows  int64 // that end in buf
	total int64
	mid   bool // buf ends within a row
}

// Write implements [io.Writer]: p is a CopyData message. The server sends a row
// in each.
func (c *cutter) Write(p []byte) (int, error) { return len(p), c.add(p) }

// add takes a row, or a piece of one that something on the way has cut.
func (c *cutter) add(row []byte) error {
	if len(row) == 0 {
		return nil
	}
	if len(c.buf)+len(row) > cap(c.buf) || len(c.buf)+len(row) > c.max {
		return c.addSlowly(row)
	}
	c.buf = append(c.buf, row...)
	c.end()
	return nil
}

func (c *cutter) addSlowly(row []byte) error {
	if err := c.open(len(row)); err != nil {
		return err
	}
	for len(row) > 0 {
		space, err := c.space(len(row))
		if err != nil {
			return err
		}
		n := copy(space, row)
		c.filled(n)
		row = row[n:]
	}
	c.end()
	return nil
}

// open begins a row of n bytes.
func (c *cutter) open(n int) error {
	if len(c.buf)+n > c.max && len(c.buf) > 0 && !c.mid {
		return c.flush()
	}
	return nil
}

// space is where the next bytes of the row go, at most n.
func (c *cutter) space(n int) ([]byte, error) {
	if len(c.buf) == c.max {
		c.mid = true
		if err := c.flush(); err != nil {
			return nil, err
		}
	}
	n = min(n, c.max-len(c.buf))
	if len(c.buf)+n > cap(c.buf) {
		grown := make([]byte, len(c.buf), min(c.max, max(1<<20, 2*cap(c.buf), len(c.buf)+n)))
		copy(grown, c.buf)
		c.buf = grown
	}
	return c.buf[len(c.buf) : len(c.buf)+n], nil
}

// filled says that n bytes of the space have been written.
func (c *cutter) filled(n int) { c.buf = c.buf[:len(c.buf)+n] }

// end ends a message: it is the end of a row if it ends as one. In COPY's text
// format no other byte of a row is a line feed.
func (c *cutter) end() {
	if n := len(c.buf); n > 0 && c.buf[n-1] == '\n' {
		c.rows++
		c.total++
		c.mid = false
		return
	}
	c.mid = true
}

// flush emits what there is.
func (c *cutter) flush() error {
	if len(c.buf) == 0 {
		return nil
	}
	err := c.emit(synapse.Chunk{Data: c.buf, Rows: c.rows, Open: c.mid})
	c.buf, c.rows = c.buf[:0], 0
	if err != nil {
		return &takerError{err}
	}
	return nil
}

// takerError is an error of whoever takes the chunks. It comes back through the
// connection's own code, and must not be taken for one of the connection's: a
// full disk or a store's network looks like it.
type takerError struct{ error }

func (e *takerError) Unwrap() error { return e.error }
