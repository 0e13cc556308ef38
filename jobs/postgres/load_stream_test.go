package postgres

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// Incident: element-hq/element-meta#2155, by the other way: pg_restore brings
// all that is in a stream, and one may hold one-time keys.
func TestAStreamWithOneTimeKeysLeavesNone(t *testing.T) {
	t.Parallel()
	p, s := server(t)
	c := config(t, p.URL(config(t, testbed.SynapseDatabase(t, p, 0.01)).Database()))
	must(t, p.Exec(t.Context(), c.Database(), `INSERT INTO e2e_one_time_keys_json VALUES ('@a:b', 'D', 'signed_curve25519', 'k', 1, '{}');
		SELECT lo_from_bytea(4711, 'large')`))
	pgDump := filepath.Join(p.BinDir(), "pg_dump")
	cmd := exec.Command(pgDump, "-Fc", "-Z0")
	cmd.Env = c.Env()
	archive, err := cmd.Output()
	must(t, err)
	d := dumpOf(t, c, pgDump).dump
	for _, keep := range []bool{false, true} {
		name := fmt.Sprintf("load_stream_keys_%v", keep)
		created(t, p, s, name, name, d)
		rep, err := s.Load(t.Context(), synapse.LoadRequest{
			Run: name, Database: name, Dump: d, KeepOTK: keep,
			Stream: func(_ context.Context, yield func([]byte) error) error { return yield(archive) },
		})
		must(t, err)
		sound(t, rep)
		var n int
		must(t, connected(t, s.cfg.With(name)).QueryRow(t.Context(), "SELECT count(*) FROM e2e_one_time_keys_json").Scan(&n))
		if (n > 0) != keep {
			t.Errorf("%d one-time keys, kept: %v", n, keep)
		}
	}
}
