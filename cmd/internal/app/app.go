// Package app puts the program together: it decides what holds of flags,
// environment and configuration file, opens stores, archives and databases,
// and makes the jobs that work on them.
//
// It imports every room below cmd. It parses no flags, prints nothing and asks
// nobody: commands do.
package app

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/synapse-maint/synapse-maint/cmd/internal/config"
	"github.com/synapse-maint/synapse-maint/jobs"
)

// Errors that the exit code is chosen by.
var (
	// ErrUsage says that flags, environment or configuration file are not right.
	ErrUsage = errors.New("usage")
	// ErrNothing says that there is nothing to do it with: no archive, no such
	// recovery point or run.
	ErrNothing = errors.New("nothing to do it with")
)

// DefaultHomeserver is the name of a homeserver that nobody gave one.
const DefaultHomeserver = "synapse"

// systemFile is the configuration file that is read if none is named.
const systemFile = "/etc/synapse-maint/config.yaml"

// Options are what flags and environment say; what they leave open is the
// configuration file's to say.
type Options struct {
	Config      string // path; empty: the usual place, if there is a file
	Homeserver  string
	Store       string   // name or URL
	Database    string   // URL
	Media       string   // folder, or URL of a bucket
	Configs     []string // homeserver.yaml, …
	PgBinDir    string
	Jobs        int
	Identities  []string      // files
	JobIdentity string        // file
	Wait        time.Duration // how long a run waits for the homeserver's lock

	Metrics string // folder of files for Prometheus; empty: none

	Program  string // name and version
	Warn     func(string)
	Log      *slog.Logger
	Progress func(jobs.Progress)
	OnStep   func(*jobs.Run, jobs.StepRecord)
}

// App is the program for one homeserver.
type App struct {
	opt   Options
	file  *config.File
	name  string // of the homeserver; empty: not known before the store was asked
	conf  config.Homeserver
	store config.Store
	def   bool // the store is the default folder

	warned map[string]bool // files of which was said that everybody can read them
}

// New reads the configuration file and decides what holds. It opens nothing.
func New(o Options) (*App, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	if slices.ContainsFunc(append(slices.Clone(o.Identities), o.JobIdentity), isSecretKey) {
		return nil, Usagef("an identity is a file, and this is the secret key itself: put it into a file that only its owner can read, and name that")
	}
	file, err := LoadConfig(o.Config)
	if err != nil {
		return nil, err
	}
	a := &App{opt: o, file: file}
	if a.name, a.conf, err = file.Homeserver(o.Homeserver); err != nil {
		return nil, usage(err)
	}
	a.override()
	if a.store, err = a.storeNamed(a.conf.Store); err != nil {
		return nil, err
	}
	if a.store.URL == "" {
		a.store.URL, a.def = "file://"+dataFolder(), true
		o.Warn("no store is configured: the folder " + dataFolder() + " is used (see --store)")
	}
	return a, nil
}

// isSecretKey says whether a text is a secret key, in the place of a public one or
// of a file. It must not be quoted.
func isSecretKey(text string) bool {
	return strings.HasPrefix(strings.ToUpper(strings.TrimSpace(text)), "AGE-SECRET-KEY-")
}

// LoadConfig reads the configuration file, or the one in the usual place if
// there is one.
func LoadConfig(path string) (*config.File, error) {
	if path == "" {
		var ok bool
		if path, ok = usualFile(); !ok {
			return &config.File{}, nil
		}
	}
	file, err := config.Load(path)
	return file, usage(err)
}

// usualFile is the configuration file that is used when none is named: the
// user's, or the machine's.
func usualFile() (string, bool) {
	places := []string{systemFile}
	if dir, err := os.UserConfigDir(); err == nil {
		places = []string{filepath.Join(dir, "synapse-maint", "config.yaml"), systemFile}
	}
	for _, p := range places {
		if _, err := os.Stat(p); err == nil {
			return p, true
		}
	}
	return "", false
}

// dataFolder is where things go that have no place of their own.
func dataFolder() string {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "synapse-maint")
	}
	if home, err := os.UserHomeDir(); err == nil && os.Geteuid() != 0 && filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "share", "synapse-maint")
	}
	return "/var/lib/synapse-maint"
}

// override lets flags and environment beat the file.
func (a *App) override() {
	if a.opt.Database != "" {
		// The file's password, if any, is another one's.
		a.conf.Database = config.Database{URL: a.opt.Database}
	}
	for _, s := range []struct {
		value *string
		flag  string
	}{
		{&a.conf.Store, a.opt.Store},
		{&a.conf.PgBinDir, a.opt.PgBinDir},
		{&a.conf.JobIdentity, a.opt.JobIdentity},
		{&a.conf.MetricsDir, a.opt.Metrics},
	} {
		if s.flag != "" {
			*s.value = s.flag
		}
	}
	switch {
	case strings.Contains(a.opt.Media, "://"):
		a.conf.Media.Folder, a.conf.Media.URL = "", a.opt.Media
	case a.opt.Media != "":
		a.conf.Media.Folder, a.conf.Media.URL = a.opt.Media, ""
	}
	if len(a.opt.Configs) > 0 {
		a.conf.Secrets.Configs = a.opt.Configs
	}
	if a.opt.Jobs > 0 {
		a.conf.Jobs = a.opt.Jobs
	}
	if len(a.opt.Identities) > 0 {
		a.conf.Identities = a.opt.Identities
	}
}

// Copies are the names of the stores that backups are copied to.
func (a *App) Copies() []string { return a.conf.Copies }

func (a *App) storeNamed(name string) (config.Store, error) {
	s, err := a.file.StoreNamed(name)
	return s, usage(err)
}

// usage marks an error as one of usage or configuration.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return marked{err, ErrUsage}
}

func nothing(err error) error {
	if err == nil {
		return nil
	}
	return marked{err, ErrNothing}
}

// marked is an error of a kind, without a word more.
type marked struct {
	error
	kind error
}

func (m marked) Unwrap() []error { return []error{m.error, m.kind} }

// Usagef is an error of usage.
func Usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

// Nothingf is an error for want of something to work with.
func Nothingf(format string, args ...any) error { return nothing(fmt.Errorf(format, args...)) }
