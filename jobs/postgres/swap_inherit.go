package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// inherit gives the new database the settings of the old one, and returns the
// statements that give it the rest of what is set there. Where there is no old
// one, it keeps what the dump had. Settings come before the swap, one by one:
// one that is refused must not keep the database from going live.
func (s *Server) inherit(ctx context.Context, c *pgx.Conn, sw synapse.Swap) ([]string, error) {
	if sw.OldOID == 0 {
		return nil, nil
	}
	like, err := properties(ctx, c, sw.OldOID)
	if err != nil {
		return nil, err
	}
	now, err := properties(ctx, c, sw.NewOID)
	if err != nil {
		return nil, err
	}
	if err := unassign(ctx, c, sw.NewName, now.Settings); err != nil { // they were the dump's
		return nil, err
	}
	refused, err := assign(ctx, c, sw.NewName, like.Settings)
	if err != nil {
		return nil, err
	}
	if len(refused) > 0 { // the plan has said so
		s.o.Log.WarnContext(ctx, "settings of the live database not set on the restored one", "database", sw.Live, "settings", strings.Join(refused, "; "))
	}
	var out []string
	if like.Owner != now.Owner {
		out = append(out, "ALTER DATABASE "+quote(sw.NewName)+" OWNER TO "+quote(like.Owner))
	}
	if like.Grants == nil && now.Grants != nil {
		like.Grants = []string{"=Tc/", pgx.Identifier{like.Owner}.Sanitize() + "=CTc/"} // the default
	}
	return append(out, settle(sw.NewName, like)...), nil
}

// properties reads what is set on a database as a whole.
func properties(ctx context.Context, c *pgx.Conn, oid uint32) (d synapse.Database, err error) {
	err = c.QueryRow(ctx, `SELECT datname, pg_catalog.pg_get_userbyid(datdba), datconnlimit, datacl::text[] FROM pg_catalog.pg_database WHERE oid = $1`, oid).
		Scan(&d.Name, &d.Owner, &d.ConnectionLimit, &d.Grants)
	if errors.Is(err, pgx.ErrNoRows) {
		return d, fmt.Errorf("the database with OID %d is gone", oid)
	}
	if err != nil {
		return d, fmt.Errorf("read the properties of the database with OID %d: %w", oid, err)
	}
	rows, err := c.Query(ctx, `SELECT CASE WHEN setrole = 0 THEN '' ELSE pg_catalog.pg_get_userbyid(setrole) END, unnest(setconfig)
		FROM pg_catalog.pg_db_role_setting WHERE setdatabase = $1 ORDER BY 1`, oid)
	if err != nil {
		return d, fmt.Errorf("read the settings of database %s: %w", d.Name, err)
	}
	d.Settings, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (s synapse.Setting, err error) {
		var pair string
		err = row.Scan(&s.Role, &pair)
		s.Name, s.Value, _ = strings.Cut(pair, "=")
		return s, err
	})
	if err != nil {
		return d, fmt.Errorf("read the settings of database %s: %w", d.Name, err)
	}
	return d, nil
}
