package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/synapse-maint/synapse-maint/cmd/internal/app"
	"github.com/synapse-maint/synapse-maint/cmd/internal/progress"
	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/verify"
)

type verifyOptions struct {
	points   []string
	all      bool
	readData string
}

func (p *program) verifyCommand() *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:   "verify [ID…|--all] [--read-data[=PERCENT]]",
		Short: "Check recovery points",
		Long: `Checks that all that recovery points need is in the store, as it was put: lists, index and
manifests in full, data by presence and size. --read-data reads the data, too: all of it, or
a share chosen anew each time. Without an ID all recovery points are checked.

Reading data needs no identity; with one, each blob is also decrypted and compared.`,
		Args: between(0, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.points = args
			return p.runVerify(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.all, "all", false, "all recovery points, as without an ID")
	f.StringVar(&o.readData, "read-data", "", "read this `PERCENT` of the data; without a number, everything")
	f.Lookup("read-data").NoOptDefVal = "100"
	return cmd
}

// share is the part of the data that is to be read, 0 to 1.
func (o verifyOptions) share() (float64, error) {
	if o.readData == "" {
		return 0, nil
	}
	percent, err := strconv.ParseFloat(strings.TrimSuffix(o.readData, "%"), 64)
	if err != nil || !(percent > 0 && percent <= 100) {
		return 0, app.Usagef("--read-data=%s: it is a percentage, above 0 and up to 100", o.readData)
	}
	return percent / 100, nil
}

func (p *program) runVerify(ctx context.Context, o verifyOptions) error {
	share, err := o.share()
	if err != nil {
		return err
	}
	if o.all && len(o.points) > 0 {
		return app.Usagef("verify: either --all or IDs")
	}
	a, err := p.archive(ctx, "")
	if err != nil {
		return err
	}
	for i, at := range o.points {
		pt, err := a.Point(ctx, at)
		if pt.ID == "" {
			return err // one that is damaged is what a check is for
		}
		o.points[i] = pt.ID
	}
	if len(o.points) == 0 {
		if pt, err := a.Point(ctx, "latest"); pt.ID == "" {
			return err
		}
	}
	if len(p.globals.identities) > 0 {
		if err := a.Keyed(a.WrongKey()); err != nil {
			return err
		}
	}
	run, err := a.Run(ctx, a.Verify(o.points, share), jobs.RunID{})
	if run == nil {
		return err
	}
	r, rerr := verify.ResultOf(run)
	if rerr != nil {
		if err == nil {
			err = rerr
		}
		return hinted{err, "the check is not complete, and nothing was recorded"}
	}
	if r.Unrecorded != "" {
		p.warn("the result can't be kept in the store, so that list will not show it: " + r.Unrecorded)
	}
	if perr := p.print(r, p.verifyText(r)); perr != nil {
		return perr
	}
	return err
}

func (p *program) verifyText(r verify.Result) string {
	var rows [][]string
	for _, pt := range r.Points {
		result := "all is there"
		switch {
		case !pt.OK:
			result = "DAMAGED"
		case pt.Level == "data":
			result = "good, all data read"
		}
		rows = append(rows, []string{pt.ID, result})
	}
	var b strings.Builder
	b.WriteString(p.table([]string{"ID", "RESULT"}, rows))
	for _, pt := range r.Points {
		for _, problem := range pt.Problems {
			fmt.Fprintf(&b, "  %s: %s\n", pt.ID, problem)
		}
		if len(pt.Tables) > 0 {
			fmt.Fprintf(&b, "  %s: can't be restored in full: %s\n", pt.ID, strings.Join(pt.Tables, ", "))
		}
	}
	for _, d := range r.Damaged {
		problem := strings.TrimPrefix(d.Problem, d.Key+" is ")
		fmt.Fprintf(&b, "  %s: %s (found first %s)\n", d.Key, problem, stamp(d.Since))
	}
	fmt.Fprintf(&b, "%s, %s of them read (%s), in %s\n", jobs.Count(int64(r.Packs), "pack"), jobs.Count(int64(r.Read), ""),
		jobs.Size(r.Bytes), progress.Duration(time.Duration(r.Seconds*float64(time.Second))))
	if r.Limits != "" {
		fmt.Fprintf(&b, "Not looked at: %s\n", r.Limits)
	}
	return b.String()
}
