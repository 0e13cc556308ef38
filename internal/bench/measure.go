package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"
)

// sample is what one run of one command cost.
type sample struct {
	wall   time.Duration
	cpu    time.Duration // of the command and its children; not the servers
	memory int64         // bytes: the peak of the largest process in it
}

// timed runs a shell command and measures it. Its output goes to our standard
// error only if it fails.
func timed(ctx context.Context, env []string, script string) (sample, string, error) {
	cmd := exec.CommandContext(ctx, "bash", "-o", "pipefail", "-c", script)
	cmd.Env = env
	var stdout, stderr tail
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	began := time.Now()
	err := cmd.Run()
	s := sample{wall: time.Since(began)}
	if err != nil {
		return s, "", fmt.Errorf("%s: %w\n%s", script, err, stderr.bytes)
	}
	s.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		s.memory = usage.Maxrss << 10 // Linux counts in KiB
	}
	return s, string(stdout.bytes), nil
}

// tail keeps the last 64 KiB written to it.
type tail struct{ bytes []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.bytes = append(t.bytes, p...)
	if over := len(t.bytes) - 64<<10; over > 0 {
		t.bytes = t.bytes[over:]
	}
	return len(p), nil
}

// median is the middle run by wall time.
func median(all []sample) sample {
	sorted := slices.SortedFunc(slices.Values(all), func(a, b sample) int { return int(a.wall - b.wall) })
	return sorted[len(sorted)/2]
}

// ratio is the median of the ratios of the rounds: both runs of a round met the
// same machine.
func ratio(ours, peer []sample) float64 {
	all := make([]float64, len(ours))
	for i := range ours {
		all[i] = ours[i].wall.Seconds() / peer[i].wall.Seconds()
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// peak is the highest memory of all runs, in MiB.
func peak(all []sample) float64 {
	var most int64
	for _, s := range all {
		most = max(most, s.memory)
	}
	return float64(most) / (1 << 20)
}

func removeContents(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.RemoveAll(dir + "/" + e.Name()); err != nil {
			return err
		}
	}
	return nil
}
