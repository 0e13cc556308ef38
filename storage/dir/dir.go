// Package dir keeps objects as files in a folder: a key is the path of a file
// below it. Whatever can copy files can copy such a store.
//
// A put writes a temporary file beside the object, syncs it, renames it and
// syncs the folder, so that a reader and a crash see the old object, the new
// one, or none. Nothing below the folder leads out of it: symbolic links are
// refused. Folders have mode 0700, files 0600. Names that begin with a dot are
// the store's own (".lock", temporary files) and never objects.
//
// It imports storage and the standard library only, and runs on Unix. It keeps
// no checksums and has no object lock.
package dir

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/synapse-maint/synapse-maint/storage"
)

// Store is a [storage.Store] in a folder. Use [Open] or [Create].
type Store struct {
	path  string
	root  *os.Root
	link  func(old, new string) error // root.Link, but for tests
	swept sync.Map                    // folders whose leftovers this process has removed
}

// Open opens the store in an existing folder. It creates nothing: a missing
// folder is [storage.ErrNoStore], as with a disk that is not mounted.
func Open(folder string) (*Store, error) {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("open store %s: %w: mount the disk it is on, or make an archive there with synapse-maint init", folder, storage.ErrNoStore)
	case err != nil:
		return nil, fmt.Errorf("open store %s: %w", folder, cause(err))
	}
	return &Store{path: folder, root: root, link: root.Link}, nil
}

// Create makes the folder, and those above it, where they are missing, and
// opens it.
func Create(folder string) (*Store, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("create store %s: the folder can't be made: %w; choose one below a folder that you can write to", folder, cause(err))
	}
	return Open(folder)
}

// String is the folder's path.
func (s *Store) String() string { return s.path }

// Get implements [storage.Store]. The store keeps no checksums, so it never
// returns ErrDamaged.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	if err := s.check(ctx, "get", key); err != nil {
		return nil, err
	}
	if off < 0 {
		return nil, s.fail("get", key, fmt.Errorf("offset %d is negative", off))
	}
	if _, err := s.lstat(key); err != nil {
		return nil, s.fail("get", key, err)
	}
	f, err := s.root.Open(key)
	if err != nil {
		return nil, s.fail("get", key, err)
	}
	// The object may have been replaced since: by another file, which is what
	// to read then, but not by a link or a pipe.
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotFile
	}
	if err != nil {
		_ = f.Close()
		return nil, s.fail("get", key, err)
	}
	rest := max(info.Size()-off, 0)
	if n >= 0 {
		rest = min(n, rest)
	}
	return &reader{ctx: ctx, s: s, key: key, f: f, part: io.NewSectionReader(f, off, rest)}, nil
}

// Stat implements [storage.Store].
func (s *Store) Stat(ctx context.Context, key string) (storage.Object, error) {
	if err := s.check(ctx, "stat", key); err != nil {
		return storage.Object{}, err
	}
	info, err := s.lstat(key)
	if err != nil {
		return storage.Object{}, s.fail("stat", key, err)
	}
	return object(key, info), nil
}

// Delete implements [storage.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := s.check(ctx, "delete", key); err != nil {
		return err
	}
	if _, err := s.lstat(key); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	release, err := s.lock(ctx, syscall.LOCK_SH)
	if err != nil {
		return s.fail("delete", key, err)
	}
	defer release()
	if err := s.root.Remove(key); err != nil && !absent(err) {
		return s.fail("delete", key, err)
	}
	if err := s.sync(path.Dir(key)); err != nil {
		return s.fail("delete", key, err)
	}
	return nil
}

var errNotFile = errors.New("not a regular file: links and special files are no objects")

// lstat describes an object's file.
func (s *Store) lstat(key string) (fs.FileInfo, error) {
	info, err := s.root.Lstat(key)
	switch {
	case absent(err), err == nil && info.IsDir(): // a folder is no object
		return nil, fs.ErrNotExist
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errNotFile
	}
	return info, nil
}

// absent is also true below a file: "a/b" where there is "a".
func absent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func object(key string, info fs.FileInfo) storage.Object {
	return storage.Object{Key: key, Size: info.Size(), Tag: tag(info), Modified: info.ModTime()}
}

// tag differs for any two files that were under a key: puts set the time of
// modification to the nanosecond, and each makes a new file.
func tag(info fs.FileInfo) string {
	var inode uint64
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		inode = st.Ino
	}
	return fmt.Sprintf("%x-%x-%x", info.ModTime().UnixNano(), inode, info.Size())
}

func (s *Store) check(ctx context.Context, op, key string) error {
	if err := storage.CheckKey(key); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	if err := ctx.Err(); err != nil {
		return s.fail(op, key, err)
	}
	return nil
}

func (s *Store) fail(op, key string, err error) error {
	err = cause(err)
	hint := ""
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		hint = ": free some space there"
	case errors.Is(err, fs.ErrPermission):
		hint = ": the folder belongs to another user or is read-only"
	case errors.Is(err, syscall.EISDIR), errors.Is(err, syscall.ENOTDIR):
		hint = ": a key can't be the folder of another key"
	}
	return fmt.Errorf("%s %s: %w%s", op, filepath.Join(s.path, key), err, hint)
}

// cause strips what the operating system's errors repeat: we name the object.
func cause(err error) error {
	if errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("%w: %w", syscall.EROFS, fs.ErrPermission)
	}
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	if le := (*os.LinkError)(nil); errors.As(err, &le) {
		return le.Err
	}
	return err
}

// reader reads a part of an object until its context ends.
type reader struct {
	ctx  context.Context
	s    *Store
	key  string
	f    *os.File
	part *io.SectionReader
}

func (r *reader) Size() int64 { return r.part.Size() }

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, r.s.fail("get", r.key, err)
	}
	n, err := r.part.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.s.fail("get", r.key, err)
	}
	return n, err
}

func (r *reader) Close() error { return r.f.Close() }
