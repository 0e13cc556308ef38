package testbed

import (
	_ "embed"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

//go:embed zoo.sql
var zooSQL string

// Zoo makes a database with one of everything that pg_dump can dump, but no
// large objects, and returns its URL, the superuser's. Roles that it needs stay
// on the server. PostgreSQL 15 or later.
func Zoo(t testing.TB, p *PG) string {
	t.Helper()
	dsn := p.Database(t)
	c, err := pgx.ParseConfig(dsn)
	must(t, err)
	quoted := pgx.Identifier{c.Database}.Sanitize()
	sql := strings.NewReplacer("{{DATABASE}}", quoted, "{{EVENT_TRIGGER}}", quoted).Replace(zooSQL)
	// An explicit transaction in the middle splits the script: each part is
	// sent by itself.
	before, rest, _ := strings.Cut(sql, "\nBEGIN;\n")
	within, after, _ := strings.Cut(rest, "\nCOMMIT;\n")
	for _, part := range []string{before, within, after} {
		must(t, p.Exec(t.Context(), c.Database, part))
	}
	return dsn
}
