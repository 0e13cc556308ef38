package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// asideInfix is in the name of a live database that was put aside, before the
// run.
const asideInfix = "_before_"

// maxName is how many bytes of a name PostgreSQL keeps.
const maxName = 63

// asideName is what the live database is called after the swap. Where it would
// be too long, the database's own name is cut.
func asideName(live, run string) string {
	tail := asideInfix + run
	if len(tail) > maxName-8 {
		tail = tail[:maxName-8]
	}
	if len(live)+len(tail) > maxName {
		live = strings.ToValidUTF8(live[:maxName-len(tail)], "")
	}
	return live + tail
}

// Swap puts a loaded database in the place of the live one, which is kept under
// another name. Both renames are one transaction, so there is nothing between
// before and after; the databases are known by their OIDs, so a swap that was
// done is found to be done. What is set on the live database (owner,
// privileges, settings, connection limit) is set on the new one.
//
// Sessions on the live database are ended with Terminate; without, they are
// named and nothing is done.
func (s *Server) Swap(ctx context.Context, q synapse.SwapRequest) (synapse.Swap, error) {
	c, err := s.admin(ctx, q.Live, q.New)
	if err != nil {
		return synapse.Swap{}, err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	sw, todo, err := planSwap(ctx, c, q)
	if err != nil || !todo {
		return sw, err
	}
	if !q.Terminate {
		if err := mustBeUnused(ctx, c, sw); err != nil {
			return synapse.Swap{}, err
		}
	}
	statements, err := s.inherit(ctx, c, sw)
	if err != nil {
		return synapse.Swap{}, err
	}
	if sw.OldOID != 0 {
		statements = append(statements, rename(sw.Live, sw.OldName))
	}
	statements = append(statements, rename(sw.NewName, sw.Live))
	if err := s.renameAll(ctx, c, sw, q.Terminate, statements); err != nil {
		return synapse.Swap{}, fmt.Errorf("swap %s and %s: %w", sw.Live, sw.NewName, err)
	}
	return sw, nil
}

// planSwap says from the OIDs what a swap is and whether it is still to be done.
func planSwap(ctx context.Context, c *pgx.Conn, q synapse.SwapRequest) (sw synapse.Swap, todo bool, err error) {
	sw = synapse.Swap{Run: q.Run, Live: q.Live, NewName: q.New, NewOID: q.NewOID, OldOID: q.OldOID, OldName: asideName(q.Live, q.Run)}
	loaded, ok, err := databaseByOID(ctx, c, q.NewOID)
	if err != nil {
		return sw, false, err
	}
	if !ok {
		return sw, false, fmt.Errorf("swap %s: the loaded database %s (OID %d) is gone; nothing was renamed", q.Live, q.New, q.NewOID)
	}
	if !loaded.Mark.of(q.Run) || !loaded.Mark.done {
		return sw, false, fmt.Errorf("swap %s: database %s bears no mark of a complete load of run %s; nothing was renamed", q.Live, loaded.Name, q.Run)
	}
	if loaded.Name == q.Live { // done before
		return swapDone(ctx, c, sw)
	}
	sw.NewName = loaded.Name
	return planOld(ctx, c, q, sw)
}

// swapDone fills in a swap that was done.
func swapDone(ctx context.Context, c *pgx.Conn, sw synapse.Swap) (synapse.Swap, bool, error) {
	aside, _, err := databaseNamed(ctx, c, sw.OldName)
	if sw.OldOID != 0 {
		aside, _, err = databaseByOID(ctx, c, sw.OldOID)
	}
	if err != nil {
		return sw, false, err
	}
	sw.OldOID, sw.OldName = aside.OID, aside.Name // nothing where there was none
	return sw, false, nil
}

// planOld finds the database that is live now.
func planOld(ctx context.Context, c *pgx.Conn, q synapse.SwapRequest, sw synapse.Swap) (synapse.Swap, bool, error) {
	live, ok, err := databaseNamed(ctx, c, q.Live)
	switch {
	case err != nil:
		return sw, false, err
	case !ok && q.OldOID == 0:
		sw.OldName = "" // there is none: nothing to put aside
		return sw, true, nil
	case !ok || q.OldOID != 0 && live.OID != q.OldOID:
		return sw, false, fmt.Errorf("swap %s: it is no longer the database that was planned for (OID %d): somebody renamed or replaced it; nothing was renamed", q.Live, q.OldOID)
	}
	sw.OldOID = live.OID
	if _, taken, err := databaseNamed(ctx, c, sw.OldName); err != nil || taken {
		return sw, false, errors.Join(err, fmt.Errorf("swap %s: there is a database %s already; nothing was renamed", q.Live, sw.OldName))
	}
	return sw, true, nil
}

func rename(from, to string) string {
	return "ALTER DATABASE " + quote(from) + " RENAME TO " + quote(to)
}

// mustBeUnused refuses while there are sessions on either database.
func mustBeUnused(ctx context.Context, c *pgx.Conn, sw synapse.Swap) error {
	list, err := lasting(ctx, c, sw.OldOID, sw.NewOID)
	if err == nil && len(list) > 0 {
		err = fmt.Errorf("swap %s: in use by %s: stop Synapse, or let its sessions be ended with --terminate-sessions; nothing was renamed", sw.Live, describe(list))
	}
	return err
}

// renameAll runs the statements in one transaction. RENAME takes the database's
// exclusive lock, so that nobody new gets in, and waits up to 5 s for the
// sessions that are there: meanwhile, a second session ends them.
func (s *Server) renameAll(ctx context.Context, c *pgx.Conn, sw synapse.Swap, terminate bool, statements []string) error {
	if terminate {
		stop, err := s.ending(ctx, []string{sw.Live, sw.NewName, sw.OldName}, sw.OldOID, sw.NewOID)
		if err != nil {
			return err
		}
		defer stop()
	}
	err := execute(ctx, c, "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '30s'; "+strings.Join(statements, "; ")+"; COMMIT")
	var pe *pgconn.PgError
	if errors.As(err, &pe) && pe.Code == "55006" { // object_in_use
		return fmt.Errorf("%w (%s); nothing was renamed", err, pe.Detail)
	}
	return err
}

// ending ends the sessions on databases in a session of its own, until stop is
// called.
func (s *Server) ending(ctx context.Context, names []string, oids ...uint32) (stop func(), err error) {
	c, err := s.admin(ctx, names...)
	if err != nil {
		return nil, err
	}
	kctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
		endSessions(kctx, c, oids...)
	}()
	return func() { cancel(); <-done }, nil
}

