package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

const (
	guideDump = `pg_dump "$DB" | gzip | aws --endpoint-url "$ENDPOINT" s3 cp --only-show-errors - $B/guide.sql.gz`
	zstdDump  = `pg_dump -Fc -Z0 "$DB" | zstd -q -T0 -3 | aws --endpoint-url "$ENDPOINT" s3 cp --only-show-errors - $B/dump.zst`
	ourBackup = `"$SM" backup --output json`
	ourInit   = `"$SM" init --output json`
)

// backup measures first and second backups of the Synapse-shaped database.
func (b *bench) backup(ctx context.Context) error {
	if err := b.database(ctx, "synapse"); err != nil {
		return err
	}
	if err := testbed.FillSynapse(ctx, b.pg.URL("synapse"), b.scale); err != nil {
		return err
	}
	fresh := func() error {
		if err := b.emptyBucket(); err != nil {
			return err
		}
		_, _, err := timed(ctx, b.env("synapse"), ourInit)
		return err
	}
	limit, err := b.parallelCopy(ctx, "synapse")
	if err != nil {
		return err
	}
	all, _, err := b.measure(ctx, contender{"synapse", ourBackup, fresh}, contender{database: "synapse", script: limit},
		contender{database: "synapse", script: guideDump}, contender{database: "synapse", script: zstdDump})
	if err != nil {
		return err
	}
	first := all[0]
	b.add(compare("first backup to S3, wall", "`pg_dump \\| gzip \\| aws s3 cp -`", first, all[2], 0.15))
	b.add(compare("first backup to S3, wall", "`pg_dump -Fc -Z0 \\| zstd -T0 -3 \\| aws s3 cp -`", first, all[3], 0.7))
	b.add(compare("first backup to S3, wall", "parallel `COPY` to nowhere", first, all[1], 1.6))
	b.add(row{what: "first backup, peak memory", against: "absolute", got: peak(first), aim: 256, unit: "MiB"})
	return b.second(ctx, fresh)
}

// second measures a backup after each of several growths of 1 %, beside the
// parallel COPY of the same state.
func (b *bench) second(ctx context.Context, fresh func() error) error {
	if err := fresh(); err != nil {
		return err
	}
	if _, _, err := timed(ctx, b.env("synapse"), ourBackup); err != nil {
		return err
	}
	before, err := rangeHashes(ctx, b.pg.URL("synapse"))
	if err != nil {
		return err
	}
	var ours, limit []sample
	var sent, changed int64
	for range b.rounds {
		if err := testbed.GrowSynapse(ctx, b.pg.URL("synapse"), 1); err != nil {
			return err
		}
		after, bytes, err := changedBytes(ctx, b.pg.URL("synapse"), before)
		if err != nil {
			return err
		}
		before, changed = after, changed+bytes
		one := *b
		one.rounds = 1
		script, err := one.parallelCopy(ctx, "synapse")
		if err != nil {
			return err
		}
		got, text, err := one.measure(ctx, contender{database: "synapse", script: ourBackup}, contender{database: "synapse", script: script})
		if err != nil {
			return err
		}
		var result struct {
			Stored int64 `json:"stored"`
		}
		if err := decode(text[0], &result); err != nil {
			return err
		}
		if result.Stored == 0 {
			return errors.New("the second backup stored nothing, or does not say what it stored")
		}
		sent += result.Stored
		ours, limit = append(ours, got[0]...), append(limit, got[1]...)
	}
	b.add(compare("second backup after 1 % of rows, wall", "parallel `COPY` to nowhere", ours, limit, 1.15))
	b.add(row{
		what: "second backup, bytes stored", against: "changed 1024-page ranges, zstd level 1",
		got: float64(sent) / float64(changed), aim: 1.05, detail: fmt.Sprintf("%.1f MB / %.1f MB", float64(sent)/1e6, float64(changed)/1e6),
	})
	return nil
}

func compare(what, against string, ours, peer []sample, aim float64) row {
	return row{
		what: what, against: against, got: ratio(ours, peer), aim: aim,
		detail: fmt.Sprintf("%.2f s / %.2f s", median(ours).wall.Seconds(), median(peer).wall.Seconds()),
	}
}

// parallelCopy is the limit, as a script: as many psql as there are CPUs copy
// all tables, by the same ranges of pages, to nowhere.
func (b *bench) parallelCopy(ctx context.Context, database string) (string, error) {
	_, list, err := timed(ctx, b.env(database), `psql -X -A -t -q -d "$DB" -c "
		SELECT c.oid::regclass, pg_relation_size(c.oid) / 8192 FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
		WHERE relkind = 'r' AND nspname = 'public' ORDER BY 2 DESC"`)
	if err != nil {
		return "", err
	}
	type piece struct {
		sql   string
		pages int64
	}
	var pieces []piece
	for line := range strings.Lines(list) {
		name, size, _ := strings.Cut(strings.TrimSpace(line), "|")
		pages, err := strconv.ParseInt(size, 10, 64)
		if err != nil {
			return "", fmt.Errorf("pages of %s: %w", name, err)
		}
		if pages <= rangePages {
			pieces = append(pieces, piece{"COPY " + name + " TO STDOUT;", pages})
			continue
		}
		for lo := int64(0); lo < pages; lo += rangePages {
			pieces = append(pieces, piece{rangeCopy(name, lo) + ";", min(rangePages, pages-lo)})
		}
	}
	slices.SortStableFunc(pieces, func(a, b piece) int { return cmp.Compare(b.pages, a.pages) })
	workers := max(2, runtime.NumCPU())
	scripts, load := make([]strings.Builder, workers), make([]int64, workers)
	for _, p := range pieces {
		least := slices.Index(load, slices.Min(load))
		load[least] += p.pages
		fmt.Fprintln(&scripts[least], p.sql)
	}
	var command strings.Builder
	for i := range scripts {
		path := filepath.Join(b.dir, fmt.Sprintf("copy%d.sql", i))
		if err := os.WriteFile(path, []byte(scripts[i].String()), 0o600); err != nil {
			return "", err
		}
		fmt.Fprintf(&command, `psql -X -q -d "$DB" -f %s >/dev/null & `, path)
	}
	return command.String() + "wait", nil
}
