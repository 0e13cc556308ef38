package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/synapse-maint/synapse-maint/jobs/postgres/pgarchive"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// outline is a table of contents, sorted into what a load does one after the
// other. The IDs are pg_dump's dump IDs.
type outline struct {
	toc     []byte            // toc.dat, with roles renamed
	version int               // major of the pg_dump that wrote it
	entries []pgarchive.Entry // in the archive's order
	byID    map[int]*pgarchive.Entry
	pre     []int        // schema before the rows: one script
	build   []build      // indexes and constraints, each as soon as its table's rows are in
	post    []int        // all the rest: one script
	refresh []int        // materialized views to fill
	data    map[int]bool // TABLE DATA entries that are wanted
	skipped []string     // what a selection of tables leaves out though it concerns them
	partial bool         // only some tables are wanted
	chosen  []string     // these, as schema.name, with their partitions
	// unproved are the foreign keys that can't be validated, as tables that they
	// point to are left empty.
	unproved []string
}

// build is an index or constraint of one table.
type build struct {
	id         int
	table      int // dump ID of the TABLE DATA entry
	name       string
	sql        string
	tablespace string
	// alone: it takes a lock that other builds on the table would wait for, or
	// deadlock with. ADD CONSTRAINT does, and CREATE INDEX followed by an ALTER
	// TABLE (CLUSTER ON, REPLICA IDENTITY).
	alone bool
}

// renamed is a role of the dump that has another name on the server.
type renamed struct{ from, to string }

// newOutline reads a directory archive's toc.dat. only selects tables, as
// schema.name or name; none selects everything. The rows of the tables empty
// are missing on purpose.
func newOutline(toc []byte, only, empty []string, role renamed) (*outline, error) {
	a, err := pgarchive.Parse(toc)
	if err != nil {
		return nil, fmt.Errorf("read the table of contents: %w", err)
	}
	if role.to != "" && role.from != "" && role.to != role.from {
		renameRole(a, role)
		toc = a.Directory()
	}
	unproved, out := unprove(a.Entries, empty)
	if len(unproved) > 0 {
		toc = a.Directory()
	}
	o := &outline{toc: toc, unproved: unproved, version: a.DumpMajor(), entries: a.Entries, byID: map[int]*pgarchive.Entry{}, data: map[int]bool{}, partial: len(only) > 0}
	for i := range o.entries {
		o.byID[o.entries[i].ID] = &o.entries[i]
	}
	want, err := o.selected(only)
	if err != nil {
		return nil, err
	}
	o.sort(func(id int) bool { return want(id) && !out[id] })
	return o, nil
}

func unquote(name string) string {
	if len(name) > 1 && name[0] == '"' {
		return strings.ReplaceAll(name[1:len(name)-1], `""`, `"`)
	}
	return name
}

// sort puts every wanted entry into its phase. As pg_restore does it, an entry
// of no section (comments, privileges, security labels) belongs to the section
// of what precedes it.
func (o *outline) sort(want func(id int) bool) {
	section := pgarchive.PreData
	dataOf := o.tableData()
	for i := range o.entries {
		e := &o.entries[i]
		if e.Section != pgarchive.None {
			section = e.Section
		}
		if !want(e.ID) || special(e) {
			continue
		}
		switch {
		case e.Desc == "TABLE DATA":
			o.data[e.ID] = true
		case e.Desc == "MATERIALIZED VIEW DATA":
			o.refresh = append(o.refresh, e.ID)
		case section == pgarchive.PreData:
			o.pre = append(o.pre, e.ID)
		default:
			if b, ok := o.buildOf(e, dataOf); ok {
				o.build = append(o.build, b)
				continue
			}
			o.post = append(o.post, e.ID)
		}
	}
}

// special says whether the entry is a setting or the database itself, which
// pg_restore deals with without being told.
func special(e *pgarchive.Entry) bool {
	switch e.Desc {
	case "ENCODING", "STDSTRINGS", "SEARCHPATH", "DATABASE", "DATABASE PROPERTIES":
		return true
	}
	return (e.Desc == "COMMENT" || e.Desc == "ACL" || e.Desc == "SECURITY LABEL") && strings.HasPrefix(e.Tag, "DATABASE ")
}

