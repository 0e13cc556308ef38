package postgres

import (
	"context"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
)

// state is what a load has done, as its bookkeeping schema says it. Stored data,
// read by later attempts of the same run.
//
//	part  a part of a table: key is the dump ID of its TABLE DATA entry and the part's number
//	done  an index or constraint, by dump ID, and the rows that its build saw
//	phase a script that ran
//	alive a row, which is gone after a crash of the server, as those of all unlogged tables
type state struct {
	mu     sync.Mutex
	parts  map[partID]bool
	built  map[int]bool
	phases map[string]bool
	seen   map[int]int64 // rows that an index build saw, by the table's dump ID

	crashed bool // the server has, since an earlier attempt of the run began
}

type partID struct{ table, part int }

const createState = `CREATE SCHEMA IF NOT EXISTS ` + bookkeeping + `;
	CREATE TABLE IF NOT EXISTS ` + bookkeeping + `.part (dump_id int, part int, PRIMARY KEY (dump_id, part));
	CREATE TABLE IF NOT EXISTS ` + bookkeeping + `.built (dump_id int PRIMARY KEY, data_id int NOT NULL, rows float8 NOT NULL);
	CREATE TABLE IF NOT EXISTS ` + bookkeeping + `.phase (name text PRIMARY KEY);
	CREATE UNLOGGED TABLE IF NOT EXISTS ` + bookkeeping + `.alive AS SELECT true AS alive;`

// openState makes the bookkeeping schema, or reads what is in it.
func openState(ctx context.Context, c *pgx.Conn, run string) (*state, error) {
	s := &state{parts: map[partID]bool{}, built: map[int]bool{}, phases: map[string]bool{}, seen: map[int]int64{}}
	if err := execute(ctx, c, createState); err != nil {
		return nil, fmt.Errorf("make the bookkeeping of run %s: %w", run, err)
	}
	for _, read := range []func(context.Context, *pgx.Conn) error{s.readParts, s.readBuilt, s.readPhases, s.readAlive} {
		if err := read(ctx, c); err != nil {
			return nil, fmt.Errorf("read the bookkeeping of run %s: %w", run, err)
		}
	}
	return s, nil
}

func (s *state) readParts(ctx context.Context, c *pgx.Conn) error {
	rows, err := c.Query(ctx, "SELECT dump_id, part FROM "+bookkeeping+".part")
	if err != nil {
		return err
	}
	var p partID
	_, err = pgx.ForEachRow(rows, []any{&p.table, &p.part}, func() error { s.parts[p] = true; return nil })
	return err
}

func (s *state) readBuilt(ctx context.Context, c *pgx.Conn) error {
	rows, err := c.Query(ctx, "SELECT dump_id, data_id, rows FROM "+bookkeeping+".built")
	if err != nil {
		return err
	}
	var id, table int
	var n float64
	_, err = pgx.ForEachRow(rows, []any{&id, &table, &n}, func() error { s.built[id] = true; s.seen[table] = int64(n); return nil })
	return err
}

func (s *state) readPhases(ctx context.Context, c *pgx.Conn) error {
	rows, err := c.Query(ctx, "SELECT name FROM "+bookkeeping+".phase")
	if err != nil {
		return err
	}
	var name string
	_, err = pgx.ForEachRow(rows, []any{&name}, func() error { s.phases[name] = true; return nil })
	return err
}

func (s *state) readAlive(ctx context.Context, c *pgx.Conn) error {
	return c.QueryRow(ctx, "SELECT NOT EXISTS (SELECT FROM "+bookkeeping+".alive)").Scan(&s.crashed)
}

// saw notes the rows that an index build counted.
func (s *state) saw(table int, rows float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[table] = int64(rows)
}
