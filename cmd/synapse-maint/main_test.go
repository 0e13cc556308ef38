package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain makes this binary the program, too: scripts run it as a process of
// its own.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"synapse-maint": func() { os.Exit(run()) }})
}
