package postgres

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// lead is the connection that the snapshot lives in, with a lock on every table
// that is copied. It is idle while workers copy, and watched: without it the
// tables could change under them.
type lead struct {
	cfg     *Config
	conn    *pgx.Conn
	version int // server_version_num
	id      string
	tables  []*relation

	busy  sync.Mutex      // held by who uses conn after watch
	alive context.Context // ends, with errLost, when the connection is lost
	lose  context.CancelCauseFunc
	stop  func() // ends the watch and waits for it
}

// lockWait is how long somebody else's exclusive lock on a table is waited for.
const lockWait = 10 * time.Minute

// openLead connects.
func openLead(ctx context.Context, c *Config) (*lead, error) {
	conn, err := c.Connect(ctx)
	if err != nil {
		return nil, err
	}
	l := &lead{cfg: c.pinned(ctx, conn), conn: conn, version: serverVersion(conn), stop: func() {}}
	l.alive, l.lose = context.WithCancelCause(context.WithoutCancel(ctx))
	if err := execute(ctx, conn, sessionSettings()); err != nil {
		_ = l.close()
		return nil, fmt.Errorf("prepare the connection to %s: %w", c, brief(err))
	}
	return l, nil
}

// sessionSettings are those that pg_dump uses, so that the rows are the same
// text; and no timeouts, whatever the role has (see also [newerTimeouts]).
func sessionSettings() string {
	return `SET DateStyle = ISO; SET IntervalStyle = postgres; SET extra_float_digits = 3; SET bytea_output = hex;
		SET synchronize_seqscans = off; SET row_security = off; SET statement_timeout = 0; SET lock_timeout = 0;
		SET idle_in_transaction_session_timeout = 0; SET search_path = ''; SET jit = off;
		SET max_parallel_workers_per_gather = 0; SET enable_seqscan = off; SET enable_tidscan = on;`
}

// begin opens the transaction that all of a snapshot's sessions have.
const begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY NOT DEFERRABLE;"

// freeze locks the tables and then takes the snapshot, in this order: in
// between, one of them could be truncated or rewritten, and would be copied as
// empty. It returns the name of Synapse's table of one-time keys, if there is
// one.
func (l *lead) freeze(ctx context.Context) (otk *relation, err error) {
	const attempts = 5
	for n := 1; ; n++ {
		otk, err = l.tryFreeze(ctx)
		var pe *pgconn.PgError
		gone := errors.As(err, &pe) && (pe.Code == "42P01" || pe.Code == "3F000" || pe.Code == "XX000")
		if !gone && !errors.Is(err, errRewritten) || n == attempts {
			return otk, err
		}
		if err := execute(ctx, l.conn, "ROLLBACK"); err != nil { // a table was dropped or rewritten just now
			return nil, err
		}
	}
}