// endSessions ends the sessions on the databases, again and again until ctx
// ends: until the rename or the drop holds its lock, new ones can come.
func endSessions(ctx context.Context, c *pgx.Conn, oids ...uint32) {
	for {
		_, err := c.Exec(ctx, `SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
			WHERE datid = ANY($1) AND pid <> pg_catalog.pg_backend_pid() AND backend_type = 'client backend'`, oids)
		if err != nil || pause(ctx, 20*time.Millisecond) != nil {
			return // what waits for the end of the sessions will say what holds it up
		}
	}
}

// Undo puts the database that was live before a swap back in its place. An undo
// that was done is found to be done. Sessions on either database are ended with
// terminate; without, they are a refusal.
func (s *Server) Undo(ctx context.Context, sw synapse.Swap, terminate bool) error {
	c, err := s.admin(ctx, sw.Live, sw.NewName, sw.OldName)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	old, ok, err := databaseByOID(ctx, c, sw.OldOID)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("undo the swap of %s: the database from before (OID %d, %s) is gone; %s stays as it is", sw.Live, sw.OldOID, sw.OldName, sw.Live)
	}
	if old.Name == sw.Live {
		return nil
	}
	live, ok, err := databaseNamed(ctx, c, sw.Live)
	if err != nil {
		return err
	}
	var statements []string
	switch {
	case ok && live.OID != sw.NewOID:
		return fmt.Errorf("undo the swap of %s: it is neither the database from before nor the restored one: somebody replaced it; nothing was renamed", sw.Live)
	case ok:
		statements = append(statements, rename(sw.Live, sw.NewName))
	}
	if !terminate {
		if err := mustBeUnused(ctx, c, sw); err != nil {
			return err
		}
	}
	statements = append(statements, rename(old.Name, sw.Live))
	if err := s.renameAll(ctx, c, sw, terminate, statements); err != nil {
		return fmt.Errorf("undo the swap of %s: %w", sw.Live, err)
	}
	return nil
}
