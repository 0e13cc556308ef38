package app

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// warnOfReaders says once of a file with a secret that every user of the machine
// can read it. It is no refusal: Kubernetes, Docker and systemd give out secrets
// as they are set up to, often as 0644 in a place that nobody else has, and a
// backup that does not run is worse than one that warns.
func (a *App) warnOfReaders(path string) {
	if a.warned[path] || !readByAll(path) {
		return
	}
	if a.warned == nil {
		a.warned = map[string]bool{}
	}
	a.warned[path] = true
	a.opt.Warn(fmt.Sprintf("every user of this machine can read %s, which holds a secret: chmod 600 it", path))
}

// readByAll says whether every user can read a file: it and all folders above it
// let them, and it is in none of the places that hold the secrets of a container
// or service. What can't be found out is no reason to warn.
func readByAll(path string) bool {
	path, err := filepath.Abs(path)
	if err != nil || strings.HasPrefix(path, "/run/secrets/") || strings.HasPrefix(path, "/run/credentials/") {
		return false
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return false
	}
	// A mounted Secret's files are links into a folder like ..2026_11_25_02_00_00.123.
	if strings.Contains(path, "/..") {
		return false
	}
	const read, enter = 0o004, 0o001
	if info, err := os.Stat(path); err != nil || info.Mode().Perm()&read == 0 {
		return false
	}
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode().Perm()&enter == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}
