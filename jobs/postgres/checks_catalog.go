package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// userSchemas is true of the schemas that a dump can have objects in.
const userSchemas = `n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', '` + bookkeeping + `')`

// objectKind is a kind of object that the table of contents lists by one entry
// each, and a query that counts the catalog's. There may be more than the
// archive has entries (a CHECK within its table has none), never fewer.
type objectKind struct {
	name  string
	descs []string
	count string
}

var objectKinds = []objectKind{
	{"tables", []string{"TABLE"}, countRelations("'r', 'p'")},
	{"views", []string{"VIEW", "MATERIALIZED VIEW"}, countRelations("'v', 'm'")},
	{"foreign tables", []string{"FOREIGN TABLE"}, countRelations("'f'")},
	{"sequences", []string{"SEQUENCE"}, countRelations("'S'")},
	{"functions", []string{"FUNCTION", "PROCEDURE", "AGGREGATE"}, "SELECT count(*) FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE " + userSchemas + " AND " + ofNoExtension("pg_proc", "p")},
	{"indexes", []string{"INDEX"}, countRelations("'i', 'I'") + " AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x'))"},
	// Each kind of constraints for itself: the many CHECKs that have no entry
	// would make up for a key that is not there.
	{"primary keys and unique constraints", []string{"CONSTRAINT"}, countConstraints("k.contype IN ('p', 'u', 'x') OR k.contype = 'n' AND NOT k.convalidated")},
	{"foreign keys", []string{"FK CONSTRAINT"}, countConstraints("k.contype = 'f' AND k.conparentid = 0")},
	{"check constraints", []string{"CHECK CONSTRAINT"}, countConstraints("k.contype = 'c'")},
	{"triggers", []string{"TRIGGER"}, "SELECT count(*) FROM pg_catalog.pg_trigger WHERE NOT tgisinternal"},
	{"policies", []string{"POLICY"}, "SELECT count(*) FROM pg_catalog.pg_policy"},
}

func countRelations(kinds string) string {
	return "SELECT count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN (" + kinds + ") AND " + userSchemas + " AND " + ofNoExtension("pg_class", "c")
}

func countConstraints(which string) string {
	return "SELECT count(*) FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_namespace n ON n.oid = k.connamespace WHERE (" + which + ") AND " + userSchemas
}

// ofNoExtension is true of objects that no extension made: those have no entry,
// and pg_trgm alone has functions enough to make up for all that are missing.
func ofNoExtension(catalog, alias string) string {
	return "NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog." + catalog + "'::pg_catalog.regclass AND d.objid = " + alias + ".oid AND d.deptype = 'e')"
}

// objectQuestions ask whether every object of the archive is there.
func (l *load) objectQuestions() []question {
	wanted := map[string]int{}
	for _, ids := range [][]int{l.toc.pre, l.toc.post} {
		for _, id := range ids {
			wanted[l.toc.byID[id].Desc]++
		}
	}
	for _, b := range l.toc.build {
		wanted[l.toc.byID[b.id].Desc]++
	}
	var qs []question
	for _, k := range objectKinds {
		want := 0
		for _, d := range k.descs {
			want += wanted[d]
		}
		if want > 0 {
			qs = append(qs, question{ask: atLeast(k, want)})
		}
	}
	return qs
}

func atLeast(k objectKind, want int) func(context.Context, *pgx.Conn) (synapse.Finding, error) {
	return func(ctx context.Context, c *pgx.Conn) (synapse.Finding, error) {
		var got int
		if err := c.QueryRow(ctx, k.count).Scan(&got); err != nil {
			return synapse.Finding{}, fmt.Errorf("count the %s: %w", k.name, err)
		}
		return synapse.Finding{
			Name: "number of " + k.name, OK: got >= want, Serious: true,
			Detail: fmt.Sprintf("%d there, %d in the recovery point", got, want),
		}, nil
	}
}

