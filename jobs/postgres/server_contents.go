package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// bookkeeping is the schema that a load keeps its state in, inside the database
// that it loads, so that both are committed together. It is dropped at the end.
const bookkeeping = "synapse_maint_restore"

// selectContents lists what a database has that template0 has not: up to a few
// of each kind, and never what belongs to an extension that is listed itself.
const selectContents = `
WITH ns AS (
	SELECT oid, nspname FROM pg_catalog.pg_namespace
	WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', '` + bookkeeping + `')
)
(SELECT 'schema ' || nspname FROM ns WHERE nspname <> 'public' ORDER BY 1 LIMIT 5)
UNION ALL
(SELECT CASE c.relkind WHEN 'S' THEN 'sequence ' WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view '
	WHEN 'f' THEN 'foreign table ' WHEN 'c' THEN 'type ' ELSE 'table ' END || ns.nspname || '.' || c.relname
	FROM pg_catalog.pg_class c JOIN ns ON ns.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f', 'c') ORDER BY c.relkind <> 'r', 1 LIMIT 5)
UNION ALL
(SELECT 'function ' || ns.nspname || '.' || p.proname FROM pg_catalog.pg_proc p JOIN ns ON ns.oid = p.pronamespace ORDER BY 1 LIMIT 5)
UNION ALL
(SELECT 'type ' || ns.nspname || '.' || t.typname FROM pg_catalog.pg_type t JOIN ns ON ns.oid = t.typnamespace WHERE t.typtype IN ('e', 'd', 'r') ORDER BY 1 LIMIT 5)
UNION ALL
(SELECT 'extension ' || extname FROM pg_catalog.pg_extension WHERE extname <> 'plpgsql' ORDER BY 1 LIMIT 5)
UNION ALL
(SELECT 'event trigger ' || evtname FROM pg_catalog.pg_event_trigger ORDER BY 1 LIMIT 5)
UNION ALL
(SELECT 'publication ' || pubname FROM pg_catalog.pg_publication ORDER BY 1 LIMIT 5)
UNION ALL
(SELECT 'foreign server ' || srvname FROM pg_catalog.pg_foreign_server ORDER BY 1 LIMIT 5)
UNION ALL
(SELECT 'large object ' || oid FROM pg_catalog.pg_largeobject_metadata ORDER BY 1 LIMIT 1)`

// contents names some of what is in the database; nothing where it is empty.
func contents(ctx context.Context, c *pgx.Conn) ([]string, error) {
	rows, err := c.Query(ctx, selectContents)
	if err != nil {
		return nil, fmt.Errorf("look what is in the database: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("look what is in the database: %w", err)
	}
	return list, nil
}

// mustBeEmpty refuses a database that has something in it, naming it.
func mustBeEmpty(ctx context.Context, c *pgx.Conn, name string) error {
	list, err := contents(ctx, c)
	if err != nil {
		return err
	}
	if len(list) > 0 {
		return notEmpty(name, list)
	}
	return nil
}

func notEmpty(name string, list []string) error {
	more := ""
	if len(list) > 4 {
		list, more = list[:4], ", …"
	}
	return fmt.Errorf("database %s is not empty (%s%s): give a new name, or an empty database", name, strings.Join(list, ", "), more)
}
