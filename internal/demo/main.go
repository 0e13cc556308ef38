// Command demo shows the main job on a throwaway PostgreSQL and a folder: a
// recovery point of database, media and secrets, a second one, a homeserver
// lost, and the way back. Every command it prints is the one it runs, and what
// they print is real.
//
// It is started by `make demo`, imports only internal/testbed, and leaves
// nothing behind.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is the stage: a server, a folder, and the program.
type demo struct {
	pg      *testbed.PG
	dir     string
	program string
	env     []string
	media   *testbed.Media
}

func run(ctx context.Context) error {
	program, err := filepath.Abs("bin/synapse-maint")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "synapse-maint-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	began := time.Now()
	say("A throwaway homeserver: PostgreSQL with a small database shaped like Synapse's, media files, a signing key")
	pg, err := testbed.StartPostgres(ctx, testbed.PGOptions{})
	if err != nil {
		return err
	}
	defer pg.Close()
	d := &demo{pg: pg, dir: dir, program: program}
	if err := d.prepare(ctx); err != nil {
		return err
	}
	if err := d.story(ctx); err != nil {
		return err
	}
	fmt.Printf("\nDone in %s. Everything above was real; nothing of it is left.\n", time.Since(began).Round(100*time.Millisecond))
	return nil
}

func (d *demo) prepare(ctx context.Context) error {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	key := filepath.Join(d.dir, "operator.key")
	if err := os.WriteFile(key, []byte(identity.String()+"\n"), 0o600); err != nil {
		return err
	}
	d.env = append(os.Environ(),
		"PATH="+d.pg.BinDir()+":"+os.Getenv("PATH"),
		"SYNAPSE_MAINT_HOMESERVER=matrix.example.com",
		"SYNAPSE_MAINT_STORE=file://"+filepath.Join(d.dir, "store"),
		"SYNAPSE_MAINT_JOB_IDENTITY="+filepath.Join(d.dir, "job.key"),
		"SYNAPSE_MAINT_DATABASE="+d.pg.URL("synapse"),
		"DB="+d.pg.URL("synapse"), "OTHER="+d.pg.URL("elsewhere"),
		"SYNAPSE_MAINT_MEDIA="+d.folder("media_store"),
		"SYNAPSE_MAINT_SYNAPSE_CONFIG="+d.folder("etc", "homeserver.yaml"),
		"MEDIA="+d.folder("media_store"), "ETC="+d.folder("etc"), "OUT="+d.folder("out"),
		"RECIPIENT="+identity.Recipient().String(), "KEY="+key,
	)
	if err := d.quiet(ctx, `psql -X -q -d "${DB%/synapse*}/postgres${DB#*/synapse}" -c 'CREATE DATABASE synapse TEMPLATE template0' -c 'CREATE DATABASE elsewhere TEMPLATE template0'`); err != nil {
		return err
	}
	if err := testbed.FillSynapse(ctx, d.pg.URL("synapse"), 0.05); err != nil {
		return err
	}
	if err := d.configure(); err != nil {
		return err
	}
	if d.media, err = testbed.FillMedia(ctx, d.folder("media_store"), testbed.SmallMedia()); err != nil {
		return err
	}
	return d.media.SaveRows(ctx, d.pg.URL("synapse"))
}