// names collects the first column of a query, as one line.
func names(ctx context.Context, c *pgx.Conn, sql string) ([]string, error) {
	rows, err := c.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// invalidIndexes finds indexes that no query uses. A partitioned index may be
// so in the source: until every partition has one.
func invalidIndexes(ctx context.Context, c *pgx.Conn) (synapse.Finding, error) {
	f := synapse.Finding{Name: "indexes are valid", Serious: true}
	bad, err := names(ctx, c, `SELECT i.indexrelid::pg_catalog.regclass::text FROM pg_catalog.pg_index i
		JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid WHERE NOT i.indisvalid AND c.relkind = 'i' ORDER BY 1 LIMIT 20`)
	if err != nil {
		return f, fmt.Errorf("look for invalid indexes: %w", err)
	}
	f.OK, f.Detail = len(bad) == 0, "every index is valid"
	if !f.OK {
		f.Detail = "invalid: " + strings.Join(bad, ", ")
	}
	return f, nil
}

// invalidConstraints finds constraints that were not checked, apart from those
// that the source has as NOT VALID.
func (l *load) invalidConstraints(ctx context.Context, c *pgx.Conn) (synapse.Finding, error) {
	f := synapse.Finding{Name: "constraints are validated", Serious: true}
	bad, err := names(ctx, c, `SELECT conname::text FROM pg_catalog.pg_constraint WHERE NOT convalidated AND conparentid = 0 ORDER BY 1 LIMIT 100`)
	if err != nil {
		return f, fmt.Errorf("look for constraints that are not validated: %w", err)
	}
	allowed := 0
	if l.toc != nil {
		for i := range l.toc.entries {
			allowed += strings.Count(l.toc.entries[i].Defn, "NOT VALID")
		}
	}
	f.OK, f.Detail = len(bad) <= allowed || l.toc == nil, "every constraint is validated"
	switch {
	case len(bad) > 0 && f.OK:
		f.Detail = fmt.Sprintf("%d are not, nor were they in the source", len(bad))
	case len(bad) > 0:
		f.Detail = "not validated: " + strings.Join(bad, ", ")
	}
	return f, nil
}

// selectOwnedSequences lists sequences that count up and number a column which
// an index begins with (so that its maximum is cheap), or that of a small table.
const selectOwnedSequences = `SELECT s.oid::pg_catalog.regclass::text, t.oid::pg_catalog.regclass::text, pg_catalog.quote_ident(a.attname)
	FROM pg_catalog.pg_class s
	JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid AND q.seqincrement > 0 AND NOT q.seqcycle
	JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = s.oid
		AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
	JOIN pg_catalog.pg_class t ON t.oid = d.refobjid AND t.relkind IN ('r', 'p')
	JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
		AND a.atttypid IN ('int2'::pg_catalog.regtype, 'int4'::pg_catalog.regtype, 'int8'::pg_catalog.regtype)
	WHERE t.relpages < 10000 OR EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = t.oid AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = a.attnum)`

// sequencesBehind finds sequences that would hand out a number that their
// column has already. It may have been so in the source.
func sequencesBehind(ctx context.Context, c *pgx.Conn) (synapse.Finding, error) {
	f := synapse.Finding{Name: "sequences are beyond their columns"}
	rows, err := c.Query(ctx, selectOwnedSequences)
	if err != nil {
		return f, fmt.Errorf("list the sequences: %w", err)
	}
	owned, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Sequence, Table, Column string }])
	if err != nil {
		return f, fmt.Errorf("list the sequences: %w", err)
	}
	var behind []string
	for _, o := range owned {
		var last, highest int64
		sql := fmt.Sprintf("SELECT last_value, coalesce((SELECT max(%s) FROM %s), last_value) FROM %s", o.Column, o.Table, o.Sequence)
		if err := c.QueryRow(ctx, sql).Scan(&last, &highest); err != nil {
			return f, fmt.Errorf("compare sequence %s with its column: %w", o.Sequence, err)
		}
		if highest > last {
			behind = append(behind, fmt.Sprintf("%s is at %d, %s has %d", o.Sequence, last, o.Table, highest))
		}
	}
	f.OK, f.Detail = len(behind) == 0, fmt.Sprintf("%d checked", len(owned))
	if !f.OK {
		f.Detail = strings.Join(behind, "; ")
	}
	return f, nil
}
