package pgarchive

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
)

// maxHead bounds how many bytes of a head are read: about a thousand times what
// a database with a thousand tables has.
const maxHead = 1 << 30

// Parse reads a toc.dat, or the head of a custom archive.
func Parse(data []byte) (*Archive, error) { return Read(bytes.NewReader(data)) }

// Read reads the head of a custom archive (pg_dump -Fc), or a toc.dat. It reads
// a little further than that where r has more. What it allocates is bounded by
// what r gives, not by what lengths in it claim.
func Read(r io.Reader) (*Archive, error) {
	d := &decoder{r: bufio.NewReaderSize(io.LimitReader(r, maxHead), 64<<10)}
	a := &Archive{}
	d.head(a)
	count := d.int()
	for i := 0; d.err == nil && i < count; i++ {
		var e Entry
		d.entry(&e)
		a.Entries = append(a.Entries, e)
	}
	if d.err != nil {
		return nil, d.err
	}
	return a, nil
}

// decoder reads until the first error and gives zero values from there on.
type decoder struct {
	r       *bufio.Reader
	version Version
	intSize int
	offSize int
	format  byte
	pos     int64 // bytes read
	err     error
}

// head reads what WriteHead writes.
func (d *decoder) head(a *Archive) {
	if magic := d.bytes(5); d.err != nil || string(magic) != "PGDMP" {
		d.damaged("it doesn't begin with PGDMP")
		return
	}
	d.version = Version{d.byte(), d.byte(), d.byte()}
	if d.err == nil && (d.version.Major != 1 || d.version.Minor < oldest || d.version.Minor > newest) {
		d.err = fmt.Errorf("%w: %s", ErrVersion, d.version)
	}
	d.intSize, d.offSize, d.format = int(d.byte()), int(d.byte()), d.byte()
	switch {
	case d.intSize < 1 || d.intSize > 8 || d.offSize < 1 || d.offSize > 8:
		d.damaged("an integer has %d bytes and an offset %d", d.intSize, d.offSize)
	case d.format != formatCustom && d.format != formatTar:
		d.damaged("format code %d", d.format)
	}
	a.Version, a.IntSize, a.OffSize = d.version, d.intSize, d.offSize
	if d.version.Minor >= withAlgoByte {
		a.Compression = int(d.byte())
	} else {
		a.Compression = d.int()
	}
	a.Created = Clock{d.int(), d.int(), d.int(), d.int(), d.int(), d.int(), d.int()}
	a.Database = d.text(&a.null, nullDatabase)
	a.ServerVersion = d.text(&a.null, nullServerVersion)
	a.DumpVersion = d.text(&a.null, nullDumpVersion)
}

// entry reads what one turn of WriteToc's loop writes.
func (d *decoder) entry(e *Entry) {
	e.ID, e.HadDumper = d.int(), d.int() != 0
	e.CatalogOID, e.OID = d.oid(), d.oid()
	e.Tag = d.text(&e.null, nullTag)
	e.Desc = d.text(&e.null, nullDesc)
	e.Section = Section(d.int())
	e.Defn = d.text(&e.null, nullDefn)
	e.Drop = d.text(&e.null, nullDrop)
	e.Copy = d.text(&e.null, nullCopy)
	e.Namespace = d.text(&e.null, nullNamespace)
	e.Tablespace = d.text(&e.null, nullTablespace)
	if d.version.Minor >= withTableAM {
		e.TableAM = d.text(&e.null, nullTableAM)
	}
	if d.version.Minor >= withRelKind {
		e.RelKind = d.int()
	}
	e.Owner = d.text(&e.null, nullOwner)
	e.WithOIDs = d.text(&e.null, nullWithOIDs)
	e.Deps = d.deps()
	if d.format == formatCustom {
		d.bytes(1 + d.offSize) // whether there is data, and where: not known yet in a stream
	} else {
		e.File = d.text(&e.null, nullFile)
	}
	if d.err == nil && (e.ID <= 0 || e.Section < None || e.Section > PostData) {
		d.damaged("entry %d of section %d", e.ID, e.Section)
	}
}

// deps reads dump IDs, each a text, up to a null.
func (d *decoder) deps() []int {
	var list []int
	for d.err == nil {
		var null nulls
		s := d.text(&null, 1)
		if null != 0 {
			break
		}
		list = append(list, int(d.number(s, 31)))
	}
	return slices.Clip(list)
}

// oid reads an OID, which is a text.
func (d *decoder) oid() uint32 {
	var null nulls
	return uint32(d.number(d.text(&null, 1), 32)) //nolint:gosec // bounded by ParseUint
}

func (d *decoder) number(s string, bits int) uint64 {
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil && d.err == nil {
		d.damaged("%.20q where a number should be", s)
	}
	return n
}

// int reads a sign byte and the absolute value, least significant byte first.
func (d *decoder) int() int {
	b := d.bytes(1 + d.intSize)
	if d.err != nil {
		return 0
	}
	var v uint64
	for i, x := range b[1:] {
		v |= uint64(x) << (8 * i)
	}
	if v > math.MaxInt32 {
		d.damaged("integer %d", v)
		return 0
	}
	if b[0] != 0 {
		return -int(v)
	}
	return int(v)
}

// text reads a length and as many bytes; a negative length is null.
func (d *decoder) text(null *nulls, bit nulls) string {
	n := d.int()
	if n < 0 {
		*null |= bit
		return ""
	}
	return string(d.bytes(n))
}

func (d *decoder) byte() byte {
	if b := d.bytes(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

// bytes reads n bytes. A claim of many is believed as they come.
func (d *decoder) bytes(n int) []byte {
	if d.err != nil {
		return nil
	}
	var b []byte
	const trusted = 64 << 10
	if n <= trusted {
		b = make([]byte, n)
		var got int
		got, d.err = io.ReadFull(d.r, b)
		d.pos += int64(got)
	} else {
		var buf bytes.Buffer
		var got int64
		got, d.err = io.CopyN(&buf, d.r, int64(n))
		d.pos += got
		b = buf.Bytes()
	}
	if d.err == io.EOF || d.err == io.ErrUnexpectedEOF { //nolint:errorlint // as io returns them, unwrapped
		d.err = nil
		d.damaged("it ends there")
	}
	if d.err != nil {
		return nil
	}
	return b
}

func (d *decoder) damaged(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: at byte %d: %s", ErrFormat, d.pos, fmt.Sprintf(format, args...))
	}
}
