package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Options are how a database is copied out, and what the load shares with that.
type Options struct {
	Jobs   int          // connections that copy at once; 0: as many as CPUs, at least 2
	BinDir string       // folder of pg_dump and pg_restore; empty: they are looked for
	Log    *slog.Logger // nil: nothing is logged
	// KeepOneTimeKeys copies also the rows of synapse.OneTimeKeysTable.
	KeepOneTimeKeys bool
	// PagesPerRange is how many pages of a table are copied at once, a power of
	// two; 0 is the default. It decides what an unchanged part of a table is:
	// another value sends every table once more.
	PagesPerRange int64
}

// Config says how to reach a database. It is never changed.
type Config struct {
	pg       *pgx.ConnConfig
	settings map[string]string // by libpq's names, what the URL, service file and environment say
	addr     string            // IP address that every connection goes to; empty: what the host name resolves to
}

// applicationName is how sessions are seen in pg_stat_activity.
const applicationName = "synapse-maint"

// connectTimeout is for a server that doesn't answer at all, where the URL
// doesn't say.
const connectTimeout = 15 * time.Second

// ParseConfig understands a URL (postgres://…), a keyword string (host=… …),
// and for all that isn't in it, or the empty text, what libpq does: PG*
// environment variables, the service file, ~/.pgpass. Its errors don't have the
// password.
func ParseConfig(dsn string) (*Config, error) {
	if misplaced(dsn) {
		return nil, errors.New("database URL: " + notOne + "; " + escapeHint)
	}
	pg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", parseError(err))
	}
	settings, err := settingsOf(dsn)
	if err != nil {
		return nil, fmt.Errorf("database URL: %w", err)
	}
	if settings["connect_timeout"] == "" {
		pg.ConnectTimeout = connectTimeout
	}
	// A connection that is cut without a word, by a firewall say, ends within
	// 90 seconds; and one that is only silent stays.
	keepAlive := net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 6}
	pg.DialFunc = (&net.Dialer{KeepAliveConfig: keepAlive}).DialContext
	// Plain queries: nothing to prepare, and poolers in between don't mind.
	pg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	pg.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) {}
	params := map[string]string{
		// The role or database may have these set, for its application's sake.
		"statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0", "default_transaction_read_only": "off",
		"client_encoding": "UTF8", "standard_conforming_strings": "on", "DateStyle": "ISO", "timezone": "UTC",
	}
	maps.Copy(pg.RuntimeParams, params)
	if pg.RuntimeParams["application_name"] == "" {
		pg.RuntimeParams["application_name"] = applicationName
	}
	return &Config{pg: pg, settings: settings}, nil
}

// With returns the config for another database of the same server.
func (c *Config) With(database string) *Config {
	d := *c
	d.pg = c.pg.Copy()
	d.pg.Database = database
	return &d
}

// Database is the name of the database. Where none is given it is the user's,
// as in libpq.
func (c *Config) Database() string {
	if c.pg.Database == "" {
		return c.pg.User
	}
	return c.pg.Database
}

// Host is the server's name, address or socket folder: the first if there are
// several.
func (c *Config) Host() string { return c.pg.Host }

// Port is the server's.
func (c *Config) Port() int { return int(c.pg.Port) }

// User is the role that connects.
func (c *Config) User() string { return c.pg.User }

// String is the URL without the password.
func (c *Config) String() string {
	u := url.URL{Scheme: "postgres", User: url.User(c.pg.User), Path: "/" + c.Database()}
	if strings.HasPrefix(c.pg.Host, "/") {
		u.RawQuery = url.Values{"host": {c.pg.Host}, "port": {strconv.Itoa(c.Port())}}.Encode()
	} else {
		u.Host = net.JoinHostPort(c.pg.Host, strconv.Itoa(c.Port()))
	}
	return u.String()
}

// LogValue implements [slog.LogValuer], without the password.
func (c *Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// GoString keeps the password out of %#v.
func (c *Config) GoString() string { return c.String() }

// Connect opens a connection. Its errors are one line: what is wrong, and what
// to do about it.
func (c *Config) Connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := pgx.ConnectConfig(ctx, c.pg)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	if sql := newerTimeouts(serverVersion(conn)); sql != "" {
		if err := execute(ctx, conn, sql); err != nil {
			_ = conn.Close(context.WithoutCancel(ctx))
			return nil, fmt.Errorf("prepare the connection to %s: %w", c, brief(err))
		}
	}
	return conn, nil
}

// newerTimeouts turns off what the role may have set and what older servers
// would refuse to hear of when a session begins.
func newerTimeouts(version int) string {
	var sql string
	if version >= 140000 {
		sql = "SET idle_session_timeout = 0;"
	}
	if version >= 170000 {
		sql += "SET transaction_timeout = 0;"
	}
	return sql
}

// pinned is the config for further connections to the very server that conn
// has reached: a host name may stand for several, and a snapshot lives on one.
func (c *Config) pinned(ctx context.Context, conn *pgx.Conn) *Config {
	d := *c
	d.pg = c.pg.Copy()
	remote := conn.PgConn().Conn().RemoteAddr()
	hosts := append([]*pgconn.FallbackConfig{{Host: c.pg.Host, Port: c.pg.Port, TLSConfig: c.pg.TLSConfig}}, c.pg.Fallbacks...)
	hosts = slices.DeleteFunc(hosts, func(h *pgconn.FallbackConfig) bool { return !c.reaches(ctx, h, remote) })
	if len(hosts) == 0 {
		return &d // a name whose addresses change: there is nothing to hold on to
	}
	d.pg.Host, d.pg.Port, d.pg.TLSConfig, d.pg.Fallbacks = hosts[0].Host, hosts[0].Port, hosts[0].TLSConfig, hosts[1:]
	if tcp, ok := remote.(*net.TCPAddr); ok {
		d.addr = tcp.AddrPort().Addr().Unmap().String()
		d.pg.LookupFunc = func(context.Context, string) ([]string, error) { return []string{d.addr}, nil }
	}
	return &d
}

// reaches says whether remote is one of a host's addresses.
func (c *Config) reaches(ctx context.Context, h *pgconn.FallbackConfig, remote net.Addr) bool {
	network, address := pgconn.NetworkAddress(h.Host, h.Port)
	tcp, ok := remote.(*net.TCPAddr)
	if !ok {
		return network == "unix" && remote.String() == address
	}
	if network == "unix" || tcp.Port != int(h.Port) {
		return false
	}
	ips, err := c.pg.LookupFunc(ctx, h.Host)
	return err == nil && slices.ContainsFunc(ips, func(ip string) bool { return net.ParseIP(ip).Equal(tcp.IP) })
}

// through is the config for one connection that reads by g.
func (c *Config) through(g *gulpConn) *Config {
	d := *c
	d.pg = c.pg.Copy()
	d.pg.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := c.pg.DialFunc(ctx, network, addr)
		if err != nil || g.settled { // then it is for a cancel request
			return conn, err
		}
		g.Conn, g.ready = conn, nil // the last that is dialled is the one that is used
		return g, nil
	}
	return &d
}
