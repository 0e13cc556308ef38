package postgres

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// sessions lists who is connected to a database, our own sessions left out.
// Synapse does not name its sessions before 1.150: what a homeserver's role
// does without an application's name is taken for Synapse's.
func sessions(ctx context.Context, c *pgx.Conn, oid uint32) ([]synapse.Session, error) {
	rows, err := c.Query(ctx, `SELECT coalesce(a.application_name, ''), coalesce(a.usename, ''), coalesce(pg_catalog.host(a.client_addr), ''), count(*)::int,
		bool_or(coalesce(a.application_name, '') ILIKE '%synapse%' AND a.application_name NOT LIKE 'synapse-maint%'
			OR coalesce(a.application_name, '') = '' AND a.usename = pg_catalog.pg_get_userbyid(d.datdba))
		FROM pg_catalog.pg_stat_activity a JOIN pg_catalog.pg_database d ON d.oid = a.datid
		WHERE a.datid = $1 AND a.pid <> pg_catalog.pg_backend_pid() AND a.backend_type = 'client backend'
		AND coalesce(a.application_name, '') <> '`+applicationName+`' -- closed a moment ago, the server may not have noticed
		GROUP BY 1, 2, 3 ORDER BY 4 DESC, 1, 2, 3`, oid)
	if err != nil {
		return nil, fmt.Errorf("list the sessions: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s synapse.Session, err error) {
		err = row.Scan(&s.Application, &s.User, &s.Address, &s.Count, &s.Synapse)
		return s, err
	})
	if err != nil {
		return nil, fmt.Errorf("list the sessions: %w", err)
	}
	return list, nil
}

// lasting lists the sessions that stay on databases. It looks again for two
// seconds while there are any: the server takes a moment to see that a session
// has ended, and who has just stopped Synapse goes on at once.
func lasting(ctx context.Context, c *pgx.Conn, oids ...uint32) ([]synapse.Session, error) {
	for tries := 40; ; tries-- {
		var list []synapse.Session
		for _, oid := range oids {
			on, err := sessions(ctx, c, oid)
			if err != nil {
				return nil, err
			}
			list = append(list, on...)
		}
		if len(list) == 0 || tries == 0 {
			return list, nil
		}
		if err := pause(ctx, 50*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// describe names sessions in a line.
func describe(list []synapse.Session) string {
	var parts []string
	for i, s := range list {
		if i == 4 {
			parts = append(parts, "…")
			break
		}
		who := s.Application
		if who == "" {
			who = "an unnamed program"
		}
		from := "a local socket"
		if s.Address != "" {
			from = s.Address
		}
		parts = append(parts, fmt.Sprintf("%d session(s) of %s as %s from %s", s.Count, who, s.User, from))
	}
	return strings.Join(parts, ", ")
}

// local says whether the server is on this machine.
func (s *Server) local() bool {
	host := s.cfg.Host()
	if host == "" || host == "localhost" || filepath.IsAbs(host) {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// programs folder of a Debian installation, newest major last.
const debianPrograms = "/usr/lib/postgresql/*/bin"

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
