// Package synapse has the nouns of a homeserver, as the procedures share them
// with the adapters that do the work (PostgreSQL, Kubernetes), and what is
// known of Synapse itself: the tables to leave out, the checks after a restore.
//
// It imports the standard library only and does nothing by itself.
package synapse

import "time"

// Database describes a PostgreSQL database at the instant of a snapshot.
type Database struct {
	Name     string `json:"name"`
	Owner    string `json:"owner"`
	Version  int    `json:"version"`          // server_version_num: 150018 is 15.18
	Encoding string `json:"encoding"`         // UTF8
	Collate  string `json:"collate"`          // LC_COLLATE
	CType    string `json:"ctype"`            // LC_CTYPE
	Provider string `json:"provider"`         // libc, icu or builtin
	Locale   string `json:"locale,omitempty"` // of the icu or builtin provider
	Rules    string `json:"rules,omitempty"`  // of the icu provider, which change the order of its locale
	LSN      string `json:"lsn"`              // WAL position of the snapshot
	Size     int64  `json:"size"`             // bytes on the server's disk, indexes included

	Tablespace string `json:"tablespace,omitempty"` // that the database lies in; empty: pg_default
	Comment    string `json:"comment,omitempty"`    // of the database, without what a restore has noted there

	ConnectionLimit int       `json:"connection_limit"` // -1 is none
	Settings        []Setting `json:"settings,omitempty"`
	Grants          []string  `json:"grants,omitempty"` // aclitem texts of the database; nil is the default

	Schema *Schema `json:"schema,omitempty"` // nil where it is not Synapse's
	// Emptied are tables whose rows were left out on purpose, as schema.name.
	Emptied []string  `json:"emptied,omitempty"`
	Taken   time.Time `json:"taken"` // when the snapshot was taken, by our clock
}

// Setting is one ALTER DATABASE … SET, for one role or all.
type Setting struct {
	Role  string `json:"role,omitempty"` // empty: every role
	Name  string `json:"name"`
	Value string `json:"value"`
}

// String is the setting's name, without its value: some keep secrets there.
func (s Setting) String() string {
	if s.Role != "" {
		return s.Name + " of role " + s.Role
	}
	return s.Name
}

// Schema is Synapse's own version of its database.
type Schema struct {
	Version int `json:"version"`        // schema_version.version
	Compat  int `json:"compat_version"` // schema_compat_version.compat_version
}

// Table is a table whose rows a recovery point holds.
type Table struct {
	DumpID int    `json:"dump_id"` // of its TABLE DATA entry in pg_dump's table of contents
	Schema string `json:"schema"`
	Name   string `json:"name"`
	Copy   string `json:"copy"`  // the COPY … FROM stdin statement of that entry, as pg_dump wrote it
	Pages  int64  `json:"pages"` // of 8 KiB, of its heap, when the snapshot was taken
}

// Range is a piece of a table: the rows on pages Lo ≤ page < Hi of its heap.
// Hi 0 is to the end of the table; with Lo 0, that is the whole table.
type Range struct {
	Table int // index into the snapshot's tables
	Lo    int64
	Hi    int64
}

// Chunk is a run of bytes of COPY's text format, as a range yields them.
type Chunk struct {
	Data []byte // valid until the call that got it returns
	Rows int64  // rows that end in it
	Open bool   // its last row goes on in the next chunk of the same range
}

// Part is what is loaded in one transaction: consecutive chunks of a table that
// begin and end with a row.
type Part struct {
	Rows  int64
	Bytes int64 // of COPY text
}
