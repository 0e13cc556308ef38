package restore

import (
	"context"

	"github.com/synapse-maint/synapse-maint/jobs/synapse"
)

// loader makes and fills databases on the server to restore to.
type loader interface {
	// Inspect says whether a restore can work. It reads only.
	Inspect(ctx context.Context, q synapse.Request) (synapse.Inspection, error)
	// Create makes an empty database like the dump's, marked with the run. One
	// that bears the run's mark already is taken as it is; any other of that
	// name that is not empty is refused.
	Create(ctx context.Context, run, name string, like synapse.Database, owner string) (oid uint32, err error)
	// Load fills a database. It goes on where a killed load of the same run
	// stopped.
	Load(ctx context.Context, q synapse.LoadRequest) (synapse.LoadReport, error)
}

// swapper renames and drops databases, each named by its OID, so that a
// repeated call can't hit another one.
type swapper interface {
	// Swap renames the live database aside and the new one into its place.
	// Repeated after it was done it returns the same.
	Swap(ctx context.Context, q synapse.SwapRequest) (synapse.Swap, error)
	// Undo swaps back; sessions that are in its way are ended or are a refusal.
	// Repeated after it was done it does nothing.
	Undo(ctx context.Context, s synapse.Swap, terminate bool) error
	// Drop removes a database that a restore made or put aside; absent is fine,
	// any other is refused.
	Drop(ctx context.Context, name string, oid uint32) error
	// Vacate drops a live database: the operator has confirmed it. Absent is
	// fine; sessions are ended or are a refusal.
	Vacate(ctx context.Context, name string, oid uint32, terminate bool) error
	// Databases lists what the server has, templates left out.
	Databases(ctx context.Context) ([]synapse.Found, error)
}

// Server is a PostgreSQL server to restore to. It is implemented by
// jobs/postgres.
type Server interface {
	loader
	swapper
}