func (d *demo) story(ctx context.Context) error {
	say("A folder becomes a store. What goes in is encrypted to the operator's public key")
	if err := d.show(ctx, `synapse-maint init --recipient $RECIPIENT`); err != nil {
		return err
	}
	say("The first recovery point: database, media and secrets under one manifest")
	if err := d.show(ctx, `synapse-maint backup`); err != nil {
		return err
	}
	say("A night passes: one percent more. The second is a full recovery point at the price of what changed")
	if err := d.night(ctx); err != nil {
		return err
	}
	if err := d.show(ctx, `synapse-maint backup && synapse-maint list`); err != nil {
		return err
	}
	want, err := d.fingerprint(ctx, d.pg.URL("synapse"))
	if err != nil {
		return err
	}
	files, err := d.checksums(ctx)
	if err != nil {
		return err
	}
	say("03:00. Tables are dropped, the uploads are deleted, and the signing key is gone")
	if err := d.show(ctx, `psql -X -d "$DB" -c 'DROP TABLE state_groups_state, event_json CASCADE' -c 'DELETE FROM users'
rm -r $MEDIA/local_content $ETC`); err != nil {
		return err
	}
	say("Back: loaded beside the broken database, checked; the files; then the swap, by rename")
	if err := d.show(ctx, `synapse-maint restore --at latest --identity $KEY --secrets-path $ETC --yes`); err != nil {
		return err
	}
	if err := d.compare(ctx, "restored", d.pg.URL("synapse"), want); err != nil {
		return err
	}
	if err := d.compareFiles(ctx, files); err != nil {
		return err
	}
	say("And the way out: a stock directory archive, restored by stock pg_restore")
	if err := d.show(ctx, `synapse-maint export latest $OUT --identity $KEY && pg_restore -j2 -d "$OTHER" $OUT/database`); err != nil {
		return err
	}
	return d.compare(ctx, "exported", d.pg.URL("elsewhere"), want)
}

// night lets the homeserver be used.
func (d *demo) night(ctx context.Context) error {
	if err := testbed.GrowSynapse(ctx, d.pg.URL("synapse"), 1); err != nil {
		return err
	}
	if err := d.media.Change(ctx, 1); err != nil {
		return err
	}
	return d.media.SaveRows(ctx, d.pg.URL("synapse"))
}

// fingerprint is a checksum of every row of every table, but for the one-time
// keys, whose rows a recovery point leaves out.
func (d *demo) fingerprint(ctx context.Context, url string) (string, error) {
	cmd := exec.CommandContext(ctx, "psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", `
		SELECT count(*) || ' tables, ' || sum((x ->> 'n')::bigint) || ' rows, checksum ' || md5(string_agg(t || x::text, ',' ORDER BY t))
		FROM (SELECT relname AS t, (xpath('/row/x/text()', query_to_xml(format(
				'SELECT json_build_object(''n'', count(*), ''h'', sum(hashtextextended(r::text, 0)::numeric))::text AS x FROM %I.%I r', nspname, relname), false, true, '')))[1]::text::json AS x
			FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
			WHERE relkind = 'r' AND nspname = 'public' AND relname <> 'e2e_one_time_keys_json') s`)
	cmd.Env = d.env
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("checksum: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}

func (d *demo) compare(ctx context.Context, what, url, want string) error {
	got, err := d.fingerprint(ctx, url)
	if err != nil {
		return err
	}
	fmt.Printf("\n  before the loss: %s\n  %-15s  %s\n", want, what+":", got)
	if got != want {
		return fmt.Errorf("the %s database differs from the lost one", what)
	}
	fmt.Println("  the same.")
	return nil
}

// compareFiles compares media and secrets with what they were.
func (d *demo) compareFiles(ctx context.Context, want string) error {
	got, err := d.checksums(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("\n  files before:    %s\n  restored:        %s\n", want, got)
	if got != want {
		return errors.New("the restored files differ from the lost ones")
	}
	fmt.Println("  the same.")
	return nil
}

func say(text string) { fmt.Printf("\n── %s.\n", text) }

// show prints a command and runs it.
func (d *demo) show(ctx context.Context, script string) error {
	fmt.Printf("\n$ %s\n", strings.ReplaceAll(script, d.dir, "/tmp/demo"))
	return d.sh(ctx, script, os.Stdout)
}

func (d *demo) quiet(ctx context.Context, script string) error { return d.sh(ctx, script, os.Stderr) }

func (d *demo) sh(ctx context.Context, script string, out *os.File) error {
	cmd := exec.CommandContext(ctx, "bash", "-c", `synapse-maint() { "`+d.program+`" "$@"; }; `+script)
	cmd.Env, cmd.Stdout, cmd.Stderr = d.env, out, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", script, err)
	}
	return nil
}
