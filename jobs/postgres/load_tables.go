package postgres

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"golang.org/x/sync/errgroup"
)

// tables copies all rows and builds all indexes, on as many sessions as there
// are jobs.
func (l *load) tables(ctx context.Context) error {
	if l.state.phases["tables"] {
		l.count()
		return nil
	}
	q := newQueue(l.work())
	var done atomic.Int64
	done.Store(l.rep.Resumed)
	l.q.OnProgress(l.rep.Resumed, l.rep.Bytes)
	progress := func(n int64) { l.q.OnProgress(done.Add(n), l.rep.Bytes) }
	own, err := l.serversBuildMemory(ctx)
	if err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(gctx, q.stop)
	defer stop()
	for range l.q.Jobs {
		g.Go(func() error {
			w := worker{l: l, q: q, progress: progress, memory: own}
			return w.run(gctx)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// pg_restore does not analyze: say what it costs.
	l.rep.Phases = append(l.rep.Phases, synapse.Phase{Name: "analyze, in all sessions together, during rows and indexes", Seconds: time.Duration(l.analyzing.Load()).Seconds()})
	return execute(ctx, l.lead, "INSERT INTO "+bookkeeping+".phase VALUES ('tables')")
}

// work lists what is left to do, and counts what there is in all.
func (l *load) work() []*tableWork {
	l.count()
	builds := map[int][]build{}
	for _, b := range l.toc.build {
		if !l.state.built[b.id] {
			builds[b.table] = append(builds[b.table], b)
		}
	}
	var tables []*tableWork
	for i, t := range l.q.Tables {
		if !l.toc.data[t.DumpID] {
			continue
		}
		w := &tableWork{LoadTable: t, index: i, builds: builds[t.DumpID], analyze: t.Rows > 0}
		delete(builds, t.DumpID)
		for n, p := range t.Parts {
			w.bytes += p.Bytes
			switch {
			case l.skipped(t.Table):
			case l.state.parts[partID{t.DumpID, n}]:
				l.rep.Resumed += p.Bytes
			default:
				w.parts = append(w.parts, n)
				w.left += p.Bytes
			}
		}
		tables = append(tables, w)
	}
	inOrder(tables, l.toc.brought())
	for id, b := range builds { // of tables that the point has no rows of: a finding, but not without indexes
		tables = append(tables, &tableWork{LoadTable: synapse.LoadTable{Table: synapse.Table{DumpID: id}}, builds: b})
	}
	return tables
}

// inOrder lets the tables with these dump IDs be loaded one after the other.
func inOrder(tables []*tableWork, ids []int) {
	byID := make(map[int]*tableWork, len(tables))
	for _, t := range tables {
		byID[t.DumpID] = t
	}
	var last *tableWork
	for _, id := range ids {
		if t := byID[id]; t != nil {
			t.after, last = last, t
		}
	}
}

// count fills in what the report says of the whole.
func (l *load) count() {
	l.rep.Indexes = len(l.toc.build)
	for _, t := range l.q.Tables {
		if !l.toc.data[t.DumpID] || l.skipped(t.Table) {
			continue
		}
		l.rep.Tables++
		l.rep.Rows += t.Rows
		for _, p := range t.Parts {
			l.rep.Bytes += p.Bytes
		}
	}
}

// skipped says whether the rows of a table are left out on purpose.
func (l *load) skipped(t synapse.Table) bool {
	return !l.q.KeepOTK && t.Name == synapse.OneTimeKeysTable && l.schema == t.Schema
}

// worker does pieces of work on one session.
type worker struct {
	l        *load
	q        *queue
	progress func(int64)
	memory   int64 // the server's maintenance_work_mem, in kB
	conn     *pgx.Conn
}

func (w *worker) run(ctx context.Context) error {
	var err error
	if w.conn, err = w.l.session(ctx); err != nil {
		return err
	}
	defer func() { _ = w.conn.Close(context.WithoutCancel(ctx)) }()
	for {
		p, ok := w.q.next(w.l.q.Jobs)
		if !ok {
			return ctx.Err()
		}
		if err := w.do(ctx, p); err != nil {
			return err
		}
	}
}

func (w *worker) do(ctx context.Context, p piece) error {
	if p.kind == copyPart {
		return w.copyParts(ctx, p)
	}
	defer w.q.end(p)
	if p.kind == buildIndex {
		return w.build(ctx, p)
	}
	start := time.Now()
	defer func() { w.l.analyzing.Add(int64(time.Since(start))) }()
	return w.l.analyze(ctx, w.conn, quote(p.table.Schema)+"."+quote(p.table.Name))
}

// build makes an index or constraint, and notes it, in one transaction.
func (w *worker) build(ctx context.Context, p piece) error {
	b := p.build
	sql := fmt.Sprintf(`BEGIN; SET LOCAL maintenance_work_mem = %d; SET LOCAL max_parallel_maintenance_workers = %d; SET LOCAL default_tablespace = %s; %s;`,
		buildMemory(p.table.bytes, w.memory), p.helpers, literal(b.tablespace), b.sql)
	table := literal(quote(p.table.Schema) + "." + quote(p.table.Name))
	if p.table.Name == "" { // no rows of it
		table = "'0'"
	}
	// CREATE INDEX leaves the exact number of rows that it saw in pg_class.
	sql += fmt.Sprintf(`INSERT INTO %s.built SELECT %d, %d, coalesce((SELECT reltuples FROM pg_catalog.pg_class WHERE oid = %s::pg_catalog.regclass), -1) RETURNING rows; COMMIT`,
		bookkeeping, b.id, b.table, table)
	results, err := w.conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return fmt.Errorf("build %s: %w", b.name, err)
	}
	for _, r := range results {
		if len(r.Rows) == 1 && len(r.Rows[0]) == 1 {
			var rows float64
			if _, err := fmt.Sscan(string(r.Rows[0][0]), &rows); err == nil {
				w.l.state.saw(b.table, rows)
			}
		}
	}
	return nil
}

// serversBuildMemory is the server's own maintenance_work_mem, in kB.
func (l *load) serversBuildMemory(ctx context.Context) (own int64, err error) {
	const q = "SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'maintenance_work_mem'"
	if err := l.lead.QueryRow(ctx, q).Scan(&own); err != nil {
		return 0, fmt.Errorf("read maintenance_work_mem: %w", err)
	}
	return own, nil
}

// buildMemory is maintenance_work_mem for an index on a table of so many bytes,
// in kB. More is slower: a sort of 300 MB of keys took 4.2 s with 64 MB, 4.9 s
// with 128 MB and 5.2 s with 1 GB (a small run is sorted in the CPU's caches),
// so a server that gives more is not followed. Only a very large table gets
// more, so that its runs are merged at one go: PostgreSQL merges as many as
// fit into the memory at 264 kB each (MERGE_BUFFER_SIZE and
// TAPE_BUFFER_OVERHEAD of its tuplesort.c).
func buildMemory(bytes, own int64) int64 {
	const base, most, perRun = 64 << 10, 1 << 20, 264
	oneMerge := int64(math.Sqrt(float64(bytes>>10) * perRun))
	return min(max(min(own, base), oneMerge), most)
}
