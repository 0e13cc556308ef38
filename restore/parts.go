package restore

import (
	"fmt"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// partBytes is from how many bytes of COPY text on a part is closed. Smaller
// parts cost a transaction each, larger ones make a killed load repeat more and
// leave workers idle at the end of a table. A run records the value it began
// with: parts are numbered, and a resumed load must cut them the same way.
const partBytes = 8 << 20

// part is consecutive blobs of a table that begin and end with a row: what is
// loaded in one transaction.
type part struct {
	synapse.Part
	blobs []archive.Blob
}

// split cuts a table into parts of about size bytes. Blobs whose last row goes
// on in the next one stay together, however long the row is.
func split(t archive.Table, size int64) ([]part, error) {
	var parts []part
	var now part
	var rows, bytes int64
	for _, b := range t.Blobs {
		now.blobs = append(now.blobs, b)
		now.Rows, now.Bytes = now.Rows+b.Rows, now.Bytes+b.Size
		rows, bytes = rows+b.Rows, bytes+b.Size
		if !b.Open && now.Bytes >= size {
			parts, now = append(parts, now), part{}
		}
	}
	if n := len(now.blobs); n > 0 {
		if now.blobs[n-1].Open {
			return nil, fmt.Errorf("table %s: its last row has no end in the recovery point", tableName(t))
		}
		parts = append(parts, now)
	}
	if rows != t.Rows || bytes != t.Bytes {
		return nil, fmt.Errorf("table %s: the recovery point promises %d rows in %d bytes, its blobs hold %d in %d",
			tableName(t), t.Rows, t.Bytes, rows, bytes)
	}
	return parts, nil
}

// shapes are the parts as the server's side knows them.
func shapes(parts []part) []synapse.Part {
	out := make([]synapse.Part, len(parts))
	for i, p := range parts {
		out[i] = p.Part
	}
	return out
}

// tableName is how tables are named in requests and messages.
func tableName(t archive.Table) string {
	return t.Schema + "." + t.Name
}
