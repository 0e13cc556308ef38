package postgres

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// MediaRows yields what Synapse's media tables say of files, as the snapshot
// has them, on a connection of its own.
func (s *Snapshot) MediaRows(ctx context.Context, yield func(synapse.MediaRow) error) error {
	ctx, cancel := s.whileAlive(ctx)
	defer cancel()
	if err := mediaRows(ctx, s.cfg, s.lead.importSnapshot(), yield); err != nil {
		return s.cause(ctx, err)
	}
	return nil
}

// MediaRows returns the media rows of a database as it is when they are asked
// for: for media that are taken without the database.
func MediaRows(c *Config) synapse.MediaRows {
	return func(ctx context.Context, yield func(synapse.MediaRow) error) error {
		return mediaRows(ctx, c, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;", yield)
	}
}

func mediaRows(ctx context.Context, c *Config, begin string, yield func(synapse.MediaRow) error) error {
	conn, err := c.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := executeRaw(ctx, conn.PgConn(), sessionSettings()+begin); err != nil {
		return fmt.Errorf("read the media tables: %w", brief(err))
	}
	for _, t := range mediaTables() {
		if err := t.rows(ctx, conn, yield); err != nil {
			return fmt.Errorf("read %s: %w", t.name, err)
		}
	}
	return nil
}

// mediaTable is one of Synapse's tables of media files.
type mediaTable struct {
	name    string
	columns []string // text columns of the row that name makes a file's names of, in this order
	length  string   // column
	from    string   // what follows FROM, with %s for the schema
	file    func(values []string) (class, path string)
}

// mediaTables are those of Synapse's schema that name files (its
// media/filepath.py). A preview's files are rows of local_media_repository with
// a url_cache.
func mediaTables() []mediaTable {
	return []mediaTable{
		{
			"local_media_repository",
			[]string{"m.media_id", "m.url_cache IS NOT NULL"},
			"m.media_length",
			"%[1]s.local_media_repository m", localFile,
		},
		{
			"local_media_repository_thumbnails",
			[]string{"t.media_id", "EXISTS (SELECT FROM %[1]s.local_media_repository m WHERE m.media_id = t.media_id AND m.url_cache IS NOT NULL)", "t.thumbnail_width", "t.thumbnail_height", "t.thumbnail_type", "t.thumbnail_method"},
			"t.thumbnail_length", "%[1]s.local_media_repository_thumbnails t", localThumbnail,
		},
		{
			"remote_media_cache",
			[]string{"m.media_origin", "m.filesystem_id"},
			"m.media_length",
			"%[1]s.remote_media_cache m", func(v []string) (string, string) {
				return synapse.RemoteContent, synapse.RemoteContentPath(v[0], v[1])
			},
		},
		{
			"remote_media_cache_thumbnails",
			[]string{"t.media_origin", "t.filesystem_id", "t.thumbnail_width", "t.thumbnail_height", "t.thumbnail_type", "t.thumbnail_method"},
			"t.thumbnail_length", "%[1]s.remote_media_cache_thumbnails t", func(v []string) (string, string) {
				return synapse.RemoteThumbnails, synapse.RemoteThumbnailPath(v[0], v[1], synapse.Thumbnail{Width: v[2], Height: v[3], Type: v[4], Method: v[5]})
			},
		},
	}
}

func localFile(v []string) (class, path string) {
	if v[1] == "true" {
		return synapse.URLCache, synapse.URLCachePath(v[0])
	}
	return synapse.LocalContent, synapse.LocalContentPath(v[0])
}

func localThumbnail(v []string) (class, path string) {
	t := synapse.Thumbnail{Width: v[2], Height: v[3], Type: v[4], Method: v[5]}
	if v[1] == "true" {
		return synapse.URLCacheThumbnails, synapse.URLCacheThumbnailPath(v[0], t)
	}
	return synapse.LocalThumbnails, synapse.LocalThumbnailPath(v[0], t)
}

// rows yields the table's files; nothing where the database has no such table.
func (t mediaTable) rows(ctx context.Context, conn *pgx.Conn, yield func(synapse.MediaRow) error) error {
	schema, columns, err := t.find(ctx, conn)
	if err != nil || schema == "" {
		return err
	}
	sum := "''"
	if slices.Contains(columns, "sha256") {
		sum = "coalesce(sha256, '')"
	}
	rows, err := conn.Query(ctx, t.query(pgx.Identifier{schema}.Sanitize(), sum))
	if err != nil {
		return brief(err)
	}
	defer rows.Close()
	values := make([]string, len(t.columns))
	var row synapse.MediaRow
	scan := []any{&row.Length, &row.SHA256}
	for i := range values {
		scan = append(scan, &values[i])
	}
	for rows.Next() {
		if err := rows.Scan(scan...); err != nil {
			return err
		}
		if row.Class, row.Path = t.file(values); row.Path == "" {
			continue // a row that names no file
		}
		if err := yield(row); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return brief(err)
	}
	return nil
}

func (t mediaTable) query(schema, sum string) string {
	sql := "SELECT coalesce(" + t.length + ", -1)::bigint, " + sum
	for _, c := range t.columns {
		sql += ", coalesce((" + c + ")::text, '')"
	}
	return fmt.Sprintf(sql+" FROM "+t.from, schema)
}

// find looks for the table where Synapse's own are: beside schema_version.
func (t mediaTable) find(ctx context.Context, conn *pgx.Conn) (schema string, columns []string, err error) {
	err = conn.QueryRow(ctx, `SELECT coalesce(min(n.nspname), ''), coalesce(array_agg(a.attname::text), '{}')
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relname = $1 AND c.relkind = 'r'
		AND EXISTS (SELECT FROM pg_catalog.pg_class v WHERE v.relname = 'schema_version' AND v.relnamespace = n.oid)`, t.name).
		Scan(&schema, &columns)
	if err != nil {
		return "", nil, brief(err)
	}
	return schema, columns, nil
}
