package postgres

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// assign gives a database settings, one by one. Those that the server does not
// know, or that the role may not set, are left out and returned, each with why: a
// complete database is worth more than, say, what is logged of its queries.
// Repeatable.
func assign(ctx context.Context, c *pgx.Conn, database string, list []synapse.Setting) (refused []string, err error) {
	for _, s := range list {
		err := execute(ctx, c, onDatabase(database, s.Role)+" SET "+settingName(s.Name)+" TO "+settingValue(s))
		if pe, ok := errors.AsType[*pgconn.PgError](err); ok && settingsOwn(pe) {
			refused = append(refused, s.String()+" ("+pe.Message+")")
			continue
		}
		if err != nil {
			return refused, err
		}
	}
	return refused, nil
}

// unassign takes settings from a database.
func unassign(ctx context.Context, c *pgx.Conn, database string, list []synapse.Setting) error {
	for _, s := range list {
		if err := execute(ctx, c, onDatabase(database, s.Role)+" RESET "+settingName(s.Name)); err != nil {
			return err
		}
	}
	return nil
}

func onDatabase(database, role string) string {
	if role != "" {
		return "ALTER ROLE " + quote(role) + " IN DATABASE " + quote(database)
	}
	return "ALTER DATABASE " + quote(database)
}

// settingsOwn says whether an error is one of a setting: unknown to this version,
// of another meaning, not the role's to set.
func settingsOwn(pe *pgconn.PgError) bool {
	switch pe.Code {
	case "42501", // insufficient_privilege
		"42704", // undefined_object
		"42602", // invalid_name: of an extension that has reserved its prefix
		"22023", // invalid_parameter_value
		"55P02": // cant_change_runtime_param
		return true
	}
	return false
}

// settingsFinding compares what is set on the loaded database with what was.
func (l *load) settingsFinding(ctx context.Context, c *pgx.Conn) (synapse.Finding, error) {
	f := synapse.Finding{Name: "the database's settings are set", OK: true}
	now, err := properties(ctx, c, l.db.OID)
	if err != nil {
		return f, err
	}
	var missing []string
	for _, s := range ownedBy(l.q.Dump, l.q.Owner).Settings {
		if !slices.ContainsFunc(now.Settings, func(n synapse.Setting) bool { return n.Role == s.Role && strings.EqualFold(n.Name, s.Name) }) {
			missing = append(missing, s.String())
		}
	}
	if len(missing) > 0 {
		f.OK, f.Detail = false, "not "+strings.Join(missing, ", ")+": the server does not know them, or this role may not set them; as a superuser, ALTER DATABASE … SET"
	}
	return f, nil
}

// settings warns of what can't be set on the restored database.
func (i *inspector) settings(ctx context.Context) error {
	if len(i.q.Only) > 0 || i.in.TargetExists && (!i.in.TargetOurs || i.target.Mark.guest) { // it keeps its own
		return nil
	}
	list := ownedBy(i.q.Dump, i.q.Owner).Settings
	if i.in.LiveExists && i.q.Mode != synapse.ModeBeside {
		live, err := properties(ctx, i.c, i.live.OID)
		if err != nil {
			return err
		}
		list = append(slices.Clone(list), live.Settings...)
	}
	may, err := i.settable(ctx)
	if err != nil {
		return err
	}
	var unknown, forbidden []string
	for _, s := range list {
		allowed, known := may[strings.ToLower(s.Name)]
		if !known {
			if known, allowed, err = i.unlisted(ctx, s.Name); err != nil {
				return err
			}
		}
		switch {
		case !known:
			unknown = append(unknown, s.String())
		case !allowed, s.Role != "" && s.Role != i.in.User && !i.super:
			forbidden = append(forbidden, s.String())
		}
	}
	if len(unknown) > 0 {
		i.warn("the server does not know every setting of the database, and the restored one goes without: %s", strings.Join(distinct(unknown), ", "))
	}
	if len(forbidden) > 0 {
		i.warn("role %s may not set every setting of the database, and the restored one may go without: %s; restore as a superuser, or let one set them afterwards", i.in.User, strings.Join(distinct(forbidden), ", "))
	}
	return nil
}

func distinct(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// settable are the server's settings, in lower case, and whether the role may set
// them on a database.
func (i *inspector) settable(ctx context.Context) (map[string]bool, error) {
	rows, err := i.c.Query(ctx, "SELECT pg_catalog.lower(name), context NOT IN ('superuser', 'superuser-backend') OR $1 OR "+i.granted("name")+" FROM pg_catalog.pg_settings", i.super)
	if err != nil {
		return nil, err
	}
	may := map[string]bool{}
	var name string
	var allowed bool
	_, err = pgx.ForEachRow(rows, []any{&name, &allowed}, func() error { may[name] = allowed; return nil })
	return may, err
}

// unlisted says of a setting that pg_settings does not show whether the server
// knows it, and whether the role may set it on a database. Some are shown to
// superusers only; those of an extension when it is loaded, and until then only
// superusers may set them.
func (i *inspector) unlisted(ctx context.Context, name string) (known, may bool, err error) {
	var value *string
	err = i.c.QueryRow(ctx, "SELECT $2 OR "+i.granted("$1")+", pg_catalog.current_setting($1, true)", name, i.super).Scan(&may, &value)
	if pe, ok := errors.AsType[*pgconn.PgError](err); ok && pe.Code == "42501" {
		return true, false, nil // insufficient_privilege: it is hidden
	}
	return value != nil || strings.Contains(name, "."), may, err
}

// granted is SQL for whether the role was given the right to set a setting.
func (i *inspector) granted(name string) string {
	if i.in.ServerVersion < 150000 {
		return "false"
	}
	return "pg_catalog.has_parameter_privilege(" + name + ", 'SET')"
}

// settingName quotes the parts of a setting's name ("synapse.note" has two).
func settingName(name string) string {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		parts[i] = quote(p)
	}
	return strings.Join(parts, ".")
}

// settingValue writes a setting's value. Those that are lists of names come as
// such a list and must not be quoted as one string (as in pg_dump's
// variable_is_guc_list_quote).
func settingValue(s synapse.Setting) string {
	switch strings.ToLower(s.Name) {
	case "local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries", "temp_tablespaces", "unix_socket_directories":
	default:
		return literal(s.Value)
	}
	var items []string
	for _, item := range splitList(s.Value) {
		items = append(items, literal(item))
	}
	if len(items) == 0 {
		return "''"
	}
	return strings.Join(items, ", ")
}

// splitList cuts a list of identifiers, quoted where they need it.
func splitList(value string) []string {
	var items []string
	var b strings.Builder
	quoted, any := false, false
	flush := func() {
		if any {
			items = append(items, b.String())
		}
		b.Reset()
		any = false
	}
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '"' && quoted && i+1 < len(value) && value[i+1] == '"':
			b.WriteByte('"')
			i++
		case c == '"':
			quoted, any = !quoted, true
		case c == ',' && !quoted:
			flush()
		case c == ' ' && !quoted:
		default:
			b.WriteByte(c)
			any = true
		}
	}
	flush()
	return items
}
