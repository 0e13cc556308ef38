package postgres

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

// A restore waits for its store in the middle of a transaction, and its
// statements take hours: neither is what the role's timeouts are for.
func TestTimeoutsOfTheRoleEndNoLoad(t *testing.T) {
	t.Parallel()
	for _, v := range versions {
		p := testbed.PostgresVersion(t, v)
		src, want := varied(t, p)
		dsn := as(t, p, p.Database(t), "hurried", "SUPERUSER")
		role := parsed(t, dsn).User()
		hurry(t, p, role)
		s := NewServer(config(t, dsn), Options{BinDir: p.BinDir()})
		created(t, p, s, "run-1", "load_hurried", src.dump)
		q := src.request(t, "run-1", "load_hurried", 64<<10)
		q.Jobs = 2
		watcher, once, whole := connected(t, config(t, p.URL("postgres"))), sync.Once{}, q.Fetch
		q.Fetch = func(ctx context.Context, table, part int, yield func([]byte) error) error {
			pieces := 0
			return whole(ctx, table, part, func(b []byte) (err error) {
				if pieces++; pieces == 2 { // its transaction has begun
					once.Do(func() { err = growsOld(ctx, watcher, role) })
				}
				return errors.Join(err, yield(b))
			})
		}
		rep, err := s.Load(t.Context(), q)
		must(t, err)
		sound(t, rep)
		same(t, "the loaded database", textOf(t, s.cfg.With("load_hurried"), filepath.Join(p.BinDir(), "pg_dump")), want)
	}
}

// growsOld waits until a transaction of the role is older than its timeouts
// allow.
func growsOld(ctx context.Context, c *pgx.Conn, role string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for old := false; !old; {
		err := c.QueryRow(ctx, "SELECT count(*) > 0 FROM pg_stat_activity WHERE usename = "+literal(role)+" AND now() - xact_start > interval '300 ms'").Scan(&old)
		if err != nil {
			return fmt.Errorf("no transaction grows old: %w", err)
		}
	}
	return nil
}
