package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// runStream loads a whole custom-format archive through pg_restore's standard
// input. It is not resumed: a database that a killed attempt left half filled is
// dropped and made anew.
func (l *load) runStream(ctx context.Context) error {
	if len(l.q.Only) > 0 {
		return fmt.Errorf("this recovery point is one stream of pg_dump: single tables can't be taken out of it; restore it beside and take them from there")
	}
	if err := l.openStream(ctx); err != nil {
		return err
	}
	defer func() { _ = l.lead.Close(context.WithoutCancel(ctx)) }()
	if !l.done {
		if err := l.phase(ctx, "stream", l.stream); err != nil {
			return err
		}
	}
	var err error
	if l.schema, err = l.catalogSchema(ctx); err != nil {
		return err
	}
	if !l.done {
		if err := l.phase(ctx, "analyze", func(ctx context.Context) error { return l.analyzeAll(ctx, "c.relkind = 'r'") }); err != nil {
			return err
		}
		if err := l.phase(ctx, "finish", l.finish); err != nil {
			return err
		}
	}
	return l.phase(ctx, "checks", l.check)
}

// openStream connects to a database that is the run's own and empty, or
// complete.
func (l *load) openStream(ctx context.Context) error {
	if err := l.open(ctx); err != nil {
		return err
	}
	list, err := contents(ctx, l.lead)
	if err != nil || l.done || len(list) == 0 {
		return err
	}
	return l.anew(ctx)
}

// stream feeds pg_restore.
func (l *load) stream(ctx context.Context) error {
	program, err := FindTools(l.s.o.BinDir).PgRestore(ctx, 0, l.version/10000)
	if err != nil {
		return err
	}
	settings, err := l.shape(ctx, l.lead)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, w := io.Pipe()
	args := []string{"--format=custom", "--exit-on-error", "--dbname=" + l.q.Database}
	if l.q.SchemaOnly {
		args = append(args, "--schema-only")
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = l.s.cfg.With(l.q.Database).set(settings).Env()
	cmd.Stdin = r
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	fetched := make(chan error, 1)
	go func() {
		err := l.q.Stream(ctx, func(data []byte) error {
			n, err := w.Write(data)
			l.q.OnProgress(l.add(int64(n)), l.q.Dump.Size)
			return err
		})
		if err != nil {
			cancel() // an archive that just ends would look complete to nobody, but be plain about it
		}
		_ = w.CloseWithError(err)
		fetched <- err
	}()
	runErr := cmd.Run()
	_ = r.CloseWithError(io.ErrClosedPipe)
	if err := <-fetched; err != nil && !errors.Is(err, io.ErrClosedPipe) {
		return &fetchError{err}
	}
	if runErr != nil {
		return fmt.Errorf("pg_restore: %w: %s", runErr, programError(stderr.String()))
	}
	return nil
}

// add counts bytes of the stream.
func (l *load) add(n int64) int64 {
	l.rep.Bytes += n // the stream has one reader
	return l.rep.Bytes
}

// catalogSchema is the schema of Synapse's tables, as the loaded database says.
func (l *load) catalogSchema(ctx context.Context) (string, error) {
	found, err := names(ctx, l.lead, `SELECT a.schemaname::text FROM pg_catalog.pg_tables a JOIN pg_catalog.pg_tables b USING (schemaname)
		WHERE a.tablename = 'schema_version' AND b.tablename = `+literal(synapse.OneTimeKeysTable)+` ORDER BY 1 LIMIT 1`)
	if err != nil || len(found) == 0 {
		return "", err
	}
	return found[0], nil
}
