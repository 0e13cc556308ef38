package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// script lets pg_restore write the SQL of some entries, and runs it in one
// transaction with the note that it ran: all of it or nothing, also under
// kill -9. pg_restore knows the order, the owners and the privileges.
func (l *load) script(ctx context.Context, name string, ids []int) error {
	if l.state.phases[name] || len(ids) == 0 {
		return nil
	}
	sql, err := l.sql(ctx, ids)
	if err != nil {
		return err
	}
	c, err := l.session(ctx) // its own session: the script changes settings
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	if err := l.quiet(ctx, c); err != nil {
		return err
	}
	note := "INSERT INTO " + bookkeeping + ".phase VALUES (" + literal(name) + ");\n"
	if err := executeRaw(ctx, c.PgConn(), "BEGIN;\n"+note+sql+"\nCOMMIT;\n"); err != nil {
		return fmt.Errorf("run the %s script: %w", name, explain(err, "BEGIN;\n"+note+sql))
	}
	return nil
}

// sql returns the SQL of the entries, as a server of this version takes it.
func (l *load) sql(ctx context.Context, ids []int) (string, error) {
	dir, err := os.MkdirTemp("", "synapse-maint-") // 0700
	if err != nil {
		return "", fmt.Errorf("make a folder for the table of contents: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	listFile := filepath.Join(dir, "list")
	archive := filepath.Join(dir, "archive")
	err = errors.Join(os.Mkdir(archive, 0o700),
		os.WriteFile(filepath.Join(archive, "toc.dat"), l.toc.toc, 0o600),
		os.WriteFile(listFile, list(ids), 0o600))
	if err != nil {
		return "", fmt.Errorf("write the table of contents for pg_restore: %w", err)
	}
	program, err := FindTools(l.s.o.BinDir).PgRestore(ctx, l.toc.version, l.version/10000)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, program, "--format=directory", "--use-list="+listFile, "--file=-", archive)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	cmd.Env = l.s.cfg.Env()
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("pg_restore: %w: %s", err, programError(stderr.String()))
	}
	return clean(out.String(), l.version), nil
}

// restrict is a line for psql alone, in the output of pg_restore since August
// 2025 (CVE-2025-8714): before anything else and after everything else.
var restrict = regexp.MustCompile(`^\\(un)?restrict [A-Za-z0-9]+$`)

// clean takes out of pg_restore's head and tail what the server would not
// understand.
func clean(sql string, version int) string {
	lines := strings.SplitAfter(sql, "\n")
	drop := func(i int) {
		line := strings.TrimRight(lines[i], "\r\n")
		if restrict.MatchString(line) || version < 170000 && line == "SET transaction_timeout = 0;" {
			lines[i] = ""
		}
	}
	const head = 40 // pg_restore's own lines, before the first entry
	for i := 0; i < len(lines) && i < head && !strings.HasPrefix(lines[i], "-- Name: "); i++ {
		drop(i)
	}
	for i := len(lines) - 1; i >= 0 && i > len(lines)-8; i-- {
		drop(i)
	}
	return strings.Join(lines, "")
}

// explain adds to an error of a script the object whose statement it was.
func explain(err error, sql string) error {
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return err
	}
	hint := advice(pe)
	// Without a position it can't be said which of the statements it was.
	if pe.Position > 0 {
		runes := []rune(sql)
		before := string(runes[:min(int(pe.Position), len(runes))])
		if i := strings.LastIndex(before, "\n-- Name: "); i >= 0 {
			return fmt.Errorf("%s: %w%s", firstLine(before[i+len("\n-- "):]), err, hint)
		}
	}
	return fmt.Errorf("%w%s", err, hint)
}

// advice says what to do about the errors that a script is known to meet.
func advice(pe *pgconn.PgError) string {
	switch pe.Code {
	case "53200":
		return "; raise max_locks_per_transaction of the server: the schema is restored in one transaction"
	case "42501":
		return "; restore as a superuser, or as a role that may do it"
	case "42704":
		return "; create what is missing on the server first"
	}
	return ""
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}
