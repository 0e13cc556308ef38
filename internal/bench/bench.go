package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

// bench is the servers, what is measured on them, and the rows of the table.
type bench struct {
	program string
	scale   float64
	rounds  int
	dir     string
	pg      *testbed.PG
	s3      *testbed.S3Server
	bucket  string
	files   int // of the media store
	tiny    int // files that memory is measured with
	rows    []row
	notes   []string // Markdown that follows the rows
}

// row is a line of the table: what was measured, against what, and how far it
// is from its aim.
type row struct {
	what, against string
	got, aim      float64 // an aim of 0 is none
	unit          string  // empty for a ratio
	detail        string
}

func newBench(ctx context.Context, program string, scale float64, rounds int) (*bench, error) {
	dir, err := os.MkdirTemp("", "synapse-maint-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{program: program, scale: scale, rounds: rounds, dir: dir, bucket: "bench"}
	// A server as Debian installs it, but with the memory of a small
	// production one: fsync stays on, since an operator's does.
	if b.pg, err = testbed.StartPostgres(ctx, testbed.PGOptions{Durable: true, Settings: map[string]string{
		"shared_buffers": "512MB", "max_wal_size": "4GB", "checkpoint_timeout": "30min", "autovacuum": "off",
	}}); err != nil {
		return nil, err
	}
	if b.s3, err = testbed.StartS3(ctx, filepath.Join(dir, "s3")); err != nil {
		b.close()
		return nil, err
	}
	return b, b.s3.MakeBucket(b.bucket)
}

func (b *bench) close() {
	if b.s3 != nil {
		b.s3.Stop()
	}
	if b.pg != nil {
		b.pg.Close()
	}
	_ = os.RemoveAll(b.dir)
}

// env is what every command gets: S3's address and credentials, and the
// PostgreSQL programs of the server's own version first in PATH.
func (b *bench) env(database string) []string {
	// An empty profile is none to the SDK, and an unknown one to the aws program.
	env := slices.DeleteFunc(append(os.Environ(), b.s3.Env()...), func(v string) bool { return v == "AWS_PROFILE=" })
	return append(env,
		"PATH="+b.pg.BinDir()+":/usr/bin:/bin:"+os.Getenv("PATH"), // peers as Debian packages them
		"ENDPOINT="+b.s3.Endpoint(),
		"DB="+b.pg.URL(database),
		"SM="+b.program,
		"B=s3://"+b.bucket,
		"SYNAPSE_MAINT_STORE="+b.s3.URL(b.bucket),
		"SYNAPSE_MAINT_DATABASE="+b.pg.URL(database),
		"SYNAPSE_MAINT_HOMESERVER=bench",
	)
}

// database makes an empty database.
func (b *bench) database(ctx context.Context, name string) error {
	_, _, err := timed(ctx, b.env("postgres"), fmt.Sprintf(
		`psql -X -q -d "$DB" -c 'DROP DATABASE IF EXISTS %[1]s' -c 'CREATE DATABASE %[1]s TEMPLATE template0'`, name))
	return err
}

func (b *bench) emptyBucket() error { return removeContents(b.s3.Dir(b.bucket)) }

// settle lets the server write what it has dirty, so that one command's debt
// isn't paid by the next.
func (b *bench) settle(ctx context.Context, database string) error {
	_, _, err := timed(ctx, b.env(database), `psql -X -q -d "$DB" -c CHECKPOINT; sync`)
	return err
}

// contender is a command that is measured.
type contender struct {
	database string
	script   string
	before   func() error // done ahead of each run; may be nil
}

// measure runs the contenders in turn, round after round, so that each meets
// the same drift of the machine's speed. It returns the samples of each, and
// what each printed last.
func (b *bench) measure(ctx context.Context, all ...contender) ([][]sample, []string, error) {
	samples, last := make([][]sample, len(all)), make([]string, len(all))
	for range b.rounds {
		for i, c := range all {
			if c.before != nil {
				if err := c.before(); err != nil {
					return nil, nil, err
				}
			}
			if err := b.settle(ctx, c.database); err != nil {
				return nil, nil, err
			}
			s, out, err := timed(ctx, b.env(c.database), c.script)
			if err != nil {
				return nil, nil, err
			}
			fmt.Fprintf(os.Stderr, "%7.2f s  %6.2f CPU-s  %5d MiB  %s\n", s.wall.Seconds(), s.cpu.Seconds(), s.memory>>20, firstLine(c.script))
			samples[i], last[i] = append(samples[i], s), out
		}
	}
	return samples, last, nil
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if len(s) > 90 {
		s = s[:90] + "…"
	}
	return s
}

func (b *bench) add(r row) { b.rows = append(b.rows, r) }

func (b *bench) note(markdown string) { b.notes = append(b.notes, markdown) }

// decode reads the one JSON document a command of ours printed.
func decode(text string, v any) error {
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("output of synapse-maint: %w: %.200s", err, text)
	}
	return nil
}
