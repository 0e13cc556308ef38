package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// Server is a PostgreSQL server that databases are restored to.
type Server struct {
	cfg *Config
	o   Options
}

// NewServer returns the server that c connects to. Nothing is done yet.
func NewServer(c *Config, o Options) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: c, o: o}
}

// row is what pg_database says of a database.
type row struct {
	OID   uint32
	Name  string
	Owner string
	Mark  mark
}

const selectDatabase = `SELECT d.oid, d.datname, pg_catalog.pg_get_userbyid(d.datdba), coalesce(pg_catalog.shobj_description(d.oid, 'pg_database'), '')
	FROM pg_catalog.pg_database d WHERE `

// databaseNamed returns a database by its name; ok is false where there is none.
func databaseNamed(ctx context.Context, c *pgx.Conn, name string) (r row, ok bool, err error) {
	return oneDatabase(ctx, c, "datname = $1", name)
}

func databaseByOID(ctx context.Context, c *pgx.Conn, oid uint32) (r row, ok bool, err error) {
	return oneDatabase(ctx, c, "d.oid = $1", oid)
}

func oneDatabase(ctx context.Context, c *pgx.Conn, where string, arg any) (r row, ok bool, err error) {
	var comment string
	err = c.QueryRow(ctx, selectDatabase+where, arg).Scan(&r.OID, &r.Name, &r.Owner, &comment)
	if errors.Is(err, pgx.ErrNoRows) {
		return row{}, false, nil
	}
	if err != nil {
		return row{}, false, fmt.Errorf("look up database %v: %w", arg, err)
	}
	r.Mark = parseMark(comment)
	return r, true, nil
}

// maintenance is the database that every server has for who administers it.
const maintenance = "postgres"

