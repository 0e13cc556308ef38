package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"
	"github.com/klauspost/compress/zstd"
)

// rangePages is the length of a range in pages of 8 KiB, as a backup cuts them.
const rangePages = 1024

func rangeCopy(table string, lo int64) string {
	return fmt.Sprintf("COPY (SELECT * FROM ONLY %s WHERE ctid >= '(%d,0)' AND ctid < '(%d,0)') TO STDOUT", table, lo, lo+rangePages)
}

// rangeHashes hashes every range of every table.
func rangeHashes(ctx context.Context, url string) (map[string][32]byte, error) {
	hashes := map[string][32]byte{}
	err := eachRange(ctx, url, func(key string, copyTo func(io.Writer) error) error {
		h := sha256.New()
		if err := copyTo(h); err != nil {
			return err
		}
		hashes[key] = [32]byte(h.Sum(nil))
		return nil
	})
	return hashes, err
}

// changedBytes is the compressed size of the ranges that are not as before, and
// the hashes of all of them now.
func changedBytes(ctx context.Context, url string, before map[string][32]byte) (map[string][32]byte, int64, error) {
	after, err := rangeHashes(ctx, url)
	if err != nil {
		return nil, 0, err
	}
	var total counter
	err = eachRange(ctx, url, func(key string, copyTo func(io.Writer) error) error {
		if before[key] == after[key] {
			return nil
		}
		w, err := zstd.NewWriter(&total, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
		if err != nil {
			return err
		}
		if err := copyTo(w); err != nil {
			return err
		}
		return w.Close()
	})
	return after, int64(total), err
}

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }

func eachRange(ctx context.Context, url string, visit func(key string, copyTo func(io.Writer) error) error) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	rows, err := conn.Query(ctx, `SELECT c.oid::regclass::text, pg_relation_size(c.oid) / 8192 FROM pg_class c
		JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind = 'r' AND nspname = 'public' ORDER BY 1`)
	if err != nil {
		return err
	}
	type table struct {
		Name  string
		Pages int64
	}
	tables, err := pgx.CollectRows(rows, pgx.RowToStructByPos[table])
	if err != nil {
		return err
	}
	for _, t := range tables {
		for lo := int64(0); lo <= t.Pages; lo += rangePages {
			key := fmt.Sprintf("%s/%d", t.Name, lo)
			err := visit(key, func(w io.Writer) error {
				_, err := conn.PgConn().CopyTo(ctx, w, rangeCopy(t.Name, lo))
				return err
			})
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
		}
	}
	return nil
}
