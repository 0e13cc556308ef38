package dir_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/dir"
)

// roleVariable makes the test binary play a part in a test, in a process of its
// own.
const roleVariable = "DIR_TEST_ROLE"

func TestMain(m *testing.M) {
	role, folder, _ := strings.Cut(os.Getenv(roleVariable), "=")
	parts := map[string]func(folder string) error{"": nil, "write for ever": writeForEver, "fill the disk": fillTheDisk}
	part, ok := parts[role]
	switch {
	case !ok:
		fmt.Fprintln(os.Stderr, "no such role:", role)
		os.Exit(2)
	case part == nil:
		os.Exit(m.Run())
	}
	if err := part(folder); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func role(t *testing.T, name, folder string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleVariable+"="+name+"="+folder)
	cmd.Stderr = os.Stderr
	return cmd
}

const crashSize = 1 << 20

// writeForEver replaces one object again and again, each time by another byte
// repeated, and prints a line after each.
func writeForEver(folder string) error {
	s, err := dir.Open(folder)
	if err != nil {
		return err
	}
	var tag string
	for i := byte(1); ; i++ {
		o, err := s.Put(context.Background(), "a/object", bytes.Repeat([]byte{i}, crashSize), storage.PutOptions{IfMatch: tag})
		if err != nil {
			return err
		}
		tag = o.Tag
		fmt.Println(i)
	}
}

// TestKilledWriter kills a writer at any moment: the object is whole, the lock
// is free, and the next writer goes on.
func TestKilledWriter(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for round := range 5 {
		cmd := role(t, "write for ever", folder)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for range round + 2 {
			if !lines.Scan() {
				t.Fatal("the writer has ended")
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		s, err := dir.Open(folder)
		if err != nil {
			t.Fatal(err)
		}
		got, err := storage.ReadAll(t.Context(), s, "a/object")
		if err != nil || len(got) != crashSize || !bytes.Equal(got, bytes.Repeat(got[:1], crashSize)) {
			t.Fatalf("after a kill the object has %d bytes, or of several puts (%v)", len(got), err)
		}
		o, err := s.Stat(t.Context(), "a/object")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(t.Context(), "a/object", got, storage.PutOptions{IfMatch: o.Tag}); err != nil {
			t.Errorf("the next put: %v", err)
		}
	}
}

// fillTheDisk runs in a mount namespace of its own, with a small file system at
// folder.
func fillTheDisk(folder string) error {
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, "size=2m"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	s, err := dir.Open(folder)
	if err != nil {
		return err
	}
	if _, err := s.Put(context.Background(), "a/fits", make([]byte, 1<<20), storage.PutOptions{}); err != nil {
		return err
	}
	for range 3 {
		_, err = s.Put(context.Background(), "a/fits", make([]byte, 4<<20), storage.PutOptions{})
		if !errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("put on a full disk: %w", err)
		}
	}
	fmt.Println(err)
	entries, err := os.ReadDir(filepath.Join(folder, "a"))
	if err != nil {
		return err
	}
	if len(entries) != 1 || entries[0].Name() != "fits" {
		return fmt.Errorf("left on the disk: %v", entries)
	}
	if o, err := s.Stat(context.Background(), "a/fits"); err != nil || o.Size != 1<<20 {
		return fmt.Errorf("the old object: %+v, %w", o, err)
	}
	return nil
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	cmd := role(t, "fill the disk", folder)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := "put " + folder + "/a/fits: no space left on device: free some space there\n"
	if string(out) != want {
		t.Errorf("error is %q, want %q", out, want)
	}
}
