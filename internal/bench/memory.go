package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
)

// What a tiny file costs: itself and half a folder, of a block of 4 KiB each.
const (
	inodesPerTiny = 1.53
	bytesPerTiny  = 7 << 10
)

// memory measures how much memory many small files take: a first backup, one
// with nothing changed, and a prune that drops the first.
func (b *bench) memory(ctx context.Context) error {
	dir, err := b.tinyFolder()
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	files, err := b.fillTiny(ctx, dir)
	if err != nil {
		return err
	}
	if err := b.emptyBucket(); err != nil {
		return err
	}
	if err := os.WriteFile(b.config(), []byte(everyClass), 0o600); err != nil {
		return err
	}
	env := append(b.env("postgres"), "TREE="+dir, "CONFIG="+b.config())
	if _, _, err := timed(ctx, env, ourInit); err != nil {
		return err
	}
	for _, step := range []struct {
		what, script string
		aim          float64 // MiB
	}{
		{"first backup", ourMediaBackup, 0},
		{"backup, nothing changed", ourMediaBackup, 0},
		{"prune", `"$SM" prune --keep-last 1 --yes --output json`, 512},
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
			what: fmt.Sprintf("media, %d files, %s, peak memory", files, step.what), against: "absolute", got: peak([]sample{s}), aim: step.aim, unit: "MiB",
			detail: fmt.Sprintf("in %.1f s", s.wall.Seconds()),
		})
	}
	return nil
}

// fillTiny makes the tiny files in a process of its own, and returns how many
// they are. What made them here would count as the memory of whatever is
// measured next: Linux gives a child the peak of the process that it is started
// from (getrusage(2), ru_maxrss; exec_mmap in its exec.c).
func (b *bench) fillTiny(ctx context.Context, dir string) (files int, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	cmd := exec.CommandContext(ctx, self, "-fill", dir, "-tiny", strconv.Itoa(b.tiny))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("make tiny files: %w", err)
	}
	if _, err := fmt.Sscan(string(out), &files); err != nil {
		return 0, fmt.Errorf("make tiny files: %w", err)
	}
	fmt.Fprintf(os.Stderr, "%7.2f s  for %d tiny files\n", time.Since(began).Seconds(), files)
	return files, nil
}

// fill is the process that makes tiny files.
func fill(ctx context.Context, dir string, files int) error {
	tree, err := testbed.FillMedia(ctx, dir, testbed.TinyMedia(files))
	if err == nil {
		_, err = fmt.Println(tree.Files())
	}
	return err
}

// tinyFolder makes a folder for the tiny files: in memory where there is room,
// since millions of files take a disk minutes to make and to delete.
func (b *bench) tinyFolder() (string, error) {
	const inMemory = "/dev/shm"
	if room(inMemory, b.tiny) == nil {
		return os.MkdirTemp(inMemory, "synapse-maint-bench-")
	}
	if err := room(b.dir, b.tiny); err != nil {
		return "", err
	}
	dir := filepath.Join(b.dir, "tiny")
	return dir, os.Mkdir(dir, 0o700)
}

// room refuses what would fill the file system.
func room(dir string, files int) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("room in %s: %w", dir, err)
	}
	free := int64(fs.Bavail) * fs.Bsize
	if need := int64(files) * bytesPerTiny; free < need {
		return fmt.Errorf("%s has %d MB free; %d tiny files take %d MB: set TMPDIR, or fewer -tiny", dir, free/1e6, files, need/1e6)
	}
	if need := uint64(float64(files) * inodesPerTiny); fs.Files > 0 && fs.Ffree < need {
		return fmt.Errorf("%s has %d inodes free; %d tiny files take %d: set TMPDIR, or fewer -tiny", dir, fs.Ffree, files, need)
	}
	return nil
}
