// Command bench measures the database path against its peers, each ratio in
// one run on one machine, and writes the table of docs/benchmarks.md.
//
// It starts its own PostgreSQL and S3 server on loopback, fills a
// Synapse-shaped database, and times whole commands: ours as the operator
// would type it, and the peers as installed from Debian. It is a tool of the
// project's own development and imports only internal/testbed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"
)

func main() { os.Exit(run()) }

func run() int {
	scale := flag.Float64("scale", 1, "size of the database; 1 is about 1 GB on the server's disk")
	rounds := flag.Int("rounds", 3, "runs of each command; the median counts")
	out := flag.String("out", "", "rewrite the generated part of this Markdown file")
	program := flag.String("program", "bin/synapse-maint", "the binary to measure")
	only := flag.String("only", "", "backup, restore or big (one table of 90 %); empty: all")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b, err := newBench(ctx, *program, *scale, *rounds)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 1
	}
	defer b.close()
	began := time.Now()
	parts := []struct {
		name string
		run  func(context.Context) error
	}{{"backup", b.backup}, {"restore", b.restore}, {"big", b.big}}
	for _, p := range parts {
		if *only != "" && *only != p.name {
			continue
		}
		if err := p.run(ctx); err != nil {
			fmt.Fprintf(os.Stderr, "bench %s: %v\n", p.name, err)
			return 1
		}
	}
	text := b.report(time.Since(began))
	fmt.Print(text)
	if *out != "" {
		if err := rewrite(*out, text); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			return 1
		}
	}
	return 0
}
