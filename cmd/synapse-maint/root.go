package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/synapse-maint/synapse-maint/cmd/internal/app"
	"github.com/synapse-maint/synapse-maint/cmd/internal/config"
)

// globals are the flags of every command.
type globals struct {
	config, homeserver, store, database, pgBinDir string
	media, metrics                                string
	configs                                       []string
	jobs                                          int
	identities                                    []string
	jobIdentity                                   string
	output, logLevel, logFormat                   string
	noColor                                       bool
}

func (g *globals) add(f *pflag.FlagSet) {
	f.StringVar(&g.config, "config", "", "configuration `FILE`")
	f.StringVar(&g.homeserver, "homeserver", "", "`NAME` of the homeserver (default: the only one there is)")
	f.StringVar(&g.store, "store", "", "store: `URL` (s3://BUCKET/PREFIX, file:///FOLDER) or configured name")
	f.StringVar(&g.database, "database", "", "Synapse's database: `URL` or libpq keywords; passwords better in PGPASSWORD or ~/.pgpass")
	f.StringVar(&g.media, "media", "", "Synapse's media store: `DIR`, or s3://BUCKET/PREFIX (default: /data/media_store, if there)")
	f.StringArrayVar(&g.configs, "synapse-config", nil, "homeserver.yaml, or another configuration `FILE` or folder of Synapse's; repeatable")
	f.StringVar(&g.metrics, "metrics-dir", "", "`FOLDER` for Prometheus: what each run did, for node_exporter's textfile collector")
	f.StringVar(&g.pgBinDir, "pg-bin-dir", "", "`FOLDER` of pg_dump and pg_restore")
	f.IntVar(&g.jobs, "jobs", 0, "how much is done at once (default: as many as CPUs)")
	f.StringArrayVar(&g.identities, "identity", nil, "age identity `FILE` that opens encrypted recovery points; repeatable")
	f.StringVar(&g.jobIdentity, "job-identity", "", "`FILE` of the key that backups read their metadata with")
	f.StringVarP(&g.output, "output", "o", "text", "text or json")
	f.StringVar(&g.logLevel, "log-level", "", "debug, info, warn, error or off (default: off on a terminal, else info)")
	f.StringVar(&g.logFormat, "log-format", "text", "text or json")
	f.BoolVar(&g.noColor, "no-color", false, "no colours")
}

const rootHelp = `Keeps Matrix Synapse homeservers recoverable: recovery points of database, media and
secrets, taken while Synapse runs, in an S3 bucket or a folder, and the way back.

Every global flag can be an environment variable: --store is SYNAPSE_MAINT_STORE.
Flags beat the environment, and that beats the configuration file.

Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 done in part, 4 nothing to do it
with, 11 locked by another run, 130 interrupted.`

func (p *program) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "synapse-maint",
		Short:         "Keeps Matrix Synapse homeservers recoverable",
		Long:          rootHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := nothingEmpty(cmd); err != nil {
				return err
			}
			return p.prepare(cmd.Root().PersistentFlags())
		},
	}
	p.globals.add(root.PersistentFlags())
	root.SetFlagErrorFunc(flagError)
	root.SetOut(p.out)
	root.SetErr(p.err)
	root.AddCommand(p.initCommand(), p.backupCommand(), p.listCommand(), p.showCommand(), p.verifyCommand(), p.pruneCommand(), p.copyCommand(),
		p.restoreCommand(), p.exportCommand(), p.runsCommand(), p.configCommand(), p.versionCommand())
	strictDefaults(root)
	return root
}

// strictDefaults makes the library's own commands refuse what is no command, too:
// they would print their help, and end with 0.
func strictDefaults(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "completion":
			c.Args, c.RunE = unknownCommand, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		case "help":
			c.Args = func(_ *cobra.Command, args []string) error {
				if found, rest, err := root.Find(args); err == nil {
					return unknownCommand(found, rest)
				}
				return nil
			}
		}
	}
}

// lockWait is how long a run waits for the lock where nobody looks: longer than
// the lock of a killed one lasts.
const lockWait = 90 * time.Second

// waitFlag is that of commands that need the homeserver's lock. A person learns
// at once who has it; the next try of a CronJob whose pod was killed has to
// outlive that pod's lock.
func (p *program) waitFlag(cmd *cobra.Command) {
	wait := lockWait
	if p.terminal {
		wait = 0
	}
	cmd.Flags().DurationVar(&p.wait, "wait", wait, "how long to wait for another run's lock (on a terminal 0s, else 1m30s)")
	cmd.Flags().Lookup("wait").DefValue = "0s" // the text says it
}

// unknownCommand refuses what is no command, with the near miss.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return app.Usagef("no command %s%s", strings.TrimSpace(commandName(cmd)+" "+args[0]), config.DidYouMean(args[0], names))
}

