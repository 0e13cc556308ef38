package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// collected are chunks, kept.
type collected struct {
	data []string
	rows []int64
	open []bool
}

func (c *collected) emit(k synapse.Chunk) error {
	c.data, c.rows, c.open = append(c.data, string(k.Data)), append(c.rows, k.Rows), append(c.open, k.Open)
	return nil
}

func (c *collected) String() string {
	var b strings.Builder
	for i, d := range c.data {
		fmt.Fprintf(&b, "%q %d", d, c.rows[i])
		if c.open[i] {
			b.WriteString(" open")
		}
		b.WriteString("; ")
	}
	return strings.TrimSuffix(b.String(), "; ")
}

func TestCutterCutsBetweenRows(t *testing.T) {
	for _, c := range []struct {
		name string
		rows []string
		want string
	}{
		{"none", nil, ``},
		{"all fit", []string{"aaa\n", "bbb\n"}, `"aaa\nbbb\n" 2`},
		{"exactly", []string{"aaa\n", "bbbbb\n"}, `"aaa\nbbbbb\n" 2`},
		{"one too many", []string{"aaa\n", "bbb\n", "ccc\n"}, `"aaa\nbbb\n" 2; "ccc\n" 1`},
		{"a long one alone", []string{"0123456789012345678901234\n"}, `"0123456789" 0 open; "0123456789" 0 open; "01234\n" 1`},
		{"a long one between", []string{"aa\n", "0123456789abc\n", "bb\n"}, `"aa\n" 1; "0123456789" 0 open; "abc\nbb\n" 2`},
		{"a long one that fills chunks", []string{"0123456789abcdefghi\n", "b\n"}, `"0123456789" 0 open; "abcdefghi\n" 1; "b\n" 1`},
		{"rows without columns", []string{"\n", "\n", "\n"}, `"\n\n\n" 3`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got collected
			k := &cutter{max: 10, emit: got.emit}
			for _, r := range c.rows {
				if err := k.add([]byte(r)); err != nil {
					t.Fatal(err)
				}
			}
			if err := k.flush(); err != nil {
				t.Fatal(err)
			}
			if got.String() != c.want {
				t.Errorf("got %s", &got)
			}
			if int(k.total) != len(c.rows) || k.mid {
				t.Errorf("%d rows, within one: %v", k.total, k.mid)
			}
		})
	}
}

// talk plays a server that answers a statement with these bytes, cut at random
// into packets.
func talk(t *testing.T, answer []byte, c *cutter) (int64, error) {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	go func() {
		defer server.Close()
		if _, err := server.Read(make([]byte, 1024)); err != nil {
			return
		}
		for rest := answer; len(rest) > 0; {
			n := min(len(rest), 1+rand.IntN(3000)) //nolint:gosec // where packets end
			if _, err := server.Write(rest[:n]); err != nil {
				return
			}
			rest = rest[n:]
		}
	}()
	raw := &gulpConn{Conn: client}
	w := &copier{raw: raw, conn: raw, wire: wire{conn: raw, buf: make([]byte, 256)}}
	return w.run(t.Context(), "COPY", c)
}

func message(kind byte, body string) []byte {
	m := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4)) //nolint:gosec // short
	return append(m, body...)
}

// Rows far longer than the buffers, and such as end exactly where one does,
// come out as they went in, cut in the same places however they arrive.
func TestRowsOfAllLengthsPassUnchanged(t *testing.T) {
	var rows []string
	for n := range 400 {
		rows = append(rows, strings.Repeat(string(rune('a'+n%26)), n)+"\n")
	}
	for _, n := range []int{5000, 999, 1000, 1001, 20000} {
		rows = append(rows, strings.Repeat("x", n)+"\n")
	}
	answer := message('H', "\x00\x00\x01\x00\x00")
	for i, r := range rows {
		answer = append(answer, message('d', r)...)
		if i%50 == 0 {
			answer = append(answer, message('N', "SNOTICE\x00\x00")...)
		}
	}
	answer = append(answer, message('c', "")...)
	answer = append(answer, message('C', fmt.Sprintf("COPY %d\x00", len(rows)))...)
	answer = append(answer, message('Z', "T")...)
	var first string
	for range 20 {
		var got collected
		c := &cutter{max: 1000, emit: got.emit}
		n, err := talk(t, answer, c)
		if err != nil || int(n) != len(rows) || c.total != n {
			t.Fatalf("%d rows, %d counted: %v", n, c.total, err)
		}
		if err := c.flush(); err != nil {
			t.Fatal(err)
		}
		if strings.Join(got.data, "") != strings.Join(rows, "") {
			t.Fatal("the bytes differ")
		}
		if first == "" {
			first = got.String()
		}
		if got.String() != first {
			t.Fatal("cut in other places than before")
		}
	}
}

func TestServersThatMisbehaveAreErrors(t *testing.T) {
	row := string(message('d', "a\n"))
	fatal := message('E', "SFATAL\x00VFATAL\x00C57P01\x00Mterminating\x00\x00")
	for _, c := range []struct {
		name, answer, want string
	}{
		{"cut within a row", "d\x00\x00\x00\xffabc", "EOF"},
		{"no end", row, "EOF"},
		{"negative length", "d\x00\x00\x00\x01", "length -3"},
		{"huge message", "C\x7f\xff\xff\xff", "2147483643 bytes"},
		{"unknown kind", string(message('?', "")), "unexpected kind"},
		{"binary", string(message('H', "\x01\x00\x00")), "binary"},
		{"no number", string(message('C', "COPY x\x00")), "COPY \"x\""},
		{"error", string(fatal), "EOF"},
		{"error and ready", string(fatal) + string(message('Z', "E")), "terminating"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := talk(t, []byte(c.answer), &cutter{max: 10, emit: (&collected{}).emit})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func FuzzWire(f *testing.F) {
	f.Add([]byte("d\x00\x00\x00\x06a\nC\x00\x00\x00\x0bCOPY 1\x00Z\x00\x00\x00\x05T"))
	f.Add([]byte("E\x00\x00\x00\x08SERR\x00"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		raw := &gulpConn{Conn: canned{Reader: bytes.NewReader(answer)}}
		w := &copier{raw: raw, conn: raw, wire: wire{conn: raw, buf: make([]byte, 64)}}
		var got collected
		_, err := w.run(t.Context(), "x", &cutter{max: 100, emit: got.emit})
		for _, d := range got.data {
			if len(d) == 0 || len(d) > 100 {
				t.Fatalf("a chunk of %d bytes (%v)", len(d), err)
			}
		}
	})
}

// canned is a connection that has all its bytes already.
type canned struct {
	net.Conn
	*bytes.Reader
}

func (c canned) Read(p []byte) (int, error)      { return c.Reader.Read(p) }
func (c canned) Write(p []byte) (int, error)     { return len(p), nil }
func (c canned) SetReadDeadline(time.Time) error { return nil }