// tableData maps TABLE entries to their TABLE DATA entries.
func (o *outline) tableData() map[int]int {
	type name struct{ schema, name string }
	tables := map[name]int{}
	for i := range o.entries {
		if e := &o.entries[i]; e.Desc == "TABLE" {
			tables[name{e.Namespace, e.Tag}] = e.ID
		}
	}
	data := map[int]int{}
	for i := range o.entries {
		if e := &o.entries[i]; e.Desc == "TABLE DATA" {
			if t, ok := tables[name{e.Namespace, e.Tag}]; ok {
				data[t] = e.ID
			}
		}
	}
	return data
}

// buildOf says whether an entry can be built as soon as one table's rows are
// in. Whatever hangs on more than that, as an index of a partitioned table
// does, is left to the script of the rest.
func (o *outline) buildOf(e *pgarchive.Entry, dataOf map[int]int) (build, bool) {
	if e.Desc != "INDEX" && e.Desc != "CONSTRAINT" {
		return build{}, false
	}
	var tables []int
	for _, d := range e.Deps {
		if t, ok := dataOf[d]; ok && !slices.Contains(tables, t) { // a column each: many times the same
			tables = append(tables, t)
		}
	}
	if len(tables) != 1 {
		return build{}, false
	}
	return build{
		id: e.ID, table: tables[0], name: e.Tag, sql: e.Defn, tablespace: e.Tablespace,
		alone: e.Desc == "CONSTRAINT" || strings.Contains(e.Defn, "ALTER TABLE"),
	}, true
}

// has says whether the archive has an object of the kind.
func (o *outline) has(desc string) bool {
	return slices.ContainsFunc(o.entries, func(e pgarchive.Entry) bool { return e.Desc == desc })
}

// unlogged says whether the archive has tables or sequences that a crash of the
// server empties.
func (o *outline) unlogged() bool {
	return slices.ContainsFunc(o.entries, func(e pgarchive.Entry) bool { return strings.HasPrefix(e.Defn, "CREATE UNLOGGED ") })
}

// list is a list file for pg_restore -L.
func list(ids []int) []byte {
	var b strings.Builder
	for _, id := range ids {
		fmt.Fprintf(&b, "%d;\n", id)
	}
	return []byte(b.String())
}

// rowless returns the tables that the archive has rows of, but the recovery
// point has not.
func (o *outline) rowless(tables []synapse.LoadTable) []string {
	have := map[int]bool{}
	for _, t := range tables {
		have[t.DumpID] = true
	}
	var missing []string
	for i := range o.entries {
		if e := &o.entries[i]; o.data[e.ID] && !have[e.ID] {
			missing = append(missing, e.Namespace+"."+e.Tag)
		}
	}
	slices.Sort(missing)
	return missing
}

// owns says whether the archive makes the table, so that its rows are all the
// archive's. Otherwise an extension makes it.
func (o *outline) owns(t synapse.Table) bool {
	for i := range o.entries {
		if e := &o.entries[i]; e.Desc == "TABLE" && e.Namespace == t.Schema && e.Tag == t.Name {
			return true
		}
	}
	return false
}

// brought lists the TABLE DATA entries of tables that the archive does not make:
// extensions bring them, with foreign keys and triggers that hold at once. The
// archive's order satisfies them.
func (o *outline) brought() []int {
	made := map[int]bool{}
	for _, data := range o.tableData() {
		made[data] = true
	}
	var ids []int
	for i := range o.entries {
		if e := &o.entries[i]; e.Desc == "TABLE DATA" && !made[e.ID] {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// synapseSchema is the schema that holds Synapse's tables; empty where the
// database is not Synapse's.
func (o *outline) synapseSchema() string {
	bySchema := map[string][]string{}
	for i := range o.entries {
		if e := &o.entries[i]; e.Desc == "TABLE" {
			bySchema[e.Namespace] = append(bySchema[e.Namespace], e.Tag)
		}
	}
	var found []string
	for schema, tables := range bySchema {
		if synapse.IsSynapse(tables) {
			found = append(found, schema)
		}
	}
	if len(found) == 0 {
		return ""
	}
	return slices.Min(found)
}
