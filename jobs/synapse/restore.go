package synapse

import (
	"context"
	"time"
)

// Mode says how a database comes back.
type Mode string

// The modes. Stored data.
const (
	ModeSwap    Mode = "swap"     // load beside the live database, then rename
	ModeInPlace Mode = "in-place" // load into the live database's own name, which must be absent or empty
	ModeBeside  Mode = "beside"   // load into a named database and touch nothing else
)

// Request is what a restore wants to do to a server: what an inspection needs
// to know to say whether it can work.
type Request struct {
	Run    string // the restore's run; a database marked with it is its own
	Mode   Mode
	Live   string // name of the live database (swap, in-place); may be absent
	Target string // name of the database that is loaded
	Owner  string // role to own the target; empty: the live database's owner, else the dump's

	Dump      Database // as the recovery point has it
	TOC       []byte   // toc.dat of a directory archive; empty for a stream
	Only      []string // tables to load, as schema.name or name; empty: everything
	NeedBytes int64    // free space the target will need; 0: the dump's Size
	Terminate bool     // sessions on the live database may be ended
}

// Inspection is what a server says about a [Request]. Nothing was touched.
type Inspection struct {
	ServerVersion int    `json:"server_version"` // server_version_num
	Server        string `json:"server"`         // host:port or socket folder
	User          string `json:"user"`

	LiveExists   bool     `json:"live_exists"`
	LiveOID      uint32   `json:"live_oid,omitempty"`
	LiveSize     int64    `json:"live_size,omitempty"` // bytes
	LiveOwner    string   `json:"live_owner,omitempty"`
	TargetExists bool     `json:"target_exists"`
	TargetEmpty  bool     `json:"target_empty"`       // also true where it is this run's own, half loaded
	TargetOurs   bool     `json:"target_ours"`        // it bears this run's mark
	Contents     []string `json:"contents,omitempty"` // some of what is in a target that is not empty

	Sessions  []Session `json:"sessions,omitempty"` // on the live database
	FreeBytes int64     `json:"free_bytes"`         // on the disk of the server's data; -1: unknown
	NeedBytes int64     `json:"need_bytes"`
	Newer     Newer     `json:"newer"`
	Tables    []string  `json:"tables,omitempty"` // of a request for some: all that it takes, as schema.name, partitions included

	Problems []string `json:"problems,omitempty"` // each refuses the restore: one line, with what to do
	Warnings []string `json:"warnings,omitempty"`
}

// Session is a connection to a database.
type Session struct {
	Application string `json:"application"`
	User        string `json:"user"`
	Address     string `json:"address"` // empty: a local socket
	Count       int    `json:"count"`
	Synapse     bool   `json:"synapse"` // it looks like Synapse's own
}

// Newer is what the live database has that is newer than a recovery point, and
// that a restore loses.
type Newer struct {
	Known    bool      `json:"known"`              // false: there is no live database, or it did not say
	Events   int64     `json:"events"`             // received since
	Users    int64     `json:"users"`              // registered since
	Devices  int64     `json:"devices"`            // last seen since, so that were used
	Media    int64     `json:"media"`              // uploaded here since
	LastSeen time.Time `json:"last_seen,omitzero"` // when the newest event was received
}

// LoadRequest is what to load into a database that is new, empty, or this run's
// own, half loaded.
type LoadRequest struct {
	Run      string
	Database string // name
	Dump     Database
	TOC      []byte      // toc.dat of a directory archive; empty where Stream is set
	Tables   []LoadTable // with their parts; tables of the TOC that are not here are a Finding
	Only     []string    // schema.name or name; empty: everything
	Empty    []string    // schema.name of tables that are left without their rows: foreign keys that point there are not validated
	Owner    string      // role that gets everything the dump's owner had; empty: the dump's own

	// Fetch yields the bytes of one part of a table, in order. A yielded slice
	// is valid until yield returns. It is called from several goroutines, and may
	// wait for others that have yielded to end: of two parts that are needed one
	// after the other, the second is asked for when the first has yielded.
	Fetch func(ctx context.Context, table, part int, yield func([]byte) error) error
	// Stream yields a whole custom-format archive of pg_dump; nil where the
	// tables are loaded one by one.
	Stream func(ctx context.Context, yield func([]byte) error) error
	// SchemaOnly leaves out all rows of a stream.
	SchemaOnly bool

	Jobs       int                     // 0: as many as CPUs
	KeepOTK    bool                    // leave the rows of [OneTimeKeysTable], where the dump has them
	OnProgress func(done, total int64) // bytes of COPY text; called from several goroutines; may be nil
}

// LoadTable is a table to load and what it is cut into.
type LoadTable struct {
	Table
	Rows  int64 // of all parts
	Parts []Part
}

// LoadReport is what a load did, all its attempts together where the database
// keeps that, and what was found wrong with the result.
type LoadReport struct {
	OID     uint32 `json:"oid"` // of the database; a stream that is begun again gets a new one
	Rows    int64  `json:"rows"`
	Bytes   int64  `json:"bytes"`   // of COPY text
	Resumed int64  `json:"resumed"` // bytes of it that an earlier attempt had loaded
	Tables  int    `json:"tables"`
	Indexes int    `json:"indexes"` // indexes and constraints built
	// Unproved are the foreign keys that are not valid, or were left out, because
	// they point to tables that were left empty.
	Unproved []string  `json:"unproved,omitempty"`
	Phases   []Phase   `json:"phases"`
	Findings []Finding `json:"findings"`
}

// Phase is how long a part of a load took. Rows and indexes overlap.
type Phase struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// Finding is the result of one check of a loaded database.
type Finding struct {
	Name    string `json:"name"`
	OK      bool   `json:"ok"`
	Serious bool   `json:"serious"` // if not OK, the database must not go live
	Detail  string `json:"detail"`  // one line
}

// Bad returns the findings that must stop a swap.
func (r LoadReport) Bad() []Finding {
	var bad []Finding
	for _, f := range r.Findings {
		if !f.OK && f.Serious {
			bad = append(bad, f)
		}
	}
	return bad
}

// SwapRequest asks to put a loaded database in the place of the live one.
type SwapRequest struct {
	Run       string
	Live      string // name
	New       string // name of the loaded database
	NewOID    uint32 // its OID; names move, OIDs don't
	OldOID    uint32 // OID of the live database as planned; 0: whatever bears the name. A resume passes what the first attempt journalled
	Terminate bool   // end the sessions on the live database; else refuse while there are any
}

// Swap is a swap that was done, with all that is needed to undo it. Stored data
// (a step's note).
type Swap struct {
	Run     string `json:"run"`
	Live    string `json:"live"`     // name that was swapped
	NewOID  uint32 `json:"new_oid"`  // the database that now bears it
	NewName string `json:"new_name"` // what it was called before, and is again after an undo
	OldOID  uint32 `json:"old_oid"`  // the database that bore it; 0: there was none
	OldName string `json:"old_name"` // what that is called now
}