// commandName is a command without the program before it.
func commandName(cmd *cobra.Command) string {
	return strings.TrimSpace(strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()))
}

// between takes so many arguments.
func between(least, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < least:
			return app.Usagef("%s: an argument is missing; it is %s", commandName(cmd), useLine(cmd))
		case most >= 0 && len(args) > most:
			return app.Usagef("%s: what is %q? It is %s", commandName(cmd), args[most], useLine(cmd))
		}
		return nil
	}
}

func useLine(cmd *cobra.Command) string { return strings.TrimSuffix(cmd.UseLine(), " [flags]") }

func flagError(cmd *cobra.Command, err error) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "unknown flag: --"); ok {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		near := config.DidYouMean(name, names)
		if !strings.Contains(near, "?") {
			near = "; see " + cmd.CommandPath() + " --help"
		}
		return app.Usagef("%s: no flag --%s%s", cmp.Or(commandName(cmd), "usage"), name, strings.Replace(near, "mean ", "mean --", 1))
	}
	if bad, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		text = fmt.Sprintf("--%s %s: %s", bad.GetFlag().Name, bad.GetValue(), kind(bad.GetFlag()))
	}
	return app.Usagef("%s: %s", cmp.Or(commandName(cmd), "usage"), text)
}

// nothingEmpty refuses a list without an element and a command's own flag
// without a text, as a shell makes of a variable that is not set: the one would
// stand for everything, the other for what is configured, as --media-path "" for
// Synapse's own folder.
func nothingEmpty(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		list, isList := f.Value.(pflag.SliceValue)
		empty := isList && !slices.ContainsFunc(list.GetSlice(), func(s string) bool { return s != "" })
		if own := cmd.InheritedFlags().Lookup(f.Name) == nil; own && f.Value.Type() == "string" && f.Value.String() == "" {
			empty = true
		}
		if empty {
			err = app.Usagef("%s: --%s is empty: name something, or leave it out", commandName(cmd), f.Name)
		}
	})
	return err
}

// kind says what a flag's value is.
func kind(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "int":
		return "it is a number"
	case "duration":
		return "it is a time such as 90s, 15m or 72h"
	case "bool":
		return "it is true or false"
	}
	return "it can't be read"
}

// jsonAsked says whether arguments that could not be parsed ask for JSON: who
// pipes the output somewhere gets his one document all the same.
func jsonAsked(args []string) bool {
	asked := os.Getenv(variable("output"))
	for i, arg := range args {
		switch {
		case arg == "--":
			return asked == "json"
		case (arg == "-o" || arg == "--output") && i+1 < len(args):
			asked = args[i+1]
		case strings.HasPrefix(arg, "--output="), strings.HasPrefix(arg, "-o"):
			asked = strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(arg, "--output"), "-o"), "=")
		}
	}
	return asked == "json"
}

// variable is the environment variable that stands for a global flag.
func variable(flag string) string {
	return "SYNAPSE_MAINT_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// prepare lets the environment speak for flags that were not given.
func (p *program) prepare(flags *pflag.FlagSet) error {
	p.parsed = true
	var err error
	p.warnOfPassword = flags.Changed("database") && config.HasPassword(p.globals.database)
	flags.VisitAll(func(f *pflag.Flag) {
		value := os.Getenv(variable(f.Name))
		if f.Changed || value == "" || err != nil {
			return
		}
		values := []string{value}
		if f.Value.Type() == "stringArray" {
			values = filepath.SplitList(value)
		}
		for _, v := range values {
			if serr := flags.Set(f.Name, v); serr != nil {
				err = app.Usagef("%s=%s: %s", variable(f.Name), v, kind(f))
			}
		}
	})
	if err != nil {
		return err
	}
	for _, f := range []struct {
		flag, value string
		values      []string
	}{
		{"output", p.globals.output, []string{"text", "json"}},
		{"log-format", p.globals.logFormat, []string{"text", "json"}},
		{"log-level", p.globals.logLevel, []string{"", "debug", "info", "warn", "error", "off"}},
	} {
		if !slices.Contains(f.values, f.value) {
			return app.Usagef("--%s %s: it is %s", f.flag, f.value, strings.Join(slices.DeleteFunc(f.values, func(s string) bool { return s == "" }), ", "))
		}
	}
	if p.wait < 0 {
		return app.Usagef("--wait %s: it can't be negative", p.wait)
	}
	if flags.Changed("jobs") {
		if err := config.CheckJobs(p.globals.jobs); err != nil {
			return app.Usagef("--jobs %d: %v", p.globals.jobs, err)
		}
	}
	return p.startLog()
}
