package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/synapse-maint/synapse-maint/jobs/postgres/pgarchive"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// head is what pg_dump wrote before the rows.
type head struct {
	archive *pgarchive.Archive
	err     error
}

// dumpArgs are pg_dump's arguments. How to connect it has from its environment.
func (s *Snapshot) dumpArgs(otk *relation) []string {
	args := []string{"--format=custom", "--compress=0", "--no-password", "--snapshot=" + s.lead.id}
	// It waits for locks in the queue behind whoever waits for ours.
	args = append(args, fmt.Sprintf("--lock-wait-timeout=%d", time.Minute.Milliseconds()))
	// Not the one that somebody set for the role or the database: names and SQL
	// go to sessions that speak the database's.
	if encoding := s.lead.conn.PgConn().ParameterStatus("server_encoding"); encoding != "" {
		args = append(args, "--encoding="+encoding)
	}
	if otk != nil && !s.opt.KeepOneTimeKeys {
		args = append(args, "--exclude-table-data="+otk.ident())
	}
	return args
}

// readHead lets pg_dump write the header and the table of contents, and ends it
// there.
func (s *Snapshot) readHead(ctx context.Context) (h head) {
	err := s.runDump(ctx, func(r io.Reader) (enough bool, err error) {
		h.archive, err = pgarchive.Read(r)
		return err == nil || errors.Is(err, pgarchive.ErrVersion), err
	})
	if h.archive == nil {
		h.err = err
	}
	return h
}

// runDump runs pg_dump and gives its output to read. Where read has enough, it
// is ended; else how it ends decides, and read's error only after that: what
// pg_dump says about itself is worth more than that its output breaks off.
func (s *Snapshot) runDump(ctx context.Context, read func(io.Reader) (enough bool, err error)) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(running, s.program, s.args...)
	cmd.Env = s.cfg.Env()
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it cancels its query
	cmd.WaitDelay = 10 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &limited{w: &stderr, left: 64 << 10}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("pg_dump: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("pg_dump: %w", err)
	}
	enough, readErr := read(out)
	if enough || readErr != nil && ctx.Err() == nil && !errors.Is(readErr, pgarchive.ErrFormat) {
		stop()
		_ = cmd.Wait()
		return readErr
	}
	if readErr != nil && ctx.Err() == nil {
		_, _ = io.Copy(io.Discard, io.LimitReader(out, 1<<20)) // its end, if it is near
	}
	waitErr := s.wait(cmd, readErr != nil, stop)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case waitErr != nil && stderr.Len() > 0:
		return fmt.Errorf("pg_dump: %s", programError(stderr.String()))
	case waitErr != nil && readErr == nil:
		return fmt.Errorf("pg_dump: %w", waitErr)
	case readErr != nil:
		return fmt.Errorf("read pg_dump's output: %w", readErr)
	}
	return nil
}

// wait waits for a pg_dump whose output is read. Where that made no sense, not
// for long.
func (*Snapshot) wait(cmd *exec.Cmd, nonsense bool, stop func()) error {
	if nonsense {
		timer := time.AfterFunc(5*time.Second, stop)
		defer timer.Stop()
	}
	return cmd.Wait()
}

// limited drops what is too much.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	keep := p[:min(len(p), l.left)]
	l.left -= len(keep)
	_, err := l.w.Write(keep)
	return len(p), err
}

// Stream yields the whole database as one custom-format archive of pg_dump, not
// compressed, in pieces of 8 MiB; the last is shorter. A piece is valid until
// emit returns. An error may come after all pieces: then they are worthless.
func (s *Snapshot) Stream(ctx context.Context, emit func([]byte) error) error {
	ctx, cancel := s.whileAlive(ctx)
	defer cancel()
	buf := make([]byte, 8<<20)
	err := s.runDump(ctx, func(r io.Reader) (bool, error) {
		for {
			n, err := io.ReadFull(r, buf)
			if n > 0 {
				if err := emit(buf[:n]); err != nil {
					return false, err
				}
			}
			switch {
			case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
				return false, nil
			case err != nil:
				return false, err
			}
		}
	})
	if err != nil {
		return s.lead.because(err)
	}
	return s.lead.because(nil)
}

// arrange makes tables and ranges of the table of contents.
func (s *Snapshot) arrange(h head) error {
	if errors.Is(h.err, pgarchive.ErrVersion) {
		s.stream = fmt.Sprintf("%s writes archives that this program can't take apart (%v)", s.program, h.err)
		return nil
	}
	if h.err != nil {
		return h.err
	}
	if s.stream = streamReason(h.archive, s.db); s.stream != "" {
		return nil
	}
	byOID := make(map[uint32]*relation, len(s.lead.tables))
	for _, r := range s.lead.tables {
		byOID[r.OID] = r
	}
	entries := map[uint32]*pgarchive.Entry{}
	for i := range h.archive.Entries {
		e := &h.archive.Entries[i]
		if e.Desc != pgarchive.TableData {
			continue
		}
		r := byOID[e.OID]
		if r == nil {
			return fmt.Errorf("pg_dump has a table %s.%s with OID %d that the snapshot doesn't have", e.Namespace, e.Tag, e.OID)
		}
		entries[e.OID] = e
		s.relations = append(s.relations, r)
	}
	sortBySize(s.relations)
	for i, r := range s.relations {
		e := entries[r.OID]
		from, err := parseCopy(e.Copy)
		if err != nil {
			return err
		}
		s.columns = append(s.columns, from)
		s.tables = append(s.tables, synapse.Table{DumpID: e.ID, Schema: e.Namespace, Name: e.Tag, Copy: e.Copy, Pages: r.Pages})
		s.ranges = append(s.ranges, rangesOf(i, r, s.db.Version, s.opt.PagesPerRange)...)
	}
	s.toc = h.archive.Directory()
	return nil
}

