// Package testbed starts the real things that tests, `make demo` and `make
// bench` run against: PostgreSQL, an S3 server, a proxy that breaks
// connections, and databases shaped like Synapse's.
//
// It may import what it starts and talks to, and nothing of the program it
// tests. Only tests and the project's own tools import it. Whatever it starts
// listens on loopback, and neither a process nor a file of it outlives the
// process that asked for it, however that one ends.
package testbed

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// PostgreSQL's roles on a test server: the superuser, and one with the rights
// that Synapse's usually has: CREATEDB, and the ownership of its databases.
const (
	Superuser   = "postgres"
	SynapseRole = "synapse"
)

const pgStartWait = 60 // seconds, as pg_ctl wants them

// PGOptions says what kind of server to start.
type PGOptions struct {
	Major    int               // 0: the newest that Debian's packages have installed
	Durable  bool              // with fsync; tests go without
	Settings map[string]string // of postgresql.conf, over the defaults
}

// PG is a running PostgreSQL server, reached over TCP on 127.0.0.1 with a
// password, and over a Unix socket in [PG.Dir].
type PG struct {
	major    int
	bin      string // folder of the programs
	dir      string // holds data, the socket and the log
	port     int
	password string
	user     *syscall.Credential // whom the server runs as; nil: this process's user
	watch    *watcher
}

// StartPostgres starts a server in a new folder. It ends with [PG.Close], and
// soon after this process in any case.
func StartPostgres(ctx context.Context, o PGOptions) (_ *PG, err error) {
	bin, major, err := postgresPrograms(ctx, o.Major)
	if err != nil {
		return nil, err
	}
	p := &PG{major: major, bin: bin, password: rand.Text()}
	defer func() {
		if err != nil {
			p.Close()
			err = fmt.Errorf("start PostgreSQL %d: %w", major, err)
		}
	}()
	if p.user, err = serverUser(); err != nil {
		return nil, err
	}
	if p.dir, err = os.MkdirTemp("", "synapse-maint-pg-"); err != nil {
		return nil, err
	}
	if err = p.own(p.dir); err != nil {
		return nil, err
	}
	if p.watch, err = watch(p.dir, p.user); err != nil {
		return nil, err
	}
	if err = p.initialise(ctx, o); err != nil {
		return nil, err
	}
	if err = p.startOnFreePort(ctx); err != nil {
		return nil, err
	}
	return p, p.createRole(ctx)
}

// initialise makes the cluster, in the locale that Synapse asks for.
func (p *PG) initialise(ctx context.Context, o PGOptions) error {
	secret := filepath.Join(p.dir, "password")
	if err := os.WriteFile(secret, []byte(p.password+"\n"), 0o600); err != nil {
		return err
	}
	defer os.Remove(secret)
	if err := p.own(secret); err != nil {
		return err
	}
	if err := p.program(ctx, "initdb", "--pgdata", p.data(), "--username", Superuser, "--pwfile", secret,
		"--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"); err != nil {
		return err
	}
	conf, err := os.OpenFile(filepath.Join(p.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = conf.WriteString(p.configuration(o))
	return errors.Join(err, conf.Close())
}

func (p *PG) configuration(o PGOptions) string {
	settings := map[string]string{
		"listen_addresses":        "127.0.0.1",
		"unix_socket_directories": p.dir,
		"max_connections":         "100",
		"shared_buffers":          "64MB",
		"timezone":                "UTC",
		"log_timezone":            "UTC",
	}
	if !o.Durable {
		for _, k := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
			settings[k] = "off"
		}
	}
	for k, v := range o.Settings {
		settings[k] = v
	}
	var b strings.Builder
	for k, v := range settings {
		fmt.Fprintf(&b, "%s = '%s'\n", k, strings.ReplaceAll(v, "'", "''"))
	}
	return b.String()
}

func (p *PG) startOnFreePort(ctx context.Context) error {
	for try := 0; ; try++ {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		p.port = l.Addr().(*net.TCPAddr).Port
		_ = l.Close()
		err = p.start(ctx)
		if err == nil || try == 5 { // somebody else may take the port that was free a moment ago
			return err
		}
	}
}

// start returns when the server answers.
func (p *PG) start(ctx context.Context) error {
	err := p.program(ctx, "pg_ctl", "start", "--silent", "--wait", "--timeout", strconv.Itoa(pgStartWait),
		"--pgdata", p.data(), "--log", p.log(), "--options", "-p "+strconv.Itoa(p.port))
	if err != nil {
		text, _ := os.ReadFile(p.log())
		return fmt.Errorf("%w: %s", err, lastLine(string(text)))
	}
	return nil
}

// stop ends the server in one of pg_ctl's modes.
func (p *PG) stop(ctx context.Context, mode string) error {
	return p.program(ctx, "pg_ctl", "stop", "--silent", "--wait", "--mode", mode, "--pgdata", p.data())
}

// Close ends the server and removes its folder.
func (p *PG) Close() {
	if p.watch != nil {
		p.watch.end()
	}
	if p.dir != "" {
		_ = os.RemoveAll(p.dir) // the watcher has removed it, unless it couldn't start
	}
}

// URL is the superuser's URL of a database.
func (p *PG) URL(database string) string { return p.url(Superuser, database) }

// SynapseURL is the URL of a database for [SynapseRole], which isn't a superuser.
func (p *PG) SynapseURL(database string) string { return p.url(SynapseRole, database) }

func (p *PG) url(role, database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(role, p.password), Path: "/" + database,
		Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(p.port)),
	}
	return u.String()
}

// BinDir is the folder of this server's own programs: pg_dump, psql and so on.
func (p *PG) BinDir() string { return p.bin }

// Major is the server's major version.
func (p *PG) Major() int { return p.major }

// Port is the port on 127.0.0.1, and that of the socket's name.
func (p *PG) Port() int { return p.port }

// Password is that of both roles.
func (p *PG) Password() string { return p.password }

// Dir is the folder of the Unix socket, and of the log, "log".
func (p *PG) Dir() string { return p.dir }

func (p *PG) data() string { return filepath.Join(p.dir, "data") }
func (p *PG) log() string  { return filepath.Join(p.dir, "log") }

// program runs one of the server's programs as the server's user.
func (p *PG) program(ctx context.Context, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, filepath.Join(p.bin, name), args...)
	cmd.Dir = p.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + p.dir, "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.user, Setpgid: true}
	out, err := os.CreateTemp("", "synapse-maint-pg-out-") // a pipe would be kept open by the server
	if err != nil {
		return err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(out.Name())
		return fmt.Errorf("%s: %w: %s", name, err, lastLine(string(text)))
	}
	return nil
}

func (p *PG) own(path string) error {
	if p.user == nil {
		return nil
	}
	return os.Chown(path, int(p.user.Uid), int(p.user.Gid))
}
