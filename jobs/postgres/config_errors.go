package postgres

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// explain makes one line of what went wrong when connecting. The chain of
// errors stays, so that callers can ask for pgconn.PgError and the like.
func (c *Config) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("connect to %s: %w", c, context.Cause(ctx))
	}
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return &plainError{text: fmt.Sprintf("connect to %s: %s", c, c.refusal(ctx, pe)), err: err}
	}
	return &plainError{text: fmt.Sprintf("connect to %s: %s", c, c.unreachable(err)), err: err}
}

// plainError is one line for people, with the chain of errors kept for those
// who ask for a code.
type plainError struct {
	text string
	err  error
}

func (e *plainError) Error() string { return e.text }
func (e *plainError) Unwrap() error { return e.err }

// refusal explains what the server said.
func (c *Config) refusal(ctx context.Context, pe *pgconn.PgError) string {
	switch pe.Code {
	case "28P01":
		if c.pg.Password == "" {
			return fmt.Sprintf("user %s needs a password: put it into PGPASSWORD or ~/.pgpass", c.pg.User)
		}
		return fmt.Sprintf("wrong password for user %s", c.pg.User)
	case "3D000":
		return fmt.Sprintf("there is no database %s%s", c.Database(), c.nearNames(ctx))
	case "28000":
		return pe.Message + ": see the server's pg_hba.conf"
	case "57P03":
		return pe.Message + ": try again in a moment"
	case "53300":
		return pe.Message + ": raise max_connections, or use fewer --jobs"
	case "08P01":
		if strings.Contains(pe.Message, "startup parameter") {
			return pe.Message + ": connect to PostgreSQL itself, not to a pooler"
		}
	}
	return pe.Message
}

// unreachable explains why no server answered.
func (c *Config) unreachable(err error) string {
	var dns *net.DNSError
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	var record tls.RecordHeaderError
	switch {
	case errors.As(err, &dns):
		return fmt.Sprintf("the name %s can't be resolved: %s", dns.Name, dns.Err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused: is PostgreSQL running there, on this port?"
	case errors.Is(err, syscall.ENOENT):
		return "there is no socket of a server on this port: is PostgreSQL running here?"
	case errors.As(err, &authority):
		return "the server's certificate is not signed by a known authority: name that in sslrootcert"
	case errors.As(err, &name):
		return "TLS: " + name.Error()
	case errors.As(err, &record):
		return "the server does not speak TLS"
	case pgconn.Timeout(err), errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("no answer within %s: a firewall in between?", c.pg.ConnectTimeout)
	case c.demandsTLS() && strings.Contains(err.Error(), "server refused TLS connection"):
		return "the server has TLS turned off, and sslmode asks for it"
	}
	lines := strings.Split(err.Error(), "\n")
	return strings.TrimSpace(lines[len(lines)-1]) // the first is pgx's heading
}

// demandsTLS says whether no connection without TLS is tried after one with it.
func (c *Config) demandsTLS() bool {
	return c.pg.TLSConfig != nil && !slices.ContainsFunc(c.pg.Fallbacks, func(f *pgconn.FallbackConfig) bool { return f.TLSConfig == nil })
}

// nearNames suggests databases of the server, as far as it tells.
func (c *Config) nearNames(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, c.With("postgres").pg)
	if err != nil {
		return ""
	}
	defer func() { _ = conn.Close(ctx) }()
	rows, err := conn.Query(ctx, `SELECT datname FROM pg_catalog.pg_database WHERE NOT datistemplate AND datallowconn ORDER BY 1`)
	if err != nil {
		return ""
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(names) == 0 {
		return ""
	}
	if near := nearest(c.Database(), names); near != "" {
		return "; did you mean " + near + "?"
	}
	const few = 8
	if len(names) > few {
		names = append(names[:few], "…")
	}
	return "; there are " + strings.Join(names, ", ")
}

// nearest is the name that is at most a third of its letters away, or two as two
// that changed places are; empty if there is none.
func nearest(name string, names []string) string {
	best := slices.MinFunc(names, func(a, b string) int { return cmp.Compare(distance(name, a), distance(name, b)) })
	if distance(name, best) > min(max(2, len(name)/3), len(name)/2) {
		return ""
	}
	return best
}

// distance is how many letters have to be added, dropped or changed to make b
// of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