// streamReason says why the tables can't be copied one by one.
func streamReason(a *pgarchive.Archive, d synapse.Database) string {
	if d.Encoding != "UTF8" {
		return fmt.Sprintf("the database's encoding is %s, not UTF8", d.Encoding)
	}
	for i := range a.Entries {
		e := &a.Entries[i]
		switch {
		case e.Desc == "BLOBS":
			return "the database has large objects"
		case e.HadDumper && e.Desc != pgarchive.TableData:
			return fmt.Sprintf("pg_dump has data of a kind that this program doesn't know: %s", e.Desc)
		case e.HadDumper && e.Copy == "":
			return fmt.Sprintf("pg_dump has no COPY statement for %s.%s", e.Namespace, e.Tag)
		case e.HadDumper && throughRoot(e):
			return fmt.Sprintf("the rows of partition %s.%s are loaded through its partitioned table, which puts each where it belongs", e.Namespace, e.Tag)
		}
	}
	return ""
}

// throughRoot says whether the rows of a partition are loaded into another
// table, the root of its partitions: pg_dump wants that of partitions by the
// hash of an enum, whose values have other hashes in every database. Rows may
// come into another partition than they were in, so nothing that is done
// partition by partition holds: not the counts, and not an index as soon as
// one is complete.
func throughRoot(e *pgarchive.Entry) bool {
	c, err := parseCopy(e.Copy)
	return err == nil && c.table != pgx.Identifier{e.Namespace, e.Tag}.Sanitize()
}

// copyFrom is a COPY … FROM stdin statement of pg_dump, taken apart. Both parts
// are SQL.
type copyFrom struct {
	table   string // as [pgx.Identifier] quotes it
	columns string // "a, b", empty: the table has none that are stored and not generated
}

// parseCopy takes apart "COPY schema.table (a, b) FROM stdin;\n".
func parseCopy(stmt string) (c copyFrom, err error) {
	body, ok := strings.CutPrefix(stmt, "COPY ")
	body, ok2 := strings.CutSuffix(body, " FROM stdin;\n")
	if !ok || !ok2 {
		return c, fmt.Errorf("pg_dump has a COPY statement of an unknown form: %q", stmt)
	}
	quoted, end := false, len(body)
	var name pgx.Identifier
	from := 0
	for i := range len(body) {
		if body[i] == '"' {
			quoted = !quoted
		}
		if body[i] == '.' && !quoted {
			name, from = append(name, unquote(body[from:i])), i+1
		}
		if body[i] == ' ' && !quoted {
			end = i
			break
		}
	}
	c.table = append(name, unquote(body[from:end])).Sanitize()
	columns := strings.TrimSpace(body[end:])
	if columns == "" {
		return c, nil
	}
	if !strings.HasPrefix(columns, "(") || !strings.HasSuffix(columns, ")") {
		return c, fmt.Errorf("pg_dump has a COPY statement of an unknown form: %q", stmt)
	}
	c.columns = columns[1 : len(columns)-1]
	return c, nil
}

// copyOut is the statement that copies a range.
func (c copyFrom) copyOut(r synapse.Range, condition string) string {
	where := condition
	if r.Lo > 0 || r.Hi > 0 {
		where = fmt.Sprintf("WHERE ctid >= '(%d,0)'", r.Lo)
		if r.Hi > 0 {
			where += fmt.Sprintf(" AND ctid < '(%d,0)'", r.Hi)
		}
	}
	if where != "" {
		return fmt.Sprintf("COPY (SELECT %s FROM ONLY %s %s) TO STDOUT", c.columns, c.table, where)
	}
	if c.columns != "" {
		return fmt.Sprintf("COPY %s (%s) TO STDOUT", c.table, c.columns)
	}
	return fmt.Sprintf("COPY %s TO STDOUT", c.table)
}

// importSnapshot makes a session see the snapshot.
func (l *lead) importSnapshot() string {
	return begin + "SET TRANSACTION SNAPSHOT " + literal(l.id) + ";"
}

// whileAlive ends a context also when the snapshot is lost, with that as cause.
func (s *Snapshot) whileAlive(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.lead.alive, func() { cancel(context.Cause(s.lead.alive)) })
	return ctx, func() { stop(); cancel(nil) }
}
