package testbed

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// debianPrograms is where Debian's packages put PostgreSQL's programs.
const debianPrograms = "/usr/lib/postgresql"

// postgresScript unpacks a major version that this Debian release doesn't have.
//
//go:embed setup/postgres.sh
var postgresScript []byte

// postgresPrograms finds the programs of a major version: those of Debian's
// own package, else those that the setup script unpacks into the user's cache.
func postgresPrograms(ctx context.Context, major int) (dir string, _ int, err error) {
	installed, err := installedMajors()
	if err != nil {
		return "", 0, err
	}
	if major == 0 {
		if len(installed) == 0 {
			return "", 0, errors.New("no PostgreSQL server below " + debianPrograms + ": run make setup")
		}
		major = slices.Max(installed)
	}
	if slices.Contains(installed, major) {
		return filepath.Join(debianPrograms, strconv.Itoa(major), "bin"), major, nil
	}
	cmd := exec.CommandContext(ctx, "bash", "-s", strconv.Itoa(major))
	cmd.Stdin = bytes.NewReader(postgresScript)
	var out, problem strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		return "", 0, fmt.Errorf("unpack PostgreSQL %d: %w: %s", major, err, lastLine(problem.String()))
	}
	return strings.TrimSpace(out.String()), major, nil
}

// installedMajors are the versions whose server Debian's packages installed.
func installedMajors() ([]int, error) {
	found, err := filepath.Glob(debianPrograms + "/*/bin/postgres")
	if err != nil {
		return nil, err
	}
	var majors []int
	for _, f := range found {
		if _, err := os.Stat(filepath.Join(filepath.Dir(f), "initdb")); err != nil {
			continue
		}
		n, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(f))))
		if err == nil {
			majors = append(majors, n)
		}
	}
	return majors, nil
}
