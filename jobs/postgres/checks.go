package postgres

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"golang.org/x/sync/errgroup"
)

// question is one check of a loaded database. It only reads.
type question struct {
	order int // of its finding in the report
	cost  int64
	ask   func(ctx context.Context, c *pgx.Conn) (synapse.Finding, error)
}

// check asks all questions, on as many sessions as there are jobs, the dearest
// first, and puts the findings into the report.
func (l *load) check(ctx context.Context) error {
	questions := l.questions()
	for i := range questions {
		questions[i].order = i
	}
	sort.SliceStable(questions, func(a, b int) bool { return questions[a].cost > questions[b].cost })
	work := make(chan question, len(questions))
	for _, q := range questions {
		work <- q
	}
	close(work)
	found := make([]synapse.Finding, len(questions))
	g, gctx := errgroup.WithContext(ctx)
	for range l.q.Jobs {
		g.Go(func() error { return l.ask(gctx, work, found) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	l.rep.Findings = append(l.rep.Findings, merge(found)...)
	return nil
}

func (l *load) ask(ctx context.Context, work <-chan question, found []synapse.Finding) error {
	c, err := l.session(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	// The sessions are the parallelism.
	if err := execute(ctx, c, "SET max_parallel_workers_per_gather = 0"); err != nil {
		return err
	}
	for q := range work {
		f, err := q.ask(ctx, c)
		if err != nil {
			return err
		}
		found[q.order] = f // each its own
	}
	return nil
}

// merge makes one finding of the many of one name: all is well, or what is not.
func merge(found []synapse.Finding) []synapse.Finding {
	var out []synapse.Finding
	at := map[string]int{}
	bad := map[string][]string{}
	for _, f := range found {
		if f.Name == "" {
			continue
		}
		i, ok := at[f.Name]
		if !ok {
			at[f.Name] = len(out)
			out = append(out, f)
			i = at[f.Name]
		}
		if !f.OK {
			bad[f.Name] = append(bad[f.Name], f.Detail)
			out[i].OK, out[i].Serious = false, out[i].Serious || f.Serious
		}
	}
	for i := range out {
		if b := bad[out[i].Name]; len(b) > 1 {
			out[i].Detail = strings.Join(b, "; ")
		} else if len(b) == 1 {
			out[i].Detail = b[0]
		}
	}
	return out
}

// questions lists what is asked.
func (l *load) questions() []question {
	var qs []question
	if l.toc != nil {
		qs = append(qs, fixed(l.rowlessFinding()))
		for _, t := range l.q.Tables {
			if l.toc.data[t.DumpID] {
				qs = append(qs, question{cost: t.Pages + 1, ask: l.countRows(t)})
			}
		}
		qs = append(qs, l.objectQuestions()...)
	}
	qs = append(qs, fixed(l.statisticsFinding()), fixed(l.refreshFinding()), question{ask: invalidIndexes}, question{ask: l.invalidConstraints}, question{ask: sequencesBehind})
	if len(l.q.Only) == 0 && !l.db.Mark.guest {
		qs = append(qs, question{ask: l.settingsFinding})
	}
	if schema := l.schema; schema != "" && len(l.q.Only) == 0 {
		for _, c := range synapse.Checks() {
			if l.q.KeepOTK && strings.Contains(c.SQL, synapse.OneTimeKeysTable) {
				continue
			}
			qs = append(qs, question{cost: 1000, ask: synapseCheck(schema, c)})
		}
	}
	return qs
}

// fixed is a question whose answer is known.
func fixed(f synapse.Finding) question {
	return question{ask: func(context.Context, *pgx.Conn) (synapse.Finding, error) { return f, nil }}
}

func (l *load) rowlessFinding() synapse.Finding {
	f := synapse.Finding{Name: "every table's rows are in the recovery point", OK: true, Serious: true}
	missing := l.toc.rowless(l.q.Tables)
	f.Detail = fmt.Sprintf("%d tables", len(l.q.Tables))
	if len(missing) > 0 {
		f.OK, f.Detail = false, "no rows of "+strings.Join(missing, ", ")
	}
	return f
}

// exactRows is where the float4 that pg_class keeps a row count in is no longer
// exact.
const exactRows = 1 << 24

// countRows compares the rows of a table with the recovery point. Where an
// index was built after the rows were in, its build counted them.
func (l *load) countRows(t synapse.LoadTable) func(context.Context, *pgx.Conn) (synapse.Finding, error) {
	return func(ctx context.Context, c *pgx.Conn) (synapse.Finding, error) {
		want := t.Rows
		if l.skipped(t.Table) {
			want = 0
		}
		name := t.Schema + "." + t.Name
		f := synapse.Finding{Name: "row counts", OK: true, Serious: true, Detail: "every table has the rows that the recovery point counted"}
		if l.state != nil && !l.skipped(t.Table) {
			if n, ok := l.state.seen[t.DumpID]; ok && n == want && n < exactRows {
				return f, nil
			}
		}
		var got int64
		if err := c.QueryRow(ctx, "SELECT count(*) FROM ONLY "+quote(t.Schema)+"."+quote(t.Name)).Scan(&got); err != nil {
			return f, fmt.Errorf("count the rows of %s: %w", name, err)
		}
		// An extension's own table has rows of the extension's own as well.
		if got != want && (got < want || l.toc.owns(t.Table)) {
			f.OK, f.Detail = false, fmt.Sprintf("%s has %d rows, the recovery point has %d", name, got, want)
		}
		return f, nil
	}
}

// synapseCheck runs one of Synapse's checks. What it asks of may not be in this
// version of Synapse's schema: then there is nothing to find.
func synapseCheck(schema string, c synapse.Check) func(context.Context, *pgx.Conn) (synapse.Finding, error) {
	return func(ctx context.Context, conn *pgx.Conn) (synapse.Finding, error) {
		f := synapse.Finding{Name: c.Name, Serious: c.Serious}
		tx, err := conn.Begin(ctx)
		if err != nil {
			return f, err
		}
		defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
		if _, err := tx.Exec(ctx, "SET LOCAL search_path TO "+quote(schema)); err != nil {
			return f, err
		}
		err = tx.QueryRow(ctx, c.SQL).Scan(&f.OK, &f.Detail)
		var pe *pgconn.PgError
		if errors.As(err, &pe) && (pe.Code == "42P01" || pe.Code == "42703") { // undefined table, undefined column
			return synapse.Finding{}, nil
		}
		if err != nil {
			return f, fmt.Errorf("check %q: %w", c.Name, err)
		}
		return f, nil
	}
}
