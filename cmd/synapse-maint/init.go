package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/synapse-maint/synapse-maint/cmd/internal/app"
	"github.com/synapse-maint/synapse-maint/jobs"
)

type initOptions struct {
	recipients []string
	dryRun     bool
}

func (p *program) initCommand() *cobra.Command {
	var o initOptions
	cmd := &cobra.Command{
		Use:   "init [--recipient age1…]",
		Short: "Prepare a store for a homeserver; prints what to keep safe",
		Long: `Makes the homeserver's archive in the store. With recipients, recovery points are
encrypted to these public keys, and nothing on this machine can read what is in them.
An archive that is there already is left as it is.`,
		Args: between(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return p.runInit(cmd.Context(), o) },
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.recipients, "recipient", nil, "age public `KEY` that can read the recovery points; repeatable (default: the configuration's)")
	f.BoolVar(&o.dryRun, "dry-run", false, "only say what would be done")
	return cmd
}

func (p *program) runInit(ctx context.Context, o initOptions) error {
	a, err := p.app()
	if err != nil {
		return err
	}
	r, err := a.Init(ctx, o.recipients, o.dryRun)
	if err != nil && !errors.Is(err, jobs.ErrIncomplete) {
		return err
	}
	if perr := p.print(r, initText(r)); perr != nil {
		return perr
	}
	return err
}

func initText(r app.InitResult) string {
	var b strings.Builder
	switch {
	case r.Created:
		fmt.Fprintf(&b, "Archive of %s made in %s\n", r.Homeserver, r.Store)
	case r.DryRun:
		fmt.Fprintf(&b, "Would make an archive of %s in %s\n", r.Homeserver, r.Store)
	default:
		fmt.Fprintf(&b, "Archive of %s is in %s already; nothing was changed\n", r.Homeserver, r.Store)
	}
	if len(r.Copies) > 0 {
		fmt.Fprintf(&b, "  and in        %s\n", strings.Join(r.Copies, ", "))
	}
	if !r.Encrypted {
		b.WriteString("\n  NOT ENCRYPTED: whoever reads the store reads every message in the database.\n" +
			"  To encrypt, use init --recipient age1… (a public key from age-keygen) on an empty store.\n")
		return b.String()
	}
	for _, k := range r.Recipients {
		fmt.Fprintf(&b, "  encrypted to  %s\n", k)
	}
	made := "is there already"
	if r.KeyCreated {
		made = "made now"
	}
	if !r.Created {
		made = "of this machine"
	}
	fmt.Fprintf(&b, "  job identity  %s (%s)\n", r.JobIdentity, made)
	b.WriteString(`
Keep safe, in two places that are neither this machine nor the store:
  - the secret key of a recipient. Without it nobody can restore, ever.
The job identity opens lists and sizes, not data. Backups need it here; if it is lost,
a recipient's key does the same.
`)
	return b.String()
}
