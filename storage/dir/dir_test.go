package dir_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/dir"
	"github.com/synapse-maint/synapse-maint/storage/storetest"
)

func open(t *testing.T) *dir.Store {
	t.Helper()
	s, err := dir.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	storetest.Test(t, func(t *testing.T) storage.Store { return open(t) })
}

func TestSub(t *testing.T) {
	storetest.Test(t, func(t *testing.T) storage.Store { return storage.Sub(open(t), "one/two/") })
}

// TestStoreWithoutHardLinks is for exFAT disks and network shares.
func TestStoreWithoutHardLinks(t *testing.T) {
	storetest.Test(t, func(t *testing.T) storage.Store {
		s := open(t)
		dir.WithoutLinks(s)
		return s
	})
}

// TestTwoOpenings: as two processes do, so that only the file system stands
// between them.
func TestTwoOpenings(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	var both [2]*dir.Store
	for i := range both {
		s, err := dir.Open(folder)
		if err != nil {
			t.Fatal(err)
		}
		both[i] = s
	}
	o, err := both[0].Put(t.Context(), "a", []byte("x"), storage.PutOptions{IfAbsent: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := both[1].Put(t.Context(), "a", []byte("y"), storage.PutOptions{IfAbsent: true}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("error is %v, want %v", err, fs.ErrExist)
	}
	if _, err := both[1].Put(t.Context(), "a", []byte("y"), storage.PutOptions{IfMatch: o.Tag}); err != nil {
		t.Errorf("the other's tag is not accepted: %v", err)
	}
}

func TestOpenCreatesNothing(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "not", "there")
	if _, err := dir.Open(folder); !errors.Is(err, storage.ErrNoStore) || !strings.Contains(err.Error(), folder) {
		t.Errorf("error is %v", err)
	}
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is there: %v", err)
	}
	s, err := dir.Create(folder)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "a", nil, storage.PutOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := dir.Open(filepath.Join(folder, "a")); err == nil {
		t.Error("a file was opened as a store")
	}
}

func TestModes(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "store")
	s, err := dir.Create(folder)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "a/b/c", []byte("x"), storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"": 0o700, "a": 0o700, "a/b": 0o700, "a/b/c": 0o600} {
		info, err := os.Stat(filepath.Join(folder, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%q has mode %o, want %o", name, got, want)
		}
	}
}

// TestLinksAreRefused: nothing in the folder makes the store read, write or
// delete outside of it.
func TestLinksAreRefused(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t)
	for name, target := range map[string]string{"file": secret, "folder": outside, "dangling": filepath.Join(outside, "new")} {
		if err := os.Symlink(target, filepath.Join(s.String(), name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(s.String(), "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"file", "folder/secret", "dangling", "pipe"} {
		if got, err := storage.ReadAll(t.Context(), s, key); err == nil {
			t.Errorf("get %s: %q", key, got)
		}
		if o, err := s.Stat(t.Context(), key); err == nil {
			t.Errorf("stat %s: %+v", key, o)
		}
	}
	for o, err := range s.List(t.Context(), "") {
		t.Errorf("list: %+v, %v", o, err)
	}
	if _, err := s.Put(t.Context(), "folder/new", []byte("x"), storage.PutOptions{}); err == nil {
		t.Error("put through a linked folder")
	}
	for _, key := range []string{"file", "dangling"} { // replaces the link itself
		if _, err := s.Put(t.Context(), key, []byte("x"), storage.PutOptions{}); err != nil {
			t.Errorf("put %s: %v", key, err)
		}
	}
	if err := s.Delete(t.Context(), "folder/secret"); err == nil {
		t.Error("delete through a linked folder")
	}
	if got, err := os.ReadFile(secret); err != nil || string(got) != "secret" {
		t.Errorf("the file outside holds %q, %v", got, err)
	}
	if names, err := os.ReadDir(outside); err != nil || len(names) != 1 {
		t.Errorf("outside there are %v, %v", names, err)
	}
}

func TestLeftoversOfDeadWritersGo(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	old, recent := filepath.Join(folder, "p", ".put-old"), filepath.Join(folder, "p", ".put-recent")
	if err := os.Mkdir(filepath.Dir(old), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, age := range map[string]time.Duration{old: 25 * time.Hour, recent: 23 * time.Hour} {
		if err := os.WriteFile(name, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
		then := time.Now().Add(-age)
		if err := os.Chtimes(name, then, then); err != nil {
			t.Fatal(err)
		}
	}
	s, err := dir.Open(folder)
	if err != nil {
		t.Fatal(err)
	}
	for o, err := range s.List(t.Context(), "") {
		t.Errorf("%s is listed (%v)", o.Key, err)
	}
	if _, err := os.Stat(old); err != nil {
		t.Errorf("reading removed it: %v", err)
	}
	if _, err := s.Put(t.Context(), "p/a", nil, storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(old); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old one is there: %v", err)
	}
	if _, err := os.Stat(recent); err != nil {
		t.Errorf("the recent one may still be written: %v", err)
	}
}

func TestRetentionIsRefused(t *testing.T) {
	t.Parallel()
	s := open(t)
	_, err := s.Put(t.Context(), "a", nil, storage.PutOptions{RetainUntil: time.Now().Add(time.Hour)})
	if err == nil || !strings.Contains(err.Error(), "a folder has no object lock") {
		t.Errorf("error is %v", err)
	}
	if _, err := s.Stat(t.Context(), "a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it was stored: %v", err)
	}
}

func TestKeysAndFolders(t *testing.T) {
	t.Parallel()
	s := open(t)
	if _, err := s.Put(t.Context(), "a/b", nil, storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "a/b/c"} {
		for _, opt := range []storage.PutOptions{{}, {IfAbsent: true}} {
			_, err := s.Put(t.Context(), key, nil, opt)
			if err == nil || !strings.Contains(err.Error(), "a key can't be the folder of another key") || errors.Is(err, fs.ErrExist) {
				t.Errorf("put %s: %v", key, err)
			}
		}
	}
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Errorf("delete of a folder's name: %v", err)
	}
	if _, err := s.Stat(t.Context(), "a/b"); err != nil {
		t.Error(err)
	}
}
