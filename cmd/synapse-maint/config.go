package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/synapse-maint/synapse-maint/cmd/internal/app"
	"github.com/synapse-maint/synapse-maint/cmd/internal/config"
	"github.com/synapse-maint/synapse-maint/jobs"
)

func (p *program) configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Check, show, or describe the configuration file",
		Args:  unknownCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		&cobra.Command{
			Use: "check", Short: "Check the configuration file; every problem on a line", Args: between(0, 0),
			RunE: func(*cobra.Command, []string) error { return p.runConfigCheck() },
		},
		&cobra.Command{
			Use: "show", Short: "What holds of flags, environment and file, without secrets", Args: between(0, 0),
			RunE: func(*cobra.Command, []string) error { return p.runConfigShow() },
		},
		&cobra.Command{
			Use: "schema", Short: "Print the file's JSON Schema, for editors", Args: between(0, 0),
			RunE: func(*cobra.Command, []string) error {
				_, err := p.out.Write(config.Schema())
				return err
			},
		},
	)
	return cmd
}

// checked is the result of a check in JSON.
type checked struct {
	File        string   `json:"file"`
	OK          bool     `json:"ok"`
	Problems    []string `json:"problems"`
	Homeservers []string `json:"homeservers"`
	Stores      []string `json:"stores"`
}

func (p *program) runConfigCheck() error {
	file, err := app.LoadConfig(p.globals.config)
	var problems config.Problems
	if errors.As(err, &problems) {
		c := checked{File: p.globals.config, Problems: problems, Homeservers: []string{}, Stores: []string{}}
		if perr := p.print(c, strings.Join(problems, "\n")+"\n"); perr != nil {
			return perr
		}
		return app.Usagef("the configuration file has %s", jobs.Count(int64(len(problems)), "problem"))
	}
	if err != nil {
		return err
	}
	if file.Path() == "" {
		return app.Usagef("there is no configuration file: name one with --config")
	}
	c := checked{
		File: file.Path(), OK: true, Problems: []string{},
		Homeservers: append([]string{}, file.Names()...), Stores: append([]string{}, file.StoreNames()...),
	}
	return p.print(c, fmt.Sprintf("%s is good: %s, %s\n", c.File, jobs.Count(int64(len(c.Homeservers)), "homeserver"), jobs.Count(int64(len(c.Stores)), "store")))
}

func (p *program) runConfigShow() error {
	a, err := p.app()
	if err != nil {
		return err
	}
	holds := a.Effective()
	text, err := holds.YAML() // without passwords
	if err != nil {
		return err
	}
	return p.print(holds, string(text))
}
