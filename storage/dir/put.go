package dir

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
)

const (
	tempPrefix = ".put-"
	// Nobody takes a day for a put: such a file's writer is dead.
	leftoverAge = 24 * time.Hour
)

var errNoObjectLock = errors.New("a folder has no object lock: use a bucket that has, or no retention")

// Put implements [storage.Store]. RetainUntil is refused.
func (s *Store) Put(ctx context.Context, key string, body []byte, opt storage.PutOptions) (storage.Object, error) {
	if err := s.check(ctx, "put", key); err != nil {
		return storage.Object{}, err
	}
	o, err := s.put(ctx, key, body, opt)
	if err != nil {
		return storage.Object{}, s.fail("put", key, err)
	}
	return o, nil
}

func (s *Store) put(ctx context.Context, key string, body []byte, opt storage.PutOptions) (storage.Object, error) {
	switch {
	case !opt.RetainUntil.IsZero():
		return storage.Object{}, errNoObjectLock
	case len(body) > storage.MaxObject:
		return storage.Object{}, fmt.Errorf("larger than %d bytes", storage.MaxObject)
	}
	if err := s.mkdir(path.Dir(key)); err != nil {
		return storage.Object{}, err
	}
	s.sweep(path.Dir(key))
	temp, info, err := s.writeTemp(path.Dir(key), body)
	if err != nil {
		return storage.Object{}, err
	}
	defer func() { _ = s.root.Remove(temp) }() // gone already after a rename
	if err := ctx.Err(); err != nil {
		return storage.Object{}, err
	}
	if err := s.publish(ctx, temp, key, opt); err != nil {
		return storage.Object{}, err
	}
	if err := s.sync(path.Dir(key)); err != nil {
		return storage.Object{}, err
	}
	return object(key, info), nil
}

// writeTemp writes body to a new file in folder and syncs it. On an error no
// file is left.
func (s *Store) writeTemp(folder string, body []byte) (string, fs.FileInfo, error) {
	name := path.Join(folder, tempPrefix+rand.Text())
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", nil, err
	}
	info, err := s.fill(f, name, body)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		_ = s.root.Remove(name)
		return "", nil, err
	}
	return name, info, nil
}

func (s *Store) fill(f *os.File, name string, body []byte) (fs.FileInfo, error) {
	if _, err := f.Write(body); err != nil {
		return nil, err
	}
	// The kernel's own time moves in steps of milliseconds; tags want more.
	now := time.Now()
	if err := s.root.Chtimes(name, now, now); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	return f.Stat()
}

// publish gives the temporary file its key, if the condition holds. Puts and
// deletes hold the lock together; a put that looks before it renames holds it
// alone.
func (s *Store) publish(ctx context.Context, temp, key string, opt storage.PutOptions) error {
	if opt.IfAbsent {
		// Unlike a rename, a link fails if the name is taken.
		err := s.link(temp, key)
		if !noLinks(err) {
			return s.unlessFolder(key, err)
		}
	}
	how := syscall.LOCK_SH
	if opt.IfAbsent || opt.IfMatch != "" {
		how = syscall.LOCK_EX
	}
	release, err := s.lock(ctx, how)
	if err != nil {
		return err
	}
	defer release()
	info, err := s.root.Lstat(key)
	switch {
	case opt.IfAbsent && err == nil:
		return s.unlessFolder(key, fs.ErrExist)
	case opt.IfMatch != "" && (absent(err) || err == nil && tag(info) != opt.IfMatch):
		return storage.ErrChanged
	case err != nil && !absent(err):
		return err
	}
	return s.unlessFolder(key, s.root.Rename(temp, key))
}

// unlessFolder returns err, or a clearer one where the key is a folder.
func (s *Store) unlessFolder(key string, err error) error {
	if err != nil {
		if info, statErr := s.root.Lstat(key); statErr == nil && info.IsDir() {
			return syscall.EISDIR
		}
	}
	return err
}

// noLinks is true on file systems without hard links (exFAT, many network
// shares).
func noLinks(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.ENOSYS)
}

// lock takes the store's lock, which ends with the process that holds it.
func (s *Store) lock(ctx context.Context, how int) (release func(), err error) {
	f, err := s.root.OpenFile(".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("lock .lock: %w", err)
		}
		select {
		case <-ctx.Done():
			_ = f.Close()
			return nil, ctx.Err()
		case <-tick.C:
		}
	}
}

// mkdir makes a folder and those above it, each made durable in the one that
// holds it.
func (s *Store) mkdir(folder string) error {
	if folder == "." {
		return nil
	}
	if info, err := s.root.Lstat(folder); err == nil && info.IsDir() {
		return nil
	}
	if err := s.mkdir(path.Dir(folder)); err != nil {
		return err
	}
	if err := s.root.Mkdir(folder, 0o700); err != nil {
		info, statErr := s.root.Lstat(folder)
		switch {
		case statErr == nil && info.IsDir(): // somebody else was faster
			return nil
		case statErr == nil:
			return syscall.ENOTDIR
		}
		return err
	}
	return s.sync(path.Dir(folder))
}

// sync makes the names in a folder durable.
func (s *Store) sync(folder string) error {
	d, err := s.root.Open(folder)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// sweep removes what writers that died have left in a folder, once a process:
// at its first put there, for readers change nothing. Best effort.
func (s *Store) sweep(folder string) {
	if _, done := s.swept.LoadOrStore(folder, true); done {
		return
	}
	d, err := s.root.Open(folder)
	if err != nil {
		return
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	for _, name := range names {
		if !strings.HasPrefix(name, tempPrefix) {
			continue
		}
		name = path.Join(folder, name)
		if info, err := s.root.Lstat(name); err == nil && time.Since(info.ModTime()) > leftoverAge {
			_ = s.root.Remove(name)
		}
	}
}