// admin connects to a database of the server that is none of those named: they
// are to be created, renamed or dropped.
func (s *Server) admin(ctx context.Context, not ...string) (*pgx.Conn, error) {
	var first error
	for _, db := range []string{maintenance, s.cfg.Database(), "template1"} {
		if db == "" || slices.Contains(not, db) {
			continue
		}
		c, err := s.cfg.With(db).Connect(ctx)
		if err == nil {
			return c, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, fmt.Errorf("connect to a database to administer the server from: %w", first)
}

// Create makes an empty database from template0, with the encoding, locale and
// comment of the dump, and in its tablespace if there is one of that name that
// the role may use, for a run. One that the same run made before is fine; so is one
// that is empty: what is set on it, and its owner, stay as they are. Any other
// of that name is an error.
func (s *Server) Create(ctx context.Context, run, name string, like synapse.Database, owner string) (oid uint32, err error) {
	c, err := s.admin(ctx, name)
	if err != nil {
		return 0, err
	}
	defer c.Close(context.WithoutCancel(ctx))
	r, exists, err := databaseNamed(ctx, c, name)
	if err != nil {
		return 0, err
	}
	if exists {
		return s.adopt(ctx, run, r)
	}
	fresh := synapse.NewName(run, name)
	if _, exists, err = databaseNamed(ctx, c, fresh); err != nil {
		return 0, err
	}
	if !exists {
		if ok, err := usableTablespace(ctx, c, like.Tablespace); err != nil || !ok {
			if err != nil {
				return 0, err
			}
			like.Tablespace = ""
		}
		if err := execute(ctx, c, createStatement(fresh, like, serverVersion(c))); err != nil {
			return 0, fmt.Errorf("create database %s: %w", name, err)
		}
	}
	// One transaction: what bears the name bears the mark, too.
	claim := mark{theirs: like.Comment, run: run}.statement(fresh) + "; " + rename(fresh, name)
	if owner != "" {
		claim += "; ALTER DATABASE " + quote(name) + " OWNER TO " + quote(owner)
	}
	if err := execute(ctx, c, claim); err != nil {
		return 0, fmt.Errorf("mark database %s as the run's: %w", name, err)
	}
	r, _, err = databaseNamed(ctx, c, name)
	return r.OID, err
}

// adopt takes a database that is there already: the run's own, or an empty one.
func (s *Server) adopt(ctx context.Context, run string, r row) (uint32, error) {
	if r.Mark.of(run) {
		return r.OID, nil
	}
	c, err := s.cfg.With(r.Name).Connect(ctx)
	if err != nil {
		return 0, err
	}
	defer c.Close(context.WithoutCancel(ctx))
	if err := mustBeEmpty(ctx, c, r.Name); err != nil {
		return 0, err
	}
	guest := mark{theirs: r.Mark.theirs, run: run, guest: true}
	if err := execute(ctx, c, guest.statement(r.Name)); err != nil {
		return 0, fmt.Errorf("mark database %s as the run's: %w", r.Name, err)
	}
	return r.OID, nil
}

// createStatement says CREATE DATABASE as the server's version understands it.
func createStatement(name string, like synapse.Database, version int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE DATABASE %s TEMPLATE template0 ENCODING %s LC_COLLATE %s LC_CTYPE %s",
		quote(name), literal(like.Encoding), literal(like.Collate), literal(like.CType))
	switch {
	case like.Provider == "icu" && version >= 150000:
		fmt.Fprintf(&b, " LOCALE_PROVIDER icu ICU_LOCALE %s", literal(like.Locale))
		if like.Rules != "" { // since 16: an older server does not get the dump
			b.WriteString(" ICU_RULES " + literal(like.Rules))
		}
	case like.Provider == "builtin" && version >= 170000:
		fmt.Fprintf(&b, " LOCALE_PROVIDER builtin BUILTIN_LOCALE %s", literal(like.Locale))
	case version >= 150000:
		b.WriteString(" LOCALE_PROVIDER libc")
	}
	if like.Tablespace != "" {
		b.WriteString(" TABLESPACE " + quote(like.Tablespace))
	}
	return b.String()
}

// usableTablespace says whether the server has a tablespace and the role may
// make databases in it.
func usableTablespace(ctx context.Context, c *pgx.Conn, name string) (ok bool, err error) {
	const q = "SELECT EXISTS (SELECT FROM pg_catalog.pg_tablespace WHERE spcname = $1 AND pg_catalog.has_tablespace_privilege(oid, 'CREATE'))"
	if err := c.QueryRow(ctx, q, name).Scan(&ok); err != nil {
		return false, fmt.Errorf("look up tablespace %s: %w", name, err)
	}
	return ok, nil
}

// Drop drops a database, if the name still is that of the OID and it is one
// that a restore made or put aside. A database that is gone is fine.
func (s *Server) Drop(ctx context.Context, name string, oid uint32) error {
	c, err := s.admin(ctx, name)
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))
	r, ok, err := databaseByOID(ctx, c, oid)
	if err != nil || !ok {
		return err
	}
	made := runOf(r.Name, r.Mark) != "" && !r.Mark.guest
	if r.Name != name || !made && !strings.Contains(name, asideInfix) {
		return fmt.Errorf("drop database %s: the database with OID %d is called %s and no restore made it or put it aside; nothing was dropped", name, oid, r.Name)
	}
	// One that was live, be it the result of an earlier restore, never goes from
	// under somebody's feet.
	end := made && !strings.Contains(name, asideInfix)
	err = s.dropDatabase(ctx, c, r, end)
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok && pe.Code == "42501" { // insufficient_privilege
		return fmt.Errorf("drop database %s: it belongs to %s, and role %s may not act for it: GRANT %s TO %s, or drop it as a superuser",
			name, r.Owner, s.cfg.User(), quote(r.Owner), quote(s.cfg.User()))
	}
	if err != nil {
		return fmt.Errorf("drop database %s: %w", name, err)
	}
	return nil
}

// execute runs statements that return nothing, over the simple protocol: several
// in one string are one transaction, unless they say otherwise.
func execute(ctx context.Context, c *pgx.Conn, sql string) error {
	return executeRaw(ctx, c.PgConn(), sql)
}

func executeRaw(ctx context.Context, c *pgconn.PgConn, sql string) error {
	_, err := c.Exec(ctx, sql).ReadAll()
	return err
}

// quote writes an identifier for SQL.
func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// literal writes a string for SQL, whatever standard_conforming_strings says.
func literal(s string) string {
	q := strings.ReplaceAll(s, "'", "''")
	if strings.Contains(s, `\`) {
		return " E'" + strings.ReplaceAll(q, `\`, `\\`) + "'"
	}
	return "'" + q + "'"
}

// serverVersion is server_version_num, worked out from what the server said
// when it was connected to: 150018 for 15.18.
func serverVersion(c *pgx.Conn) int {
	var major, minor int
	_, _ = fmt.Sscanf(c.PgConn().ParameterStatus("server_version"), "%d.%d", &major, &minor) // "18beta1" has no minor
	return major*10000 + minor
}
