package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// Vacate drops a live database, whatever is in it: the caller has the
// operator's word. The name must still be that of the OID. One that is gone is
// fine. Sessions on it are ended if terminate is set, else they are a refusal.
func (s *Server) Vacate(ctx context.Context, name string, oid uint32, terminate bool) error {
	c, err := s.admin(ctx, name)
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	r, ok, err := databaseByOID(ctx, c, oid)
	if err != nil || !ok {
		return err
	}
	if r.Name != name {
		return fmt.Errorf("drop the live database %s: the database with OID %d is called %s now; nothing was dropped", name, oid, r.Name)
	}
	err = s.dropDatabase(ctx, c, r, terminate)
	var said *pgconn.PgError
	if errors.As(err, &said) && said.Code == "55006" && !terminate { // object_in_use
		return fmt.Errorf("drop the live database %s: sessions hold it; stop Synapse, or end them with --terminate-sessions; nothing was dropped", name)
	}
	if err != nil {
		return fmt.Errorf("drop the live database %s: %w", name, err)
	}
	return nil
}

// dropDatabase drops a database, and ends the sessions on it if end is set.
// DROP waits 5 s for them, and ends autovacuum's workers itself. WITH (FORCE)
// doesn't: to a role that is no superuser it refuses the drop while there is
// one, as often is the case soon after a load.
func (s *Server) dropDatabase(ctx context.Context, c *pgx.Conn, r row, end bool) error {
	if end {
		stop, err := s.ending(ctx, []string{r.Name}, r.OID)
		if err != nil {
			return err
		}
		defer stop()
	}
	err := execute(ctx, c, "DROP DATABASE IF EXISTS "+quote(r.Name))
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok && pe.Code == "55006" { // object_in_use
		return cmp.Or(subscribed(ctx, c, r), err)
	}
	return err
}

// subscribed says that a database has subscriptions, with which it is never
// dropped, and how they go. No restore does it: whether the publisher's slot is
// still needed, by the database that is live for one, is the operator's to know.
func subscribed(ctx context.Context, c *pgx.Conn, r row) error {
	rows, err := c.Query(ctx, "SELECT pg_catalog.quote_ident(subname) FROM pg_catalog.pg_subscription WHERE subdbid = $1 ORDER BY subname", r.OID)
	if err != nil {
		return nil //nolint:nilerr // what the drop said is said
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(names) == 0 {
		return nil //nolint:nilerr // likewise
	}
	var end strings.Builder
	for _, n := range names {
		fmt.Fprintf(&end, "ALTER SUBSCRIPTION %[1]s DISABLE; ALTER SUBSCRIPTION %[1]s SET (slot_name = NONE); DROP SUBSCRIPTION %[1]s; ", n)
	}
	return fmt.Errorf("it subscribes by logical replication: as a superuser in %s run %sthen give the command again; the publisher keeps its slot", r.Name, end.String())
}

// Databases lists the databases that one can connect to, by name, with the runs
// whose marks they bear.
func (s *Server) Databases(ctx context.Context) ([]synapse.Found, error) {
	c, err := s.admin(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close(context.WithoutCancel(ctx))
	rows, err := c.Query(ctx, `SELECT d.oid, d.datname,
		CASE WHEN has_database_privilege(d.oid, 'CONNECT') THEN coalesce(pg_database_size(d.oid), -1) ELSE -1 END, -- NULL: dropped just now
		coalesce(shobj_description(d.oid, 'pg_database'), '')
		FROM pg_catalog.pg_database d WHERE NOT d.datistemplate AND d.datallowconn ORDER BY d.datname`)
	if err != nil {
		return nil, fmt.Errorf("list the databases: %w", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (f synapse.Found, err error) {
		var comment string
		err = row.Scan(&f.OID, &f.Name, &f.Size, &comment)
		m := parseMark(comment)
		f.Run, f.Guest = runOf(f.Name, m), m.guest
		return f, err
	})
	if err != nil {
		return nil, fmt.Errorf("list the databases: %w", err)
	}
	return found, nil
}
