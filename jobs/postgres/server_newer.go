package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// newer counts what a live Synapse database has that a recovery point, taken at
// an instant, has not. Events are numbered as they come: the search begins at
// the newest and ends at the first that is old enough, so it reads no more than
// what it counts, however large the table. It takes a minute at most.
func newer(ctx context.Context, c *pgx.Conn, taken time.Time) (synapse.Newer, error) {
	ms := taken.UnixMilli()
	n := synapse.Newer{Known: true}
	if err := execute(ctx, c, "SET statement_timeout = '60s'; SET default_transaction_read_only = on"); err != nil {
		return synapse.Newer{}, err
	}
	var last *int64
	err := c.QueryRow(ctx, `SELECT received_ts FROM events WHERE stream_ordering = (SELECT max(stream_ordering) FROM events)`).Scan(&last)
	if err != nil && err != pgx.ErrNoRows { //nolint:errorlint // pgx returns it as it is
		return synapse.Newer{}, fmt.Errorf("newest event: %w", err)
	}
	if last != nil {
		n.LastSeen = time.UnixMilli(*last).UTC()
	}
	for _, q := range []struct {
		what, sql string
		arg       int64
		to        *int64
	}{
		{"events", `SELECT count(*) FROM events WHERE stream_ordering > coalesce((SELECT stream_ordering FROM events WHERE stream_ordering > 0 AND received_ts <= $1 ORDER BY stream_ordering DESC LIMIT 1), 0)`, ms, &n.Events},
		{"users", `SELECT count(*) FROM users WHERE creation_ts > $1`, ms / 1000, &n.Users},
		{"devices", `SELECT count(*) FROM devices WHERE last_seen > $1 AND NOT coalesce(hidden, false)`, ms, &n.Devices},
		{"media", `SELECT count(*) FROM local_media_repository WHERE created_ts > $1`, ms, &n.Media},
	} {
		if err := c.QueryRow(ctx, q.sql, q.arg).Scan(q.to); err != nil {
			return synapse.Newer{}, fmt.Errorf("count newer %s: %w", q.what, err)
		}
	}
	return n, nil
}
