package restore

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// An interrupted REINDEX CONCURRENTLY leaves an index that is never used and
// not whole, beside the good one. pg_dump leaves it out: its absence must not
// be taken for damage, and the restored database is rid of it.
func TestAnIndexThatAnInterruptedReindexLeftHindersNoRestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.exec(w.live, "TRUNCATE e2e_one_time_keys_json") // what a restore leaves of it
	w.state = w.fingerprint(w.live)
	w.interruptReindex("events_stream", "events")
	w.point = w.take()
	w.exec(w.live, "INSERT INTO rooms VALUES ('!since')")
	_, err := w.restore(w.options(synapse.ModeSwap))
	w.ok(err)
	w.same(w.live, w.state)
}

// interruptReindex ends a REINDEX CONCURRENTLY while it waits for somebody who
// writes into the table.
func (w *world) interruptReindex(index, table string) {
	w.t.Helper()
	ctx := w.t.Context()
	connect := func() *pgx.Conn {
		c, err := pgx.Connect(ctx, w.pg.URL(w.live))
		w.ok(err)
		return c
	}
	writer, reindexer := connect(), connect()
	_, err := writer.Exec(ctx, "BEGIN; LOCK TABLE "+table+" IN ROW EXCLUSIVE MODE")
	w.ok(err)
	ended := make(chan error, 1)
	go func() {
		_, err := reindexer.Exec(ctx, "REINDEX INDEX CONCURRENTLY "+index)
		ended <- err
	}()
	w.exec(w.live, `DO $$ BEGIN FOR i IN 1..2000 LOOP
		EXIT WHEN EXISTS (SELECT FROM pg_index WHERE NOT indisvalid); COMMIT; PERFORM pg_sleep(0.01); END LOOP; END $$`)
	w.ok(reindexer.PgConn().CancelRequest(ctx))
	if err := <-ended; err == nil {
		w.t.Fatal("the REINDEX was not interrupted")
	}
	for _, c := range []*pgx.Conn{writer, reindexer} {
		w.ok(c.Close(context.WithoutCancel(ctx)))
	}
	w.unused(w.live)
	c := connect()
	defer c.Close(ctx) //nolint:errcheck // read only
	var left int
	w.ok(c.QueryRow(ctx, "SELECT count(*) FROM pg_index WHERE NOT indisvalid").Scan(&left))
	if left != 1 {
		w.t.Fatalf("the REINDEX left %d invalid indexes", left)
	}
}
