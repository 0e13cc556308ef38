// Package pgarchive reads the head of pg_dump's archives, which is the header
// and the table of contents, and writes it as the toc.dat of a directory
// archive. With it, rows that somebody else copied become an archive that stock
// pg_restore reads.
//
// It knows the archive versions 1.12 to 1.16, which are PostgreSQL 9.0 to 18:
// 1.14 is what 12 to 15 write, 1.15 is 16, 1.16 is 17 and 18. Whatever is newer
// is [ErrVersion], because a field more or less would be read as nonsense.
//
// The format is described by its source alone: src/bin/pg_dump of PostgreSQL,
// ReadHead, ReadToc, WriteHead, WriteToc, ReadInt and ReadStr in
// pg_backup_archiver.c, _ReadExtraToc and _WriteExtraToc in pg_backup_custom.c
// and pg_backup_directory.c.
//
// It imports the standard library only, reads no rows and runs no programs.
package pgarchive

import (
	"errors"
	"fmt"
	"strings"
)

// Errors that callers branch on.
var (
	// ErrVersion says that the archive is of a version that isn't known here.
	ErrVersion = errors.New("unknown version of pg_dump's archive format")
	// ErrFormat says that it isn't the head of an archive, or damaged.
	ErrFormat = errors.New("not an archive of pg_dump, or damaged")
)

// Version is that of the archive format. Rev has been 0 since 2010.
type Version struct{ Major, Minor, Rev byte }

// String is how pg_restore -l writes it, "1.14-0".
func (v Version) String() string { return fmt.Sprintf("%d.%d-%d", v.Major, v.Minor, v.Rev) }

// The versions that are read and written.
const (
	oldest       = 12
	withTableAM  = 14 // entries have an access method
	withAlgoByte = 15 // the header has a compression algorithm, where it had a level
	withRelKind  = 16 // entries have a relkind
	newest       = 16
)

// Format codes of the header, ArchiveFormat in pg_backup.h. A directory's
// toc.dat says that it is a tar archive: the two have the same entries.
const (
	formatCustom = 1
	formatTar    = 3
)

// Section is when pg_restore deals with an entry.
type Section int

// The sections, teSection in pg_backup.h. Comments, privileges and security
// labels are in none: they follow what they belong to.
const (
	None Section = iota + 1
	PreData
	Data
	PostData
)

// Archive is the head of an archive: everything but the rows.
type Archive struct {
	Version       Version
	IntSize       int // bytes of an integer, without its sign byte
	OffSize       int // bytes of a file offset
	Compression   int // level before 1.15, algorithm since; 0 is none in both
	Created       Clock
	Database      string // name of the database
	ServerVersion string // of the server that was dumped, "15.18 (Debian 15.18-0+deb12u1)"
	DumpVersion   string // of pg_dump
	Entries       []Entry

	null nulls
}

// Clock is the local time when pg_dump ran, as a C struct tm has it: the month
// from 0, the year from 1900.
type Clock struct{ Second, Minute, Hour, Day, Month, Year, DST int }

// DumpMajor is the major version of the pg_dump that wrote the archive; 0 where
// it doesn't say.
func (a *Archive) DumpMajor() int {
	var major int
	_, _ = fmt.Sscanf(strings.TrimSpace(a.DumpVersion), "%d", &major) // "17devel" is 17
	return major
}

// Entry is one object of the table of contents, or its rows, comment or
// privileges. Texts that pg_dump left out (null) are empty here.
type Entry struct {
	ID         int    // pg_dump's dump ID; the names of data files are made of it
	HadDumper  bool   // there is data with it
	CatalogOID uint32 // the catalog that the object is in; 0: none
	OID        uint32 // of the object there. That of TABLE DATA is the table's
	Tag        string // the object's name, mostly
	Desc       string // what it is: "TABLE", "TABLE DATA", "INDEX", …
	Section    Section
	Defn       string // SQL that makes it
	Drop       string // SQL that drops it
	Copy       string // COPY … FROM stdin, of TABLE DATA
	Namespace  string // its schema
	Tablespace string
	TableAM    string // since 1.14
	RelKind    int    // since 1.16
	Owner      string
	WithOIDs   string // "false" since 12
	Deps       []int  // dump IDs of what must be there before
	File       string // where the data lies, in a directory archive

	null nulls
}

// nulls remembers, bit by bit, which of the empty texts were null, so that what
// was read is written again byte for byte.
type nulls uint16

// The texts of an entry that may be null, in their order.
const (
	nullTag nulls = 1 << iota
	nullDesc
	nullDefn
	nullDrop
	nullCopy
	nullNamespace
	nullTablespace
	nullTableAM
	nullOwner
	nullWithOIDs
	nullFile
)

// Those of the header.
const (
	nullDatabase nulls = 1 << iota
	nullServerVersion
	nullDumpVersion
)
