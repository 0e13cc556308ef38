package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// begun copies a table in the background and returns when the first rows are
// there. Its error comes through the channel once goOn is closed.
func begun(t *testing.T, s *Snapshot) (goOn chan struct{}, result chan error) {
	t.Helper()
	r := rangeOf(t, s, "t")
	first, goOn, result := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		once := false
		result <- s.CopyOut(t.Context(), r, func(synapse.Chunk) error {
			if !once {
				once = true
				close(first)
				<-goOn
			}
			return nil
		})
	}()
	select {
	case <-first:
	case err := <-result:
		t.Fatalf("no rows: %v", err)
	}
	return goOn, result
}

const bigTable = `CREATE TABLE t (id int, body text); INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 80000) g; CREATE TABLE other (id int)`

func whole(o *Options) { o.PagesPerRange = 1 << 20 }

// lost proves that an error says what to do, and came in time.
func lost(t *testing.T, result chan error) {
	t.Helper()
	select {
	case err := <-result:
		var l *errLost
		if !errors.As(err, &l) || !strings.HasPrefix(err.Error(), "the snapshot is lost: ") || !strings.HasSuffix(err.Error(), "; run the backup again") || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it hangs")
	}
}

func own(t *testing.T) *testbed.PG {
	t.Helper()
	p, err := testbed.StartPostgres(t.Context(), testbed.PGOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func TestServerRestartInTheMiddleIsOneClearError(t *testing.T) {
	t.Parallel()
	p := own(t)
	for _, end := range []func(testing.TB){p.Stop, p.Kill} {
		dsn := filled(t, p, bigTable)
		must(t, p.Exec(t.Context(), "postgres", "CHECKPOINT")) // commits are not durable there
		s, err := Snap(t.Context(), parsed(t, dsn), Options{Jobs: 2, BinDir: p.BinDir(), PagesPerRange: 1 << 20})
		must(t, err)
		goOn, result := begun(t, s)
		end(t)
		close(goOn)
		lost(t, result)
		again := make(chan error, 1)
		p.Start(t)
		again <- s.CopyOut(t.Context(), rangeOf(t, s, "other"), func(synapse.Chunk) error { return nil })
		lost(t, again)
		_ = s.Close()
		// And the next attempt works.
		if got := textOfTable(t, snap(t, p, dsn, whole), "t"); strings.Count(got, "\n") != 80000 {
			t.Errorf("%d rows", strings.Count(got, "\n"))
		}
	}
}

// Without the lead the locks are gone: workers that live on could copy a table
// that somebody has just emptied.
func TestALostLeadStopsTheWorkersThatLive(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	dsn := filled(t, p, bigTable)
	s := snap(t, p, dsn, whole)
	goOn, result := begun(t, s)
	must(t, p.Exec(t.Context(), "postgres", fmt.Sprintf("SELECT pg_terminate_backend(%d)", s.lead.conn.PgConn().PID())))
	<-s.lead.alive.Done()
	close(goOn)
	lost(t, result)
	go func() {
		result <- s.Stream(context.WithoutCancel(t.Context()), func([]byte) error { return nil })
	}()
	lost(t, result)
}

// Nor are rows good that were all there by then: who knows what of them was
// read after the locks were gone.
func TestALeadLostWithTheLastRowsIsALostSnapshot(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	s := snap(t, p, filled(t, p, `CREATE TABLE t (id int); INSERT INTO t VALUES (1)`))
	result := make(chan error, 1)
	result <- s.CopyOut(t.Context(), rangeOf(t, s, "t"), func(synapse.Chunk) error {
		err := p.Exec(t.Context(), "postgres", fmt.Sprintf("SELECT pg_terminate_backend(%d)", s.lead.conn.PgConn().PID()))
		<-s.lead.alive.Done()
		return err
	})
	lost(t, result)
}

func TestALostWorkerIsNotALostSnapshot(t *testing.T) {
	t.Parallel()
	p := testbed.Postgres(t)
	dsn := filled(t, p, bigTable)
	s := snap(t, p, dsn, whole)
	goOn, result := begun(t, s)
	must(t, p.Exec(t.Context(), "postgres", `SELECT 1 / count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'COPY "public"."t" %' AND datname = `+literal(s.Database().Name)))
	close(goOn)
	if err := <-result; err == nil || !strings.Contains(err.Error(), "copy out public.t: ") {
		t.Errorf("got %v", err)
	}
	if got := textOfTable(t, s, "t"); strings.Count(got, "\n") != 80000 {
		t.Errorf("the next attempt has %d rows", strings.Count(got, "\n"))
	}
}
