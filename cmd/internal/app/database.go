package app

import (
	"cmp"
	"fmt"
	"os"
	"strings"

	"github.com/synapse-maint/synapse-maint/cmd/internal/config"
	"github.com/synapse-maint/synapse-maint/jobs/postgres"
)

// Database says how to reach the homeserver's database.
func (a *App) Database() (*postgres.Config, error) {
	d := a.conf.Database
	if d.PasswordFile != "" {
		a.warnOfReaders(d.PasswordFile)
	}
	if d.URL == "" && cmp.Or(os.Getenv("PGHOST"), os.Getenv("PGDATABASE"), os.Getenv("PGSERVICE"), os.Getenv("PGUSER")) == "" {
		return nil, Usagef("no database: give --database URL, SYNAPSE_MAINT_DATABASE, PG* variables or a configuration file")
	}
	dsn, err := withPassword(d)
	if err != nil {
		return nil, err
	}
	c, err := postgres.ParseConfig(dsn)
	return c, usage(err)
}

// withPassword puts the password that the configuration refers to into the
// connection string, which goes nowhere but to the driver.
func withPassword(d config.Database) (string, error) {
	switch {
	case d.PasswordFile != "":
		text, err := os.ReadFile(d.PasswordFile)
		if err != nil {
			return "", usage(fmt.Errorf("the database's password: %w", err))
		}
		password := strings.TrimRight(string(text), "\r\n")
		if password == "" {
			return "", Usagef("the database's password: %s is empty", d.PasswordFile)
		}
		return addPassword(d.URL, password), nil
	case d.PasswordEnv != "":
		password := os.Getenv(d.PasswordEnv)
		if password == "" {
			return "", Usagef("the database's password: the environment has no %s", d.PasswordEnv)
		}
		return addPassword(d.URL, password), nil
	default:
		return d.URL, nil
	}
}

func addPassword(dsn, password string) string {
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		quoted := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(password)
		return strings.TrimSpace(dsn + " password='" + quoted + "'")
	}
	separator := "?"
	if strings.Contains(dsn, "?") {
		separator = "&"
	}
	return dsn + separator + "password=" + escape(password)
}

// escape writes a text as a URL's parameter; QueryEscape's + for a blank is not
// understood everywhere.
func escape(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		fmt.Fprintf(&b, "%%%02X", c)
	}
	return b.String()
}

func (a *App) postgresOptions() postgres.Options {
	return postgres.Options{
		Jobs: a.conf.Jobs, BinDir: a.conf.PgBinDir, Log: a.opt.Log,
		KeepOneTimeKeys: a.conf.Backup.KeepOneTimeKeys,
	}
}

// trimWords takes the standard library's words off the end of an error's text.
func trimWords(text string) string {
	for _, words := range []string{": file does not exist", " (file does not exist)"} {
		text = strings.TrimSuffix(text, words)
	}
	return text
}
