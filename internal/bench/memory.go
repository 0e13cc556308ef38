package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

// What a tiny file costs on ext4: itself and most often a folder of its own,
// and a block of 4 KiB for each.
const (
	inodesPerTiny = 3
	bytesPerTiny  = 9 << 10
)

// memory measures how much memory many small files take: a first backup, one
// with nothing changed, and a prune that drops the first.
func (b *bench) memory(ctx context.Context) error {
	if err := room(b.dir, b.tiny); err != nil {
		return err
	}
	dir := filepath.Join(b.dir, "tiny")
	defer os.RemoveAll(dir)
	began := time.Now()
	tree, err := testbed.FillMedia(ctx, dir, testbed.TinyMedia(b.tiny))
	if err != nil {
		return err
	}
	files := tree.Files()
	fmt.Fprintf(os.Stderr, "%7.2f s  for %d tiny files\n", time.Since(began).Seconds(), files)
	if err := b.emptyBucket(); err != nil {
		return err
	}
	env := append(b.env("postgres"), "TREE="+dir)
	if _, _, err := timed(ctx, env, ourInit); err != nil {
		return err
	}
	for _, step := range []struct{ what, script string }{
		{"first backup", ourMediaBackup},
		{"backup, nothing changed", ourMediaBackup},
		{"prune", `"$SM" prune --keep-last 1 --yes --output json`},
	} {
		if _, _, err := timed(ctx, env, "sync"); err != nil {
			return err
		}
		s, _, err := timed(ctx, env, step.script)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%7.2f s  %6.2f CPU-s  %5d MiB  %s\n", s.wall.Seconds(), s.cpu.Seconds(), s.memory>>20, step.what)
		b.add(row{
			what: fmt.Sprintf("media, %d files, %s, peak memory", files, step.what), against: "absolute", got: peak([]sample{s}), aim: 512, unit: "MiB",
			detail: fmt.Sprintf("in %.1f s", s.wall.Seconds()),
		})
	}
	return nil
}

// room refuses what would fill the disk.
func room(dir string, files int) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return err
	}
	free := int64(fs.Bavail) * fs.Bsize
	if need := int64(files) * bytesPerTiny; free < need {
		return fmt.Errorf("%s has %d MB free; %d tiny files take %d MB: set TMPDIR, or fewer -tiny", dir, free/1e6, files, need/1e6)
	}
	if fs.Files > 0 && fs.Ffree < uint64(files)*inodesPerTiny {
		return errors.New(dir + " has too few inodes free for that many tiny files: set TMPDIR, or fewer -tiny")
	}
	return nil
}
