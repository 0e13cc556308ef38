// Command bench measures the paths of database and media against their peers,
// each ratio in one run on one machine, and writes the table of
// docs/benchmarks.md.
//
// It starts its own PostgreSQL and S3 servers on loopback, fills a database and
// a media store shaped like Synapse's, and times whole commands: ours as the operator
// would type it, and the peers as installed from Debian. It is a tool of the
// project's own development and imports only internal/testbed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"
)

func main() { os.Exit(run()) }

func run() int {
	scale := flag.Float64("scale", 1, "size of the database; 1 is about 1 GB on the server's disk")
	rounds := flag.Int("rounds", 3, "runs of each command; the median counts")
	out := flag.String("out", "", "rewrite the generated part of this Markdown file")
	program := flag.String("program", "bin/synapse-maint", "the binary to measure")
	only := flag.String("only", "", "database, or of it backup, restore or big (one table of 90 %); media; memory; empty: all")
	files := flag.Int("files", 20_000, "files of the media store; 20,000 are 2.5 GiB")
	tiny := flag.Int("tiny", 2_000_000, "tiny files that memory is measured with")
	folder := flag.String("fill", "", "only fill this folder with the tiny files, and say how many they are")
	flag.Parse()

	if !slices.Contains([]string{"", "database", "backup", "restore", "big", "media", "memory"}, *only) {
		fmt.Fprintf(os.Stderr, "bench: there is no %s to measure\n", *only)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if *folder != "" {
		return code(fill(ctx, *folder, *tiny))
	}
	b, err := newBench(ctx, *program, *scale, *rounds)
	if err != nil {
		return code(err)
	}
	defer b.close()
	b.files, b.tiny = *files, *tiny
	began := time.Now()
	parts := []struct {
		name, of string
		run      func(context.Context) error
	}{
		{"backup", "database", b.backup},
		{"restore", "database", b.restore},
		{"big", "database", b.big},
		{"media", "", b.media},
		{"memory", "", b.memory},
	}
	for _, p := range parts {
		if *only != "" && *only != p.name && *only != p.of {
			continue
		}
		if err := p.run(ctx); err != nil {
			return code(fmt.Errorf("%s: %w", p.name, err))
		}
	}
	text := b.report(time.Since(began))
	fmt.Print(text)
	if *out == "" {
		return 0
	}
	return code(rewrite(*out, text))
}

// code is the exit code, after what went wrong.
func code(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	return 1
}
