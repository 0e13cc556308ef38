package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// databaseRow is a row of pg_database as JSON, of which every version has other
// columns: daticulocale since 15, and datlocale in its place since 17.
type databaseRow struct {
	Name     string   `json:"datname"`
	Collate  string   `json:"datcollate"`
	CType    string   `json:"datctype"`
	Provider string   `json:"datlocprovider"`
	ICU      string   `json:"daticulocale"`
	Locale   string   `json:"datlocale"`
	Rules    string   `json:"daticurules"` // since 16
	Limit    int      `json:"datconnlimit"`
	Grants   []string `json:"datacl"`
}

// providers are the names of pg_database.datlocprovider's letters.
var providers = map[string]string{"": "libc", "c": "libc", "i": "icu", "b": "builtin"}

// locale fills in what sorts the database's texts, besides Collate and CType.
func (r databaseRow) locale(d *synapse.Database) {
	d.Provider, d.Locale, d.Rules = providers[r.Provider], r.ICU+r.Locale, r.Rules
	if d.Provider == "libc" {
		d.Locale = ""
	}
}

// facts describes the database, as the snapshot has it, and how large the tables
// are.
func (l *lead) facts(ctx context.Context, d *synapse.Database, otk *relation) error {
	var text string
	err := l.conn.QueryRow(ctx, `SELECT pg_catalog.to_jsonb(d)::text, pg_catalog.pg_get_userbyid(d.datdba), pg_catalog.pg_encoding_to_char(d.encoding),
		pg_catalog.pg_database_size(d.oid), pg_catalog.current_setting('server_version_num')::int,
		CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END::text,
		CASE t.spcname WHEN 'pg_default' THEN '' ELSE t.spcname END::text, coalesce(pg_catalog.shobj_description(d.oid, 'pg_database'), '')
		FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace WHERE d.datname = pg_catalog.current_database()`).
		Scan(&text, &d.Owner, &d.Encoding, &d.Size, &d.Version, &d.LSN, &d.Tablespace, &d.Comment)
	if err != nil {
		return fmt.Errorf("describe the database: %w", brief(err))
	}
	var row databaseRow
	if err := json.Unmarshal([]byte(text), &row); err != nil {
		return fmt.Errorf("describe the database: %w", err)
	}
	d.Comment = parseMark(d.Comment).theirs
	d.Name, d.Collate, d.CType, d.ConnectionLimit, d.Grants = row.Name, row.Collate, row.CType, row.Limit, row.Grants
	row.locale(d)
	if d.Settings, err = l.settings(ctx); err != nil {
		return fmt.Errorf("read the settings of the database: %w", brief(err))
	}
	if d.Schema, err = l.schema(ctx, otk); err != nil {
		return fmt.Errorf("read Synapse's schema version: %w", brief(err))
	}
	return l.sizes(ctx)
}

// settings reads what ALTER DATABASE … SET and ALTER ROLE … IN DATABASE have set.
func (l *lead) settings(ctx context.Context) ([]synapse.Setting, error) {
	rows, err := l.conn.Query(ctx, `SELECT coalesce(r.rolname, ''), pg_catalog.unnest(s.setconfig)
		FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
		WHERE s.setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
		ORDER BY 1, 2`)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (s synapse.Setting, err error) {
		var pair string
		err = row.Scan(&s.Role, &pair)
		s.Name, s.Value, _ = strings.Cut(pair, "=")
		return s, err
	})
}

// schema reads Synapse's own version of its schema; nil where the database is
// not Synapse's.
func (l *lead) schema(ctx context.Context, otk *relation) (*synapse.Schema, error) {
	if otk == nil {
		return nil, nil
	}
	s := &synapse.Schema{}
	in := pgx.Identifier{otk.Schema}.Sanitize()
	if err := l.conn.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM "+in+".schema_version").Scan(&s.Version); err != nil {
		return nil, err
	}
	for _, r := range l.tables {
		if r.Schema == otk.Schema && r.Name == "schema_compat_version" { // since version 60
			err := l.conn.QueryRow(ctx, "SELECT coalesce(max(compat_version), 0) FROM "+in+".schema_compat_version").Scan(&s.Compat)
			return s, err
		}
	}
	return s, nil
}

// sizes asks the file system how large the tables are.
func (l *lead) sizes(ctx context.Context) error {
	rows, err := l.conn.Query(ctx, `SELECT c.oid, pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::bigint,
		pg_catalog.pg_relation_size(c.oid) + coalesce(pg_catalog.pg_relation_size(nullif(c.reltoastrelid, 0)), 0)
		FROM pg_catalog.pg_class c WHERE c.relkind = 'r' AND c.relnamespace IN (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_')`)
	if err != nil {
		return fmt.Errorf("measure the tables: %w", brief(err))
	}
	byOID := make(map[uint32]*relation, len(l.tables))
	for _, r := range l.tables {
		byOID[r.OID] = r
	}
	var oid uint32
	var pages, bytes *int64 // null: the table was dropped since, and is not one of ours
	_, err = pgx.ForEachRow(rows, []any{&oid, &pages, &bytes}, func() error {
		if r := byOID[oid]; r != nil && pages != nil && bytes != nil {
			r.Pages, r.Bytes = *pages, *bytes
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("measure the tables: %w", brief(err))
	}
	return nil
}
