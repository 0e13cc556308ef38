package postgres

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// finish makes the database what the dump says of it as a whole, and declares
// it complete.
func (l *load) finish(ctx context.Context) error {
	if err := l.quiet(ctx, l.lead); err != nil {
		return err
	}
	if err := l.analyzeRest(ctx); err != nil {
		return err
	}
	if schema := l.schema; schema != "" && !l.q.KeepOTK && len(l.q.Only) == 0 { // of some tables alone its rows were not copied
		if err := execute(ctx, l.lead, "TRUNCATE "+quote(schema)+"."+quote(synapse.OneTimeKeysTable)); err != nil {
			return fmt.Errorf("empty %s: %w", synapse.OneTimeKeysTable, err)
		}
	}
	if len(l.q.Only) == 0 && !l.db.Mark.guest {
		d := ownedBy(l.q.Dump, l.q.Owner)
		refused, err := assign(ctx, l.lead, l.q.Database, d.Settings)
		if err == nil {
			err = execute(ctx, l.lead, strings.Join(settle(l.q.Database, d), "; "))
		}
		if err != nil {
			return fmt.Errorf("set the database's own settings and privileges: %w", err)
		}
		if len(refused) > 0 { // the finding comes from the comparison, also where this run is gone on with
			l.s.o.Log.WarnContext(ctx, "settings not set", "database", l.q.Database, "settings", strings.Join(refused, "; "))
		}
	}
	// One transaction: it is complete, or it can be gone on with.
	complete := l.db.Mark
	complete.done = true
	off, on, err := l.always(ctx)
	if err != nil {
		return err
	}
	last := off + "DROP SCHEMA IF EXISTS " + bookkeeping + " CASCADE; " + on + complete.statement(l.q.Database)
	if err := execute(ctx, l.lead, last); err != nil {
		return fmt.Errorf("declare it complete: %w", err)
	}
	return nil
}

// quiet keeps the event triggers that a session restores, or finds restored,
// from firing on what it does then.
func (l *load) quiet(ctx context.Context, c *pgx.Conn) error {
	var n int
	if err := c.QueryRow(ctx, "SELECT count(*) FROM pg_catalog.pg_event_trigger").Scan(&n); err != nil {
		return err
	}
	if n == 0 && (l.toc == nil || !l.toc.has("EVENT TRIGGER")) {
		return nil
	}
	// Both need what creating an event trigger needs: a superuser.
	sql := "SET session_replication_role = replica"
	if l.version >= 170000 {
		sql = "SET event_triggers = off"
	}
	return execute(ctx, c, sql)
}

// always returns the statements that turn off, and on again, the event triggers
// that fire for replicas, too, and so in spite of [load.quiet].
func (l *load) always(ctx context.Context) (off, on string, err error) {
	if l.version >= 170000 {
		return "", "", nil
	}
	triggers, err := names(ctx, l.lead, "SELECT evtname::text FROM pg_catalog.pg_event_trigger WHERE evtenabled = 'A' ORDER BY 1")
	if err != nil {
		return "", "", fmt.Errorf("look for event triggers: %w", err)
	}
	for _, t := range triggers {
		off += "ALTER EVENT TRIGGER " + quote(t) + " DISABLE; "
		on += "ALTER EVENT TRIGGER " + quote(t) + " ENABLE ALWAYS; "
	}
	return off, on, nil
}

// settle returns the statements that give a database the connection limit and the
// privileges that d has. Repeatable.
func settle(name string, d synapse.Database) []string {
	db := quote(name)
	var out []string
	if d.ConnectionLimit != 0 { // 0, nobody may connect, would be a strange thing to restore
		out = append(out, fmt.Sprintf("ALTER DATABASE %s CONNECTION LIMIT %d", db, d.ConnectionLimit))
	}
	return append(out, grantStatements(db, d)...)
}
