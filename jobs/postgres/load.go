package postgres

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// load is one attempt of a load.
type load struct {
	s    *Server
	q    synapse.LoadRequest
	toc  *outline
	lead *pgx.Conn
	db   row
	done bool // an earlier attempt completed it

	state      *state
	schema     string // of Synapse's tables; empty where it is not Synapse's
	version    int
	analyzing  atomic.Int64 // nanoseconds of all sessions
	statistics statistics
	unfilled   []string // materialized views, each with why
	rep        synapse.LoadReport
}

// Load fills a database with what a recovery point holds, and checks it. The
// database is empty, or half filled by a killed attempt of the same run, which
// then goes on where it was: every part of a table and every index is committed
// together with the note that it is done. A database that is neither is refused.
//
// An error means that the load is not complete. What a complete load lacks is
// in the report's findings.
func (s *Server) Load(ctx context.Context, q synapse.LoadRequest) (synapse.LoadReport, error) {
	if q.Jobs <= 0 {
		q.Jobs = s.o.Jobs
	}
	if q.Jobs <= 0 {
		q.Jobs = max(runtime.NumCPU(), 1)
	}
	if q.OnProgress == nil {
		q.OnProgress = func(int64, int64) {}
	}
	l := &load{s: s, q: q}
	if err := l.run(ctx); err != nil {
		if _, fetch := errors.AsType[*fetchError](err); !fetch && ctx.Err() == nil && isGone(err) {
			err = fmt.Errorf("the connection to the server was lost, what is loaded stays: see whether PostgreSQL runs: %w", err)
		}
		return l.rep, fmt.Errorf("load database %s: %w", q.Database, err)
	}
	return l.rep, nil
}

func (l *load) run(ctx context.Context) error {
	if l.q.Stream != nil {
		return l.runStream(ctx)
	}
	var err error
	if l.toc, err = newOutline(l.q.TOC, l.q.Only, l.q.Empty, renamed{l.q.Dump.Owner, l.q.Owner}); err != nil {
		return err
	}
	l.schema, l.rep.Unproved = l.toc.synapseSchema(), l.toc.unproved
	if err := l.open(ctx); err != nil {
		return err
	}
	defer func() { _ = l.lead.Close(context.WithoutCancel(ctx)) }()
	if !l.done {
		if err := l.fill(ctx); err != nil {
			return err
		}
	}
	return l.phase(ctx, "checks", l.check)
}

// fill is everything between the empty and the complete database.
func (l *load) fill(ctx context.Context) error {
	if err := l.ready(ctx); err != nil {
		return err
	}
	if err := l.phase(ctx, "schema", func(ctx context.Context) error { return l.script(ctx, "pre-data", l.toc.pre) }); err != nil {
		return err
	}
	if err := l.phase(ctx, "rows and indexes", l.tables); err != nil {
		return err
	}
	if err := l.phase(ctx, "constraints and the rest", func(ctx context.Context) error { return l.script(ctx, "post-data", l.toc.post) }); err != nil {
		return err
	}
	if err := l.phase(ctx, "materialized views", l.refresh); err != nil {
		return err
	}
	return l.phase(ctx, "finish", l.finish)
}

// ready opens the bookkeeping. Where a crash of the server has emptied unlogged
// tables, it would be wrong about them: then the load begins anew.
func (l *load) ready(ctx context.Context) error {
	for {
		if err := l.quiet(ctx, l.lead); err != nil {
			return err
		}
		var err error
		if l.state, err = openState(ctx, l.lead, l.q.Run); err != nil || !l.state.crashed || !l.toc.unlogged() {
			return err
		}
		if err := l.anew(ctx); err != nil {
			return err
		}
	}
}

// phase does a part and notes how long it took.
func (l *load) phase(ctx context.Context, name string, do func(context.Context) error) error {
	start := time.Now()
	err := do(ctx)
	l.rep.Phases = append(l.rep.Phases, synapse.Phase{Name: name, Seconds: time.Since(start).Seconds()})
	return err
}

