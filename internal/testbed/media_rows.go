package testbed

import (
	"context"
	"fmt"
	"path"

	"github.com/jackc/pgx/v5"
)

// SaveRows makes the media tables of a Synapse database say what is in the
// store: what they said before goes.
func (m *Media) SaveRows(ctx context.Context, url string) error {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("media rows: %w", err)
	}
	defer c.Close(context.WithoutCancel(ctx))
	tx, err := c.Begin(ctx)
	if err != nil {
		return fmt.Errorf("media rows: %w", err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	for _, t := range m.rows() {
		if _, err := tx.Exec(ctx, "DELETE FROM "+t.name); err != nil {
			return fmt.Errorf("media rows: %s: %w", t.name, err)
		}
		if _, err := tx.CopyFrom(ctx, pgx.Identifier{t.name}, t.columns, pgx.CopyFromRows(t.rows)); err != nil {
			return fmt.Errorf("media rows: %s: %w", t.name, err)
		}
	}
	return tx.Commit(ctx)
}

type mediaTable struct {
	name    string
	columns []string
	rows    [][]any
}

func (m *Media) rows() []*mediaTable {
	local := &mediaTable{"local_media_repository", []string{
		"media_id", "media_type", "media_length", "created_ts", "upload_name", "user_id", "url_cache", "last_access_ts", "authenticated", "sha256",
	}, nil}
	localThumbnails := &mediaTable{"local_media_repository_thumbnails", []string{
		"media_id", "thumbnail_width", "thumbnail_height", "thumbnail_type", "thumbnail_method", "thumbnail_length",
	}, nil}
	remote := &mediaTable{"remote_media_cache", []string{
		"media_origin", "media_id", "media_type", "created_ts", "upload_name", "media_length", "filesystem_id", "last_access_ts", "authenticated", "sha256",
	}, nil}
	remoteThumbnails := &mediaTable{"remote_media_cache_thumbnails", []string{
		"media_origin", "media_id", "thumbnail_width", "thumbnail_height", "thumbnail_method", "thumbnail_type", "thumbnail_length", "filesystem_id",
	}, nil}
	for _, i := range m.Items {
		ms, name := i.Created.UnixMilli(), i.ID[len(i.ID)-6:]+"."+path.Base(i.Type)
		var sum, user, preview any
		if !i.Unhashed {
			sum = i.SHA256
		}
		if i.Class == "remote_content" {
			remote.rows = append(remote.rows, []any{i.Origin, i.ID, i.Type, ms, name, i.Size, i.FileID, ms, true, sum})
			for _, t := range i.Thumbnails {
				remoteThumbnails.rows = append(remoteThumbnails.rows, []any{i.Origin, i.ID, t.Width, t.Height, t.Method, i.Type, t.Size, i.FileID})
			}
			continue
		}
		if i.Class == "url_cache" {
			preview = "https://example.org/" + name
		} else {
			user = m.options.User
		}
		local.rows = append(local.rows, []any{i.ID, i.Type, i.Size, ms, name, user, preview, ms, true, sum})
		for _, t := range i.Thumbnails {
			localThumbnails.rows = append(localThumbnails.rows, []any{i.ID, t.Width, t.Height, i.Type, t.Method, t.Size})
		}
	}
	return []*mediaTable{local, localThumbnails, remote, remoteThumbnails}
}
