package testbed

import (
	"context"
	"embed"
	"fmt"
	"strconv"
	"testing"

	"github.com/jackc/pgx/v5"
)

//go:embed synapse/*.sql
var synapseScripts embed.FS

// SynapseDatabase makes a database shaped like Synapse's, owned by
// [SynapseRole], and returns that role's URL. See [FillSynapse] for the scale;
// 0.01 takes about a second.
func SynapseDatabase(t testing.TB, p *PG, scale float64) string {
	t.Helper()
	url := p.Database(t, OwnedBySynapse())
	if err := FillSynapse(t.Context(), url, scale); err != nil {
		t.Fatal(err)
	}
	return url
}

// FillSynapse makes Synapse's tables, indexes, sequences and coherent rows in
// an empty database. Scale 1 is about 1 GB on the server's disk and half of
// that in rows; half of those are in one table, state_groups_state, as on real
// homeservers. The same scale gives the same rows.
func FillSynapse(ctx context.Context, url string, scale float64) error {
	return runScripts(ctx, url, "testbed.scale", scale,
		"helpers", "tables", "people", "events", "messages", "events", "groups", "indexes")
}

// GrowSynapse adds some per cent of rows to a database that [FillSynapse]
// made, through Synapse's own pattern: appended events, state groups and
// federation, a few rows updated.
func GrowSynapse(ctx context.Context, url string, percent float64) error {
	return runScripts(ctx, url, "testbed.percent", percent, "helpers", "grow", "messages", "events", "groups")
}

// runScripts runs scripts in one session, each in a transaction, since they
// hand temporary tables on.
func runScripts(ctx context.Context, url, setting string, value float64, scripts ...string) error {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("synapse database: %w", err)
	}
	defer c.Close(context.WithoutCancel(ctx))
	if _, err := c.Exec(ctx, "SELECT set_config($1, $2, false)", setting, strconv.FormatFloat(value, 'g', -1, 64)); err != nil {
		return err
	}
	for _, name := range scripts {
		text, err := synapseScripts.ReadFile("synapse/" + name + ".sql")
		if err != nil {
			return err
		}
		if _, err := c.PgConn().Exec(ctx, string(text)).ReadAll(); err != nil {
			return fmt.Errorf("synapse/%s.sql: %w", name, err)
		}
	}
	if _, err := c.PgConn().Exec(ctx, "VACUUM ANALYZE").ReadAll(); err != nil {
		return fmt.Errorf("synapse database: %w", err)
	}
	return nil
}