// open connects, ends what a killed attempt left running on the server, and
// makes sure that the database is the run's.
func (l *load) open(ctx context.Context) error {
	var err error
	if l.lead, err = l.session(ctx); err != nil {
		return err
	}
	if err := l.claim(ctx); err != nil {
		_ = l.lead.Close(context.WithoutCancel(ctx))
		return err
	}
	return nil
}

// anew drops the run's database, makes it again and opens that.
func (l *load) anew(ctx context.Context) error {
	_ = l.lead.Close(ctx)
	if l.db.Mark.guest {
		return fmt.Errorf("database %s was there before this restore, and an attempt that was killed has left it half filled: empty it, or restore into a new one", l.db.Name)
	}
	if err := l.s.Drop(ctx, l.db.Name, l.db.OID); err != nil {
		return err
	}
	if _, err := l.s.Create(ctx, l.q.Run, l.db.Name, l.q.Dump, l.db.Owner); err != nil {
		return err
	}
	return l.open(ctx)
}

func (l *load) claim(ctx context.Context) error {
	l.version = serverVersion(l.lead)
	if err := l.endLeftovers(ctx); err != nil {
		return err
	}
	db, ok, err := databaseNamed(ctx, l.lead, l.q.Database)
	if err != nil || !ok {
		return errors.Join(err, fmt.Errorf("there is no such database"))
	}
	l.db = db
	l.rep.OID = db.OID
	if !db.Mark.of(l.q.Run) {
		_, err := l.s.adopt(ctx, l.q.Run, db)
		if err == nil {
			l.db, _, err = databaseNamed(ctx, l.lead, l.q.Database)
		}
		return err
	}
	l.done = db.Mark.done
	return nil
}

// application is what a load's sessions call themselves: at most 63 bytes
// count, so a digest would do no better than the run's end.
func (l *load) application() string {
	name := "synapse-maint load " + l.q.Run
	if len(name) > 63 {
		name = name[:63]
	}
	return name
}

// session opens a session as pg_restore would have it, without time limits that
// somebody set for the role or the database, and free to write: what is set on
// the database comes last, but not after all that a killed attempt has left. It speaks UTF8, which pgx wants and
// what is loaded row by row is in: whatever is not comes as a stream.
func (l *load) session(ctx context.Context) (*pgx.Conn, error) {
	c, err := l.s.cfg.With(l.q.Database).unstyled().Connect(ctx)
	if err != nil {
		return nil, err
	}
	err = execute(ctx, c, `SET client_encoding = UTF8; SET application_name = `+literal(l.application())+`;
		SET statement_timeout = 0; SET lock_timeout = 0; SET idle_in_transaction_session_timeout = 0; SET synchronous_commit = off;
		SET row_security = off; SET jit = off; SET work_mem = '64MB'; SET check_function_bodies = off; SET xmloption = content; SET standard_conforming_strings = on;
		SET client_min_messages = warning; SELECT pg_catalog.set_config('search_path', '', false)`)
	if err == nil {
		err = optional(ctx, c, serverVersion(c))
	}
	if err == nil {
		_, err = l.shape(ctx, c)
	}
	if err != nil {
		_ = c.Close(context.WithoutCancel(ctx))
		return nil, fmt.Errorf("prepare a session: %w", err)
	}
	return c, nil
}

// optional sets what only newer servers know.
func optional(ctx context.Context, c *pgx.Conn, version int) error {
	if version < 140000 {
		return nil
	}
	// A server whose client was killed shall not build on an index for hours.
	return execute(ctx, c, "SET client_connection_check_interval = '5s'")
}

// endLeftovers ends the sessions of an earlier attempt of the run: the server
// may not have noticed yet that their client is gone. Whoever calls Load holds
// the homeserver's lock, so that they are nobody else's.
func (l *load) endLeftovers(ctx context.Context) error {
	const q = `SELECT count(pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity
		WHERE application_name = $1 AND datname = $2 AND pid <> pg_catalog.pg_backend_pid()`
	for {
		var n int
		if err := l.lead.QueryRow(ctx, q, l.application(), l.q.Database).Scan(&n); err != nil {
			return fmt.Errorf("end the sessions of an earlier attempt: %w", err)
		}
		if n == 0 {
			return nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
