package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// shaping are the settings of the dumped database that decide what the same rows
// become: values of generated columns, keys of indexes on expressions,
// materialized views, texts of money. The database has them when it is complete;
// a load has them from the start, as pg_restore --create would. Settings of a
// name with a dot are the users' own, and their functions may ask for them.
func shaping(d synapse.Database) (list []synapse.Setting) {
	for _, s := range d.Settings {
		if s.Role != "" {
			continue
		}
		switch strings.ToLower(s.Name) {
		case "timezone", "datestyle", "intervalstyle", "bytea_output", "extra_float_digits", "xmlbinary",
			"lc_monetary", "lc_numeric", "lc_time", "default_text_search_config":
			list = append(list, s)
		default:
			if strings.Contains(s.Name, ".") {
				list = append(list, s)
			}
		}
	}
	return list
}

// shape gives a session the shaping settings, and returns those that it took. What
// the role may not set, or the server does not know, was no help to the rows.
func (l *load) shape(ctx context.Context, c *pgx.Conn) (taken []synapse.Setting, err error) {
	for _, s := range shaping(l.q.Dump) {
		err := execute(ctx, c, "SELECT pg_catalog.set_config("+literal(s.Name)+", "+literal(s.Value)+", false)")
		if pe, ok := errors.AsType[*pgconn.PgError](err); ok && settingsOwn(pe) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("set %s as the dumped database has it: %w", s.Name, err)
		}
		taken = append(taken, s)
	}
	return taken, nil
}

// unstyled returns the config for sessions with the server's own time zone and
// style of dates, as pg_restore's are, instead of those that pgx reads best.
func (c *Config) unstyled() *Config {
	d := *c
	d.pg = c.pg.Copy()
	delete(d.pg.RuntimeParams, "timezone")
	delete(d.pg.RuntimeParams, "DateStyle")
	return &d
}

// set returns the config for PostgreSQL's programs with these settings.
func (c *Config) set(list []synapse.Setting) *Config {
	d := *c
	d.settings = maps.Clone(c.settings)
	escape := strings.NewReplacer(`\`, `\\`, " ", `\ `, "\t", "\\\t", "\n", "\\\n") // pg_split_opts
	for _, s := range list {
		d.settings["options"] += " -c " + escape.Replace(s.Name+"="+s.Value)
	}
	return &d
}
