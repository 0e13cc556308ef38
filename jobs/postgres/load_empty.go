package postgres

import (
	"regexp"
	"slices"
	"strings"

	"github.com/synapse-maint/synapse-maint/jobs/postgres/pgarchive"
)

// pointsTo finds the table that a foreign key points to, as pg_dump writes it:
// always with its schema, and quoted where it must be.
var pointsTo = regexp.MustCompile(`\bREFERENCES ("(?:[^"]|"")+"|[\p{L}_][\p{L}\p{N}_$]*)\.("(?:[^"]|"")+"|[\p{L}_][\p{L}\p{N}_$]*)\s*\(`)

// unprove makes foreign keys NOT VALID that point to tables which are left
// empty: they hold for what is written from then on, and can be validated when
// the rows are there again. Of a partitioned table PostgreSQL has no such keys
// before version 18: they are left out. It returns the keys' names, and the IDs
// of those that are left out.
func unprove(entries []pgarchive.Entry, empty []string) (names []string, out map[int]bool) {
	out = map[int]bool{}
	if len(empty) == 0 {
		return nil, out
	}
	empty = withParents(entries, empty)
	for i := range entries {
		e := &entries[i]
		m := pointsTo.FindStringSubmatch(e.Defn)
		if e.Desc != "FK CONSTRAINT" || m == nil || !slices.Contains(empty, unquote(m[1])+"."+unquote(m[2])) {
			continue
		}
		table, key, _ := strings.Cut(e.Tag, " ")
		name := key + " of " + e.Namespace + "." + table
		switch {
		case strings.Contains(e.Defn, "NOT VALID"):
		case !strings.HasPrefix(e.Defn, "ALTER TABLE ONLY "):
			out[e.ID] = true
			names = append(names, name+" (left out)")
		default:
			e.Defn = strings.TrimRight(strings.TrimRight(e.Defn, "\n"), ";") + " NOT VALID;\n"
			names = append(names, name+" (NOT VALID)")
		}
	}
	return names, out
}

// withParents adds the partitioned tables that have one of the tables as a
// partition.
func withParents(entries []pgarchive.Entry, tables []string) []string {
	all := slices.Clone(tables)
	for i := 0; i < len(all); i++ {
		for _, a := range attached(entries) {
			if a.child.Namespace+"."+a.child.Tag == all[i] {
				all = append(all, a.parent.Namespace+"."+a.parent.Tag)
			}
		}
	}
	return all
}

// attachment says of which table another is a partition.
type attachment struct{ parent, child *pgarchive.Entry }

// attached lists the partitions. The entry that attaches one bears its name, and
// depends on both tables.
func attached(entries []pgarchive.Entry) []attachment {
	tables := map[int]*pgarchive.Entry{}
	for i := range entries {
		if d := entries[i].Desc; d == "TABLE" || d == "FOREIGN TABLE" {
			tables[entries[i].ID] = &entries[i]
		}
	}
	var all []attachment
	for i := range entries {
		e := &entries[i]
		if e.Desc != "TABLE ATTACH" {
			continue
		}
		var a attachment
		for _, d := range e.Deps {
			switch t := tables[d]; {
			case t == nil:
			case t.Tag == e.Tag && t.Namespace == e.Namespace:
				a.child = t
			default:
				a.parent = t
			}
		}
		if a.child != nil && a.parent != nil {
			all = append(all, a)
		}
	}
	return all
}
