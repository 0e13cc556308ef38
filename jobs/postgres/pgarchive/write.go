package pgarchive

import "strconv"

// TableData is the Desc of entries that have the rows of a table.
const TableData = "TABLE DATA"

// Directory returns the toc.dat of a directory archive whose data files are not
// compressed. The rows of an entry with HadDumper belong into the file
// [DataFile] of its ID, as COPY's text format followed by [Terminator].
func (a *Archive) Directory() []byte {
	e := &encoder{intSize: a.IntSize}
	e.head(a)
	e.int(len(a.Entries))
	for i := range a.Entries {
		e.entry(&a.Entries[i], a.Version)
	}
	return e.buf
}

// DataFile names an entry's data file in a directory archive.
func DataFile(id int) string { return strconv.Itoa(id) + ".dat" }

// Terminator ends the rows of a table in a directory archive's data file, as
// pg_dump writes it.
const Terminator = "\\.\n\n\n"

type encoder struct {
	buf     []byte
	intSize int
}

func (e *encoder) head(a *Archive) {
	e.buf = append(e.buf, "PGDMP"...)
	e.buf = append(e.buf, a.Version.Major, a.Version.Minor, a.Version.Rev, byte(a.IntSize), byte(a.OffSize), formatTar) //nolint:gosec // 1 to 8
	if a.Version.Minor >= withAlgoByte {
		e.buf = append(e.buf, 0)
	} else {
		e.int(0)
	}
	c := a.Created
	for _, v := range []int{c.Second, c.Minute, c.Hour, c.Day, c.Month, c.Year, c.DST} {
		e.int(v)
	}
	e.text(a.Database, a.null&nullDatabase)
	e.text(a.ServerVersion, a.null&nullServerVersion)
	e.text(a.DumpVersion, a.null&nullDumpVersion)
}

func (e *encoder) entry(t *Entry, v Version) {
	e.int(t.ID)
	had := 0
	if t.HadDumper {
		had = 1
	}
	e.int(had)
	e.text(strconv.FormatUint(uint64(t.CatalogOID), 10), 0)
	e.text(strconv.FormatUint(uint64(t.OID), 10), 0)
	e.text(t.Tag, t.null&nullTag)
	e.text(t.Desc, t.null&nullDesc)
	e.int(int(t.Section))
	e.text(t.Defn, t.null&nullDefn)
	e.text(t.Drop, t.null&nullDrop)
	e.text(t.Copy, t.null&nullCopy)
	e.text(t.Namespace, t.null&nullNamespace)
	e.text(t.Tablespace, t.null&nullTablespace)
	if v.Minor >= withTableAM {
		e.text(t.TableAM, t.null&nullTableAM)
	}
	if v.Minor >= withRelKind {
		e.int(t.RelKind)
	}
	e.text(t.Owner, t.null&nullOwner)
	e.text(t.WithOIDs, t.null&nullWithOIDs)
	for _, d := range t.Deps {
		e.text(strconv.Itoa(d), 0)
	}
	e.int(-1) // the null that ends the list
	e.text(t.file(), t.null&nullFile)
}

// file is where the entry's data lies.
func (t *Entry) file() string {
	if t.File == "" && t.HadDumper {
		return DataFile(t.ID)
	}
	return t.File
}

// int writes a sign byte and the absolute value, least significant byte first.
func (e *encoder) int(v int) {
	var sign byte
	if v < 0 {
		sign, v = 1, -v
	}
	e.buf = append(e.buf, sign)
	for range e.intSize {
		e.buf = append(e.buf, byte(v))
		v >>= 8
	}
}

// text writes a length and the bytes. null makes an empty text a null.
func (e *encoder) text(s string, null nulls) {
	if s == "" && null != 0 {
		e.int(-1)
		return
	}
	e.int(len(s))
	e.buf = append(e.buf, s...)
}
