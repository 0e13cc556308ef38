package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// refresh fills the materialized views, last of all, as pg_restore does. One
// whose query reads another through a function has no dependency that pg_dump
// could order them by: those that fail are tried again while others succeed.
// What fails still is a finding: its rows are those of other tables, which are
// all there.
func (l *load) refresh(ctx context.Context) error {
	off, on, err := l.always(ctx)
	if err != nil {
		return err
	}
	left := l.toc.refresh
	for len(left) > 0 {
		var failed []int
		l.unfilled = nil
		for _, id := range left {
			e := l.toc.byID[id]
			err := execute(ctx, l.lead, "BEGIN; "+off+strings.TrimSpace(e.Defn)+on+" COMMIT")
			pe, ok := errors.AsType[*pgconn.PgError](err)
			switch {
			case err == nil:
				continue
			case !ok || !tablesOwn(pe):
				return fmt.Errorf("fill materialized view %s.%s: %w", e.Namespace, e.Tag, err)
			}
			if err := execute(ctx, l.lead, "ROLLBACK"); err != nil {
				return err
			}
			failed = append(failed, id)
			l.unfilled = append(l.unfilled, fmt.Sprintf("%s.%s (%s)", e.Namespace, e.Tag, pe.Message))
		}
		if len(failed) == len(left) {
			return nil
		}
		left = failed
	}
	return nil
}

// refreshFinding is what could not be filled; none where all was.
func (l *load) refreshFinding() synapse.Finding {
	if len(l.unfilled) == 0 {
		return synapse.Finding{}
	}
	return synapse.Finding{Name: "materialized views are filled", Detail: "not " + strings.Join(l.unfilled, ", ") + ": REFRESH MATERIALIZED VIEW later"}
}
