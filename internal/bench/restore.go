package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

// restore measures the load of the Synapse-shaped database.
func (b *bench) restore(ctx context.Context) error {
	if err := b.database(ctx, "synapse"); err != nil {
		return err
	}
	if err := testbed.FillSynapse(ctx, b.pg.URL("synapse"), b.scale); err != nil {
		return err
	}
	return b.compareRestore(ctx, "synapse", "restore from S3, wall", 0.9)
}

// big measures the load of a database of which one table is nine tenths.
func (b *bench) big(ctx context.Context) error {
	if err := b.database(ctx, "big"); err != nil {
		return err
	}
	if _, _, err := timed(ctx, b.env("big"), fmt.Sprintf(`psql -X -q -v ON_ERROR_STOP=1 -d "$DB" <<'SQL'
		CREATE TABLE big (id bigint, room_id text, type text, state_key text, event_id text);
		INSERT INTO big SELECT i, '!room' || i %% 20 || ':matrix.example.com', 'm.room.member',
			'@user' || (i * 7919::bigint) %% 6000 || ':hs' || i %% 300 || '.example.org', '$' || encode(sha256(i::text::bytea), 'base64')
		FROM generate_series(1, %[1]d) i;
		ALTER TABLE big ADD PRIMARY KEY (id);
		CREATE INDEX ON big (room_id, id);
		CREATE TABLE small AS SELECT * FROM big WHERE id <= %[1]d / 10;
		ALTER TABLE small ADD PRIMARY KEY (id);
		VACUUM ANALYZE;
SQL`, int(3_000_000*b.scale))); err != nil {
		return err
	}
	return b.compareRestore(ctx, "big", "restore, one table is 90 %, wall", 0.65)
}

func (b *bench) compareRestore(ctx context.Context, database, what string, aim float64) error {
	if err := b.emptyBucket(); err != nil {
		return err
	}
	jobs := max(2, runtime.NumCPU())
	prepare := fmt.Sprintf(`%s >/dev/null && %s >/dev/null && rm -rf %s/dump && pg_dump -Fd -j%d -f %s/dump "$DB"`, ourInit, ourBackup, b.dir, jobs, b.dir)
	if _, _, err := timed(ctx, b.env(database), prepare); err != nil {
		return err
	}
	// pg_restore leaves it to the operator to gather the planner's statistics,
	// which its manual advises; ours ends with them.
	const peer = `pg_restore -j%[1]d -d "$DB" %[2]s/dump`
	empty := func() error { return b.database(ctx, "peer") }
	all, _, err := b.measure(ctx,
		contender{database, `"$SM" restore --mode beside --target-database restored --yes --output json`, func() error { return b.drop(ctx, "restored") }},
		contender{"peer", fmt.Sprintf(peer, jobs, b.dir), empty},
		contender{"peer", fmt.Sprintf(peer+` && vacuumdb -q --analyze-only -j%[1]d -d "$DB"`, jobs, b.dir), empty})
	if err != nil {
		return err
	}
	ours := all[0]
	b.add(compare(what, fmt.Sprintf("`pg_restore -j%d` from a local folder", jobs), ours, all[1], aim))
	b.add(compare(what, fmt.Sprintf("the same, then `vacuumdb --analyze-only -j%d`", jobs), ours, all[2], 0))
	b.add(row{what: "restore, peak memory", against: "absolute", got: peak(ours), aim: 256, unit: "MiB"})
	return b.drop(ctx, "restored")
}

func (b *bench) drop(ctx context.Context, database string) error {
	_, _, err := timed(ctx, b.env("postgres"), `psql -X -q -d "$DB" -c 'DROP DATABASE IF EXISTS `+database+`'`)
	return err
}
