package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// statistics are gathered by a load, while pg_restore leaves them to autovacuum:
// until that comes, Synapse's queries crawl.
type statistics struct {
	mu     sync.Mutex
	failed []string // tables, each with why it could not be analysed
}

// above lists the tables some of whose partitions or children are foreign
// tables. ANALYZE of them asks the other server, which may be gone, or hang.
const above = `WITH RECURSIVE above(oid) AS (
	SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class f ON f.oid = i.inhrelid WHERE f.relkind = 'f'
	UNION SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN above ON i.inhrelid = above.oid) `

// analyze gathers the statistics of a table, given as SQL. A complete database
// is worth more than its statistics: where the table refuses, that becomes a
// finding.
func (l *load) analyze(ctx context.Context, c *pgx.Conn, table string) error {
	if l.toc == nil || l.toc.has("FOREIGN TABLE") {
		var remote bool
		if err := c.QueryRow(ctx, above+"SELECT EXISTS (SELECT FROM above WHERE oid = $1::pg_catalog.regclass)", table).Scan(&remote); err != nil {
			return fmt.Errorf("look for foreign partitions of %s: %w", table, err)
		}
		if remote {
			l.unanalyzed(table, "some of it is on another server")
			return nil
		}
	}
	err := execute(ctx, c, "ANALYZE "+table)
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok && tablesOwn(pe) {
		l.unanalyzed(table, pe.Message)
		return nil
	}
	if err != nil {
		return fmt.Errorf("analyze %s: %w", table, err)
	}
	return nil
}

// tablesOwn says whether an error is one of the table, such as of a function in
// an index on an expression, and not of the whole server: no room, a shutdown,
// damage.
func tablesOwn(pe *pgconn.PgError) bool {
	switch pe.Code[:2] {
	case "53", "57", "58", "XX":
		return false
	}
	return true
}

func (l *load) unanalyzed(table, why string) {
	l.statistics.mu.Lock()
	defer l.statistics.mu.Unlock()
	l.statistics.failed = append(l.statistics.failed, table+" ("+why+")")
}

// statisticsFinding is what was not analysed; none where all was.
func (l *load) statisticsFinding() synapse.Finding {
	l.statistics.mu.Lock()
	defer l.statistics.mu.Unlock()
	if len(l.statistics.failed) == 0 {
		return synapse.Finding{}
	}
	return synapse.Finding{Name: "statistics are gathered", Detail: "not of " + strings.Join(l.statistics.failed, ", ") + ": ANALYZE later"}
}

// analyzeRest analyses what had no rows or statistics objects when its table
// was analysed: materialized views, partitioned tables, extended statistics.
func (l *load) analyzeRest(ctx context.Context) error {
	return l.analyzeAll(ctx, `c.relkind IN ('m', 'p') OR EXISTS (SELECT FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = c.oid)`)
}

// analyzeAll analyses the tables that a condition on pg_class c chooses.
func (l *load) analyzeAll(ctx context.Context, condition string) error {
	tables, err := names(ctx, l.lead, `SELECT c.oid::pg_catalog.regclass::text FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', '`+bookkeeping+`') AND (`+condition+`) ORDER BY c.oid`)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if err := l.analyze(ctx, l.lead, t); err != nil {
			return err
		}
	}
	return nil
}
