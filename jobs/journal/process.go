package journal

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// process names a process so that whoever shares its process table can tell
// whether it is gone. Stored data.
type process struct {
	Host  string `json:"host"`
	PID   int    `json:"pid"`
	Boot  string `json:"boot,omitempty"`  // the kernel's ID of this boot
	Space string `json:"space,omitempty"` // the PID namespace: containers have their own
	Start string `json:"start,omitempty"` // of the process, in ticks since boot: PIDs are used again
}

const proc = "/proc"

// thisProcess describes us; what the system does not tell stays empty.
func thisProcess() process {
	p := process{PID: os.Getpid()}
	p.Host, _ = os.Hostname()
	if boot, err := os.ReadFile(proc + "/sys/kernel/random/boot_id"); err == nil {
		p.Boot = strings.TrimSpace(string(boot))
	}
	p.Space, _ = os.Readlink(proc + "/self/ns/pid")
	p.Start, _ = startOf(p.PID)
	return p
}

// gone says for certain that p runs no more. It can be said only of a process
// in our own process table.
func (p process) gone(self process) bool {
	if p.Host != self.Host || p.Boot == "" || p.Boot != self.Boot || p.Space == "" || p.Space != self.Space || p.Start == "" {
		return false
	}
	start, err := startOf(p.PID)
	if errors.Is(err, fs.ErrNotExist) {
		return !signalled(p.PID) // /proc may hide other users' processes
	}
	return err == nil && start != p.Start
}

// signalled says whether there is a process to send signals to, be it another
// user's.
func signalled(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer p.Release() //nolint:errcheck // there is nothing to do about it
	return !errors.Is(p.Signal(syscall.Signal(0)), os.ErrProcessDone)
}

// startOf returns when a process began: field 22 of proc(5)'s stat, counted
// after the name, which may contain anything. Empty for a zombie: it has no
// memory and no connections left, so it is as good as gone.
func startOf(pid int) (string, error) {
	stat, err := os.ReadFile(filepath.Join(proc, strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", err
	}
	after := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	const state, start = 0, 19 // fields 3 and 22
	if len(after) <= start || string(after[state]) == "Z" || string(after[state]) == "X" {
		return "", nil
	}
	return string(after[start]), nil
}
