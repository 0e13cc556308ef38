package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// inspector asks a server what a restore needs to know. It reads only.
type inspector struct {
	s   *Server
	q   synapse.Request
	c   *pgx.Conn
	toc *outline // nil for a stream
	in  synapse.Inspection

	super, createDB bool
	ownSpace        bool // the database will lie in the tablespace it was in
	live, target    row
}

// Inspect says whether a restore can work: what stands against it are the
// inspection's problems, one line each, with what to do. An error means that the
// server could not be asked. Nothing is touched.
func (s *Server) Inspect(ctx context.Context, q synapse.Request) (synapse.Inspection, error) {
	c, err := s.admin(ctx)
	if err != nil {
		return synapse.Inspection{FreeBytes: -1}, err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	i := &inspector{s: s, q: q, c: c}
	i.in.FreeBytes = -1
	if len(q.TOC) > 0 {
		if i.toc, err = newOutline(q.TOC, q.Only, nil, renamed{q.Dump.Owner, q.Owner}); err != nil {
			i.problem("%v", err)
		} else {
			i.in.Tables = i.toc.chosen
		}
	} else if len(q.Only) > 0 {
		i.problem("this recovery point is one stream of pg_dump: single tables can't be taken out of it; restore it beside and take them from there")
	}
	for _, ask := range []func(context.Context) error{
		i.server, i.databases, i.locale, i.rights, i.roles, i.extensions, i.settings, i.ownTablespace, i.space, i.tools, i.newer,
	} {
		if err := ask(ctx); err != nil {
			return i.in, fmt.Errorf("inspect the server %s: %w", i.in.Server, err)
		}
	}
	return i.in, nil
}

func (i *inspector) problem(format string, args ...any) {
	i.in.Problems = append(i.in.Problems, fmt.Sprintf(format, args...))
}

func (i *inspector) warn(format string, args ...any) {
	i.in.Warnings = append(i.in.Warnings, fmt.Sprintf(format, args...))
}

// server compares versions: a dump goes into the same or a newer major.
func (i *inspector) server(ctx context.Context) error {
	err := i.c.QueryRow(ctx, `SELECT current_user, r.rolsuper, r.rolcreatedb OR r.rolsuper, pg_catalog.pg_is_in_recovery()
		FROM pg_catalog.pg_roles r WHERE r.rolname = current_user`).Scan(&i.in.User, &i.super, &i.createDB, new(bool))
	if err != nil {
		return err
	}
	i.in.ServerVersion = serverVersion(i.c)
	i.in.Server = fmt.Sprintf("%s:%d", i.s.cfg.Host(), i.s.cfg.Port())
	have, want := i.in.ServerVersion/10000, i.q.Dump.Version/10000
	if have < want {
		i.problem("the server is PostgreSQL %d, the recovery point is of %d: an older server can't take it; restore to PostgreSQL %d or newer", have, want, want)
	}
	return i.standby(ctx)
}

func (i *inspector) standby(ctx context.Context) error {
	var standby bool
	if err := i.c.QueryRow(ctx, "SELECT pg_catalog.pg_is_in_recovery()").Scan(&standby); err != nil {
		return err
	}
	if standby {
		i.problem("the server is a hot standby and takes no writes; connect to the primary")
	}
	return nil
}

// databases looks at the live database and at the one to load into.
func (i *inspector) databases(ctx context.Context) error {
	var err error
	if i.live, i.in.LiveExists, err = databaseNamed(ctx, i.c, i.q.Live); err != nil {
		return err
	}
	if i.in.LiveExists {
		i.in.LiveOID, i.in.LiveOwner = i.live.OID, i.live.Owner
		if err := i.c.QueryRow(ctx, "SELECT pg_catalog.pg_database_size($1::oid)", i.live.OID).Scan(&i.in.LiveSize); err != nil {
			i.warn("the size of database %s is not known: %v", i.live.Name, err)
		}
		if err := i.sessions(ctx); err != nil {
			return err
		}
		if err := subscribed(ctx, i.c, i.live); err != nil && i.q.Mode == synapse.ModeInPlace {
			i.problem("in-place drops database %s: %v", i.live.Name, err)
		}
	}
	if i.target, i.in.TargetExists, err = databaseNamed(ctx, i.c, i.q.Target); err != nil || !i.in.TargetExists {
		i.in.TargetEmpty = true
		return err
	}
	if i.in.TargetOurs = i.target.Mark.of(i.q.Run); i.in.TargetOurs {
		i.in.TargetEmpty = true
		return nil
	}
	return i.filled(ctx)
}

// sessions lists who is on the live database. A load beside it does not mind.
func (i *inspector) sessions(ctx context.Context) error {
	minds := i.q.Mode != synapse.ModeBeside && !i.q.Terminate
	look := sessions
	if minds {
		look = func(ctx context.Context, c *pgx.Conn, oid uint32) ([]synapse.Session, error) {
			return lasting(ctx, c, oid)
		}
	}
	var err error
	if i.in.Sessions, err = look(ctx, i.c, i.live.OID); err != nil {
		return err
	}
	if minds && len(i.in.Sessions) > 0 {
		i.problem("database %s is in use by %s: stop Synapse, or let its sessions be ended with --terminate-sessions", i.live.Name, describe(i.in.Sessions))
	}
	return nil
}

// reserved says whether a target is for the server's own use, and refuses it.
func (i *inspector) reserved(ctx context.Context) (bool, error) {
	var template bool
	err := i.c.QueryRow(ctx, "SELECT datistemplate FROM pg_catalog.pg_database WHERE oid = $1", i.target.OID).Scan(&template)
	switch {
	case err != nil:
	case template:
		i.problem("database %s is a template: whatever is made from it later would have the homeserver's data; name another with --target-database", i.target.Name)
		return true, nil
	case i.target.Name == maintenance:
		i.problem("database %s is the one that servers are administered from; name another with --target-database", i.target.Name)
		return true, nil
	}
	return false, err
}

// filled looks into a target that is not the run's own.
func (i *inspector) filled(ctx context.Context) error {
	if refused, err := i.reserved(ctx); refused || err != nil {
		return err
	}
	c, err := i.s.cfg.With(i.target.Name).Connect(ctx)
	if err != nil {
		i.problem("database %s exists and can't be looked into: %v; choose another name", i.target.Name, err)
		return nil
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	if i.in.Contents, err = contents(ctx, c); err != nil {
		return err
	}
	if i.in.TargetEmpty = len(i.in.Contents) == 0; !i.in.TargetEmpty {
		i.problem("%v", notEmpty(i.target.Name, i.in.Contents))
		return nil
	}
	if err := i.mayFill(ctx); err != nil {
		return err
	}
	return i.fits(ctx, c)
}

// mayFill asks whether the role may do to an empty target what an owner may.
func (i *inspector) mayFill(ctx context.Context) error {
	var may bool
	err := i.c.QueryRow(ctx, "SELECT pg_catalog.pg_has_role($1, 'USAGE')", i.target.Owner).Scan(&may)
	if err == nil && !may {
		i.problem("database %s belongs to %s, for whom role %s may not act: GRANT %s TO %s, or name another database",
			i.target.Name, i.target.Owner, i.in.User, quote(i.target.Owner), quote(i.in.User))
	}
	return err
}

// fits compares the encoding and locale of an empty target.
func (i *inspector) fits(ctx context.Context, c *pgx.Conn) error {
	d := i.q.Dump
	var t synapse.Database
	var text string
	err := c.QueryRow(ctx, `SELECT pg_catalog.pg_encoding_to_char(d.encoding), pg_catalog.to_jsonb(d)::text FROM pg_catalog.pg_database d WHERE datname = $1`, i.target.Name).
		Scan(&t.Encoding, &text)
	if err != nil {
		return err
	}
	var row databaseRow
	if err := json.Unmarshal([]byte(text), &row); err != nil {
		return err
	}
	t.Collate, t.CType = row.Collate, row.CType
	row.locale(&t)
	if t.Encoding != d.Encoding || t.Collate != d.Collate || t.CType != d.CType {
		i.problem("database %s has the wrong locale: %s, LC_COLLATE %s, LC_CTYPE %s where the recovery point has %s, %s, %s; drop it and let the restore make it",
			i.target.Name, t.Encoding, t.Collate, t.CType, d.Encoding, d.Collate, d.CType)
		return nil
	}
	if has, wants := sorting(t), sorting(d); has != wants {
		i.problem("database %s has the wrong locale: texts are sorted by %s where the recovery point has %s; drop it and let the restore make it", i.target.Name, has, wants)
	}
	return nil
}

// sorting says what sorts the texts of a database. Since 16 PostgreSQL turns
// the name of an ICU locale into a language tag, de_DE into de-DE.
func sorting(d synapse.Database) string {
	switch d.Provider {
	case "", "libc":
		return "libc"
	case "icu":
		d.Locale = strings.ReplaceAll(d.Locale, "_", "-")
	}
	text := d.Provider + " " + d.Locale
	if d.Rules != "" {
		text += fmt.Sprintf(" with the rules %q", d.Rules)
	}
	return text
}

// locale asks whether the server knows the dump's locale.
func (i *inspector) locale(ctx context.Context) error {
	d := i.q.Dump
	if i.in.TargetExists {
		return nil
	}
	var known bool
	if err := i.c.QueryRow(ctx, "SELECT pg_catalog.pg_char_to_encoding($1) >= 0", d.Encoding).Scan(&known); err != nil {
		return err
	}
	if !known {
		i.problem("the server does not know the encoding %s of the recovery point", d.Encoding)
	}
	for _, l := range []struct{ category, locale string }{{"LC_COLLATE", d.Collate}, {"LC_CTYPE", d.CType}} {
		if err := i.knows(ctx, l.category, l.locale); err != nil {
			return err
		}
	}
	if d.Provider == "builtin" && i.in.ServerVersion < 170000 {
		i.problem("the recovery point's locale is of the builtin provider, which PostgreSQL has since 17; restore to that or newer")
	}
	return nil
}

// knows tries a locale of the operating system: pg_collation lists what initdb
// found, so what is missing there is looked for by setting it.
func (i *inspector) knows(ctx context.Context, category, locale string) error {
	if locale == "" || locale == "C" || locale == "POSIX" {
		return nil
	}
	_, err := i.c.Exec(ctx, "SELECT pg_catalog.set_config('lc_monetary', $1, false)", locale)
	if err == nil {
		_, err = i.c.Exec(ctx, "RESET lc_monetary")
		return err
	}
	if i.c.IsClosed() {
		return err
	}
	i.problem("wrong locale: the server has no %s for %s, which the recovery point has; install it there (locale-gen) and restart PostgreSQL", locale, category)
	return nil
}

// tools asks for a pg_restore that can read the table of contents.
func (i *inspector) tools(ctx context.Context) error {
	version := 0
	if i.toc != nil {
		version = i.toc.version
	}
	if _, err := FindTools(i.s.o.BinDir).PgRestore(ctx, version, i.in.ServerVersion/10000); err != nil {
		i.problem("%v", err)
	}
	return nil
}

// newer asks the live database for what is younger than the recovery point.
// That it does not answer is no problem: it may be why one restores.
func (i *inspector) newer(ctx context.Context) error {
	if !i.in.LiveExists || i.q.Dump.Schema == nil || i.q.Dump.Taken.IsZero() || i.q.Mode == synapse.ModeBeside {
		return nil
	}
	c, err := i.s.cfg.With(i.live.Name).Connect(ctx)
	if err == nil {
		defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
		i.in.Newer, err = newer(ctx, c, i.q.Dump.Taken)
	}
	if err != nil && ctx.Err() == nil {
		i.warn("what is newer in database %s than the recovery point is not known: %s", i.live.Name, firstLine(err.Error()))
		return nil
	}
	return errors.Join(err, ctx.Err())
}

// sentence joins names for a message.
func sentence(names []string) string { return strings.Join(names, ", ") }
