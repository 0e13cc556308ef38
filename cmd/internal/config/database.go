package config

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
)

var (
	// A keyword, or a URL's parameter, that is a password, with its value.
	passwordWord = regexp.MustCompile(`(?i)((?:^|[\s?&])(?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&#]*)`)
	errPassword  = errors.New("a password doesn't belong in this file: put it in a file and name that by passwordFile, or name a variable by passwordEnv")
)

// HasPassword says whether a database URL or keyword string has a password in
// it.
func HasPassword(dsn string) bool {
	_, has := passwordless(dsn)
	return has
}

// passwordless returns a database URL or keyword string without the password,
// and whether there was one.
func passwordless(dsn string) (string, bool) {
	clean := passwordWord.ReplaceAllString(dsn, "${1}…")
	scheme, rest, isURL := strings.Cut(clean, "://")
	if !isURL || strings.ContainsAny(scheme, " =") {
		return clean, clean != dsn
	}
	// Not by url.Parse: what it refuses would keep its password. A password may
	// have an @ in it, or a slash, where it should be escaped.
	end := strings.LastIndexByte(rest, '@')
	if end < 0 {
		return clean, clean != dsn
	}
	user, _, has := strings.Cut(rest[:end], ":")
	if has {
		clean = scheme + "://" + user + rest[end:]
	}
	return clean, clean != dsn
}

// checkURL returns what is wrong with a database URL, without quoting it.
func (d Database) checkURL() error {
	if HasPassword(d.URL) {
		return errPassword
	}
	if d.URL == "" {
		return nil
	}
	if !strings.Contains(d.URL, "://") {
		if !strings.Contains(d.URL, "=") {
			return errors.New("a database's url is postgres://USER@HOST/DATABASE, or keywords as in host=… dbname=…")
		}
		return nil
	}
	if u, err := url.Parse(d.URL); err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return errors.New("a database's url is postgres://USER@HOST/DATABASE")
	}
	return nil
}
