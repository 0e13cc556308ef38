package postgres

import (
	"fmt"
	"strings"

	"github.com/synapse-maint/synapse-maint/jobs/postgres/pgarchive"
)

// selected says which entries a selection of tables needs: the tables, what
// they are made of (schemas, types, functions, sequences, extensions), their
// rows, and what belongs to them (defaults, indexes, constraints, triggers,
// policies, privileges, comments) as far as it does not need another table.
func (o *outline) selected(only []string) (func(id int) bool, error) {
	if len(only) == 0 {
		return func(int) bool { return true }, nil
	}
	p := picker{byID: o.byID, schemas: map[string]int{}, in: map[int]bool{}}
	for i := range o.entries {
		e := &o.entries[i]
		if e.Desc == "SCHEMA" {
			p.schemas[e.Tag] = e.ID
		}
	}
	for _, name := range only {
		if err := p.table(o.entries, name); err != nil {
			return nil, err
		}
	}
	for _, a := range attached(o.entries) { // pg_dump attaches in order: above, then below
		p.partition(a)
	}
	for more := true; more; {
		more = false
		for i := range o.entries {
			more = p.attach(&o.entries[i]) || more
		}
	}
	o.skipped, o.chosen = p.skipped(o.entries), p.chosen(o.entries)
	return func(id int) bool { return p.in[id] }, nil
}

// picker collects what a selection needs.
type picker struct {
	byID    map[int]*pgarchive.Entry
	schemas map[string]int
	in      map[int]bool
}

// table takes a table, with its rows, by its name.
func (p picker) table(entries []pgarchive.Entry, name string) error {
	found := false
	var all []string
	for i := range entries {
		e := &entries[i]
		if e.Desc != "TABLE" && e.Desc != "TABLE DATA" {
			continue
		}
		if e.Tag == name || e.Namespace+"."+e.Tag == name {
			found = true
			p.add(e.ID)
		}
		all = append(all, e.Tag, e.Namespace+"."+e.Tag)
	}
	if found {
		return nil
	}
	hint := ""
	if len(all) > 0 {
		if near := nearest(name, all); near != "" {
			hint = "; did you mean " + near + "?"
		}
	}
	return fmt.Errorf("no table %s in the recovery point%s", name, hint)
}

// partition takes a partition of a table that was taken, with its rows.
func (p picker) partition(a attachment) {
	if !p.in[a.parent.ID] || p.in[a.child.ID] {
		return
	}
	p.add(a.child.ID)
	for id, e := range p.byID {
		if e.Desc == "TABLE DATA" && e.Tag == a.child.Tag && e.Namespace == a.child.Namespace {
			p.add(id)
		}
	}
}

// chosen names the tables that were taken.
func (p picker) chosen(entries []pgarchive.Entry) []string {
	var out []string
	for i := range entries {
		if e := &entries[i]; p.in[e.ID] && e.Desc == "TABLE" {
			out = append(out, e.Namespace+"."+e.Tag)
		}
	}
	return out
}

// add takes an entry and all that it depends on.
func (p picker) add(id int) {
	e := p.byID[id]
	if e == nil || p.in[id] {
		return
	}
	p.in[id] = true
	if s, ok := p.schemas[e.Namespace]; ok {
		p.add(s)
	}
	for _, d := range e.Deps {
		p.add(d)
	}
}

// attach takes an entry that belongs to what was taken, if that does not bring
// in another table.
func (p picker) attach(e *pgarchive.Entry) bool {
	if p.in[e.ID] || !p.belongs(e) || p.foreign(e.ID, map[int]bool{}) {
		return false
	}
	p.add(e.ID)
	return true
}

func (p picker) belongs(e *pgarchive.Entry) bool {
	switch e.Desc {
	case "DEFAULT", "SEQUENCE", "SEQUENCE OWNED BY", "SEQUENCE SET", "INDEX", "CONSTRAINT", "CHECK CONSTRAINT", "FK CONSTRAINT",
		"TRIGGER", "RULE", "POLICY", "ROW SECURITY", "STATISTICS", "COMMENT", "ACL", "SECURITY LABEL", "INDEX ATTACH", "TABLE ATTACH":
	default:
		return false
	}
	for _, d := range e.Deps {
		if p.in[d] && p.byID[d].Desc != "SCHEMA" {
			return true
		}
	}
	return false
}

// foreign says whether the entry needs a table or view that was not taken.
func (p picker) foreign(id int, seen map[int]bool) bool {
	e := p.byID[id]
	if e == nil || p.in[id] || seen[id] {
		return false
	}
	seen[id] = true
	switch e.Desc {
	case "TABLE", "VIEW", "MATERIALIZED VIEW", "FOREIGN TABLE":
		return true
	}
	for _, d := range e.Deps {
		if p.foreign(d, seen) {
			return true
		}
	}
	return false
}

// skipped names the foreign keys and the like that were left out.
func (p picker) skipped(entries []pgarchive.Entry) []string {
	var out []string
	for i := range entries {
		if e := &entries[i]; !p.in[e.ID] && p.belongs(e) && e.Desc != "COMMENT" && e.Desc != "ACL" {
			out = append(out, strings.ToLower(e.Desc)+" "+e.Tag)
		}
	}
	return out
}
