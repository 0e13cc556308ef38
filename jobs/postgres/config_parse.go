package postgres

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// What is said of connection strings that can't be understood. Nothing of them is
// quoted: a password may be where none is expected.
const (
	notOne     = "it is postgres://USER@HOST:PORT/DATABASE, or keywords as in host=… dbname=… user=…"
	escapeHint = "in a URL's password @ is written as %40, / as %2F, # as %23, % as %25, a blank as %20"
)

// faults are what pgx says of connection strings, and what we say.
var faults = []struct{ pgx, ours string }{
	{"invalid port", "the port is no number from 1 to 65535; " + escapeHint},
	{"failed to parse as URL", "the URL can't be read; " + escapeHint},
	{"unterminated quoted string", "a quote has no end: '…' with \\' for a quote in it"},
	{"failed to parse as keyword/value", notOne},
	{"sslmode is invalid", "sslmode is disable, allow, prefer, require, verify-ca or verify-full"},
	{"unable to read CA file", "the file that sslrootcert names can't be read"},
	{"unable to add CA to cert pool", "the file that sslrootcert names holds no certificate"},
	{"sslcert", "sslcert and sslkey go together, and name files that can be read"},
	{"unable to read cert", "the files that sslcert and sslkey name can't be read"},
	{"failed to configure TLS", "what it says of TLS (sslmode, sslrootcert, sslcert, sslkey) can't be used"},
	{"connect_timeout", "connect_timeout is a number of seconds"},
	{"failed to read service file", "there is a service in it, and the service file can't be read: ~/.pg_service.conf, or what PGSERVICEFILE names"},
	{"failed to read service", "the service file does not have that service"},
	{"target_session_attrs", "target_session_attrs is any, read-write, read-only, primary, standby or prefer-standby"},
}

// parseError says in our words what is wrong with a connection string.
func parseError(err error) error {
	var pe *pgconn.ParseConfigError
	if errors.As(err, &pe) {
		text := pe.Error()
		if i := strings.LastIndex(text, "`: "); i >= 0 { // behind the string itself
			text = text[i:]
		}
		for _, f := range faults {
			if strings.Contains(text, f.pgx) {
				return errors.New(f.ours)
			}
		}
	}
	return errors.New(notOne + "; " + escapeHint)
}

// misplaced says whether a URL has an @ behind its host, or a #: there a password
// was not escaped, and a part of it would be taken for the host.
func misplaced(dsn string) bool {
	scheme, rest, ok := strings.Cut(dsn, "://")
	if !ok || strings.ContainsAny(scheme, " =") {
		return false
	}
	rest, _, _ = strings.Cut(rest, "?")
	slash := strings.IndexByte(rest, '/')
	return strings.Contains(rest, "#") || slash >= 0 && strings.Contains(rest[slash:], "@")
}
