package config

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// maxSecret is the size in bytes of the longest file that is taken for a
// password.
const maxSecret = 64 << 10

// Resolve returns the URL and the password of a database. Both are empty where
// nothing is said of them.
func (d Database) Resolve(getenv func(string) string) (url, password string, err error) {
	switch {
	case d.PasswordFile != "":
		password, err = ReadSecret(d.PasswordFile, getenv)
		if err != nil {
			return "", "", fmt.Errorf("passwordFile: %w", err)
		}
	case d.PasswordEnv != "":
		password = getenv(d.PasswordEnv)
		if password == "" {
			return "", "", fmt.Errorf("passwordEnv: the environment variable %s is not set, or empty", d.PasswordEnv)
		}
	}
	return d.URL, password, nil
}

// ReadSecret reads a file of one line, without the line's end. A file that
// everybody may read, or others may write, is refused, except where that is how
// secrets are handed to a container: in a Kubernetes pod and below /run/secrets.
func ReadSecret(path string, getenv func(string) string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", err
	}
	const othersRead, othersWrite = 0o004, 0o022
	switch mode := info.Mode(); {
	case mode.IsDir():
		return "", fmt.Errorf("%s: is a folder, not a file", path)
	case handed(path, getenv):
	case mode.Perm()&othersRead != 0:
		return "", fmt.Errorf("%s: everybody on this machine may read it: chmod o-rwx %s", path, path)
	case mode.Perm()&othersWrite != 0:
		return "", fmt.Errorf("%s: others than its owner may write it: chmod go-w %s", path, path)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err != nil {
		return "", err
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case secret == "":
		return "", fmt.Errorf("%s: is empty", path)
	case len(text) > maxSecret || strings.ContainsAny(secret, "\n\x00"):
		return "", fmt.Errorf("%s: is not one line of text", path)
	}
	return secret, nil
}

// handed says whether a file is one that a container's runtime mounts: those
// are readable by everybody in the container, and nobody else is in it.
func handed(path string, getenv func(string) string) bool {
	path = filepath.Clean(path)
	return getenv("KUBERNETES_SERVICE_HOST") != "" ||
		strings.HasPrefix(path, "/run/secrets/") || strings.HasPrefix(path, "/var/run/secrets/")
}

var (
	// A keyword, or a URL's parameter, that is a password, with its value.
	passwordWord = regexp.MustCompile(`(?i)((?:^|[\s?&])(?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s&#]*)`)
	errPassword  = errors.New("a password doesn't belong in this file: put it in a file and name it by passwordFile")
)

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
	if _, has := passwordless(d.URL); has {
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