func (l *lead) tryFreeze(ctx context.Context) (*relation, error) {
	before, err := l.relations(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.mayRead(ctx, before); err != nil {
		return nil, err
	}
	if err := execute(ctx, l.conn, begin+fmt.Sprintf("SET LOCAL lock_timeout = %d", lockWait.Milliseconds())); err != nil {
		return nil, err
	}
	locked := map[uint32]bool{}
	if err := l.lock(ctx, before, locked); err != nil {
		return nil, err
	}
	if err := l.conn.QueryRow(ctx, "SELECT pg_catalog.pg_export_snapshot()").Scan(&l.id); err != nil {
		return nil, fmt.Errorf("export the snapshot: %w", err)
	}
	if l.tables, err = l.relations(ctx); err != nil {
		return nil, err
	}
	if err := l.mayRead(ctx, l.tables); err != nil {
		return nil, err
	}
	if err := l.lock(ctx, l.tables, locked); err != nil { // those that were made in between
		return nil, err
	}
	if err := l.unmoved(ctx, locked); err != nil {
		return nil, err
	}
	return oneTimeKeys(l.tables), execute(ctx, l.conn, "SET LOCAL lock_timeout = 0")
}

// errRewritten says that a table has other files than in the snapshot, to which
// it looks empty: it was made after the first lock, and truncated or rewritten
// before the second.
var errRewritten = errors.New("was rewritten while the snapshot was taken")

// unmoved proves that no table that is locked was rewritten since the snapshot.
// The query sees pg_class as it was then, the function as it is now.
func (l *lead) unmoved(ctx context.Context, locked map[uint32]bool) error {
	var moved string
	err := l.conn.QueryRow(ctx, `SELECT coalesce(pg_catalog.min(c.oid::pg_catalog.regclass::text), '') FROM pg_catalog.pg_class c
		WHERE c.relkind = 'r' AND c.relfilenode <> 0 AND c.relfilenode IS DISTINCT FROM pg_catalog.pg_relation_filenode(c.oid)
		AND c.oid = ANY ($1)`, slices.Collect(maps.Keys(locked))).Scan(&moved)
	if err != nil {
		return fmt.Errorf("look whether tables were rewritten: %w", brief(err))
	}
	if moved != "" {
		return fmt.Errorf("table %s %w: run it again", moved, errRewritten)
	}
	return nil
}

// lock takes an ACCESS SHARE lock on the tables that don't have it.
func (l *lead) lock(ctx context.Context, tables []*relation, locked map[uint32]bool) error {
	const atOnce = 500
	var names []string
	flush := func() error {
		if len(names) == 0 {
			return nil
		}
		err := execute(ctx, l.conn, "LOCK TABLE "+strings.Join(names, ", ")+" IN ACCESS SHARE MODE")
		names = names[:0]
		var pe *pgconn.PgError
		if errors.As(err, &pe) && pe.Code == "55P03" {
			return fmt.Errorf("lock the tables: another session has held one of them exclusively for %s (pg_locks tells which)", lockWait)
		}
		if err != nil {
			return fmt.Errorf("lock the tables: %w", brief(err))
		}
		return nil
	}
	for _, t := range tables {
		if locked[t.OID] || !t.locks() {
			continue
		}
		locked[t.OID] = true
		names = append(names, "ONLY "+t.ident())
		if len(names) == atOnce {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// locks says whether pg_dump deals with the table at all.
func (r *relation) locks() bool {
	return (r.Kind == "r" || r.Kind == "p") && (!r.Extension || r.Condition != noCondition)
}

// noCondition marks tables of an extension that are not its configuration: the
// extension brings their rows, or they are not kept.
const noCondition = "\x01"

const selectRelations = `SELECT c.oid, n.nspname, c.relname, c.relkind::text,
	pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND pg_catalog.has_table_privilege(c.oid, 'SELECT'),
	CASE WHEN c.relrowsecurity THEN pg_catalog.row_security_active(c.oid) ELSE false END,
	coalesce(m.amname = 'heap', false), e.oid IS NOT NULL,
	CASE WHEN e.oid IS NULL THEN '' WHEN c.oid = ANY (e.extconfig)
		THEN coalesce(e.extcondition[pg_catalog.array_position(e.extconfig, c.oid)], '') ELSE E'\x01' END
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_am m ON m.oid = c.relam
LEFT JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.objsubid = 0
	AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND d.deptype = 'e'
LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
WHERE c.relkind IN ('r', 'p', 'S') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY c.oid`

// relations reads the catalog: tables and sequences.
func (l *lead) relations(ctx context.Context) ([]*relation, error) {
	rows, err := l.conn.Query(ctx, selectRelations)
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*relation, error) {
		var r relation
		err := row.Scan(&r.OID, &r.Schema, &r.Name, &r.Kind, &r.Readable, &r.Filtered, &r.Heap, &r.Extension, &r.Condition)
		return &r, err
	})
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", brief(err))
	}
	return list, nil
}

// mayRead names what the role can't read, before anything is copied.
func (l *lead) mayRead(ctx context.Context, list []*relation) error {
	var denied, hidden []string
	for _, r := range list {
		if r.Extension && r.Condition == noCondition {
			continue
		}
		switch {
		case !r.Readable:
			denied = append(denied, r.Schema+"."+r.Name)
		case r.Filtered:
			hidden = append(hidden, r.Schema+"."+r.Name)
		}
	}
	if len(denied)+len(hidden) == 0 {
		return nil
	}
	var user string
	if err := l.conn.QueryRow(ctx, "SELECT current_user").Scan(&user); err != nil {
		return err
	}
	if len(denied) > 0 {
		return fmt.Errorf("role %s may not read %s: grant it SELECT on them, or pg_read_all_data", user, few(denied))
	}
	return fmt.Errorf("row-level security would hide rows of %s from role %s: give it BYPASSRLS, or use the tables' owner", few(hidden), user)
}

// few names the first of many.
func few(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// oneTimeKeys finds Synapse's table of one-time keys.
func oneTimeKeys(list []*relation) *relation {
	schemas := map[string][]string{}
	for _, r := range list {
		if r.Kind == "r" {
			schemas[r.Schema] = append(schemas[r.Schema], r.Name)
		}
	}
	for _, r := range list {
		if r.Kind == "r" && r.Name == synapse.OneTimeKeysTable && synapse.IsSynapse(schemas[r.Schema]) {
			return r
		}
	}
	return nil
}

// watch notices when the connection ends.
func (l *lead) watch() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(l.alive))
	done := make(chan struct{})
	l.stop = func() { cancel(); <-done }
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if _, err := l.conn.WaitForNotification(ctx); err != nil && ctx.Err() == nil {
				l.lose(&errLost{cause: brief(err)})
				return
			}
		}
	}()
}

// because returns why the snapshot was lost, if it was, instead of what came of
// that.
func (l *lead) because(err error) error {
	if lost := context.Cause(l.alive); lost != nil {
		return lost
	}
	return err
}

func (l *lead) close() error {
	l.stop()
	l.lose(errors.New("the snapshot was closed"))
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return l.conn.Close(ctx)
}
