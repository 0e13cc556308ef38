package secrets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// Written is a secret that was written to a folder, or was there already.
type Written struct {
	archive.SecretFile
	Path string `json:"path"`           // where it is now
	Mode string `json:"mode"`           // that it had, octal digits
	UID  int    `json:"uid"`            // that it had; -1: unknown
	GID  int    `json:"gid"`            // likewise
	Kept bool   `json:"kept,omitempty"` // it was there, with these bytes
}

// partial is the ending of a file being written.
const partial = ".synapse-maint-partial"

// Write writes the secrets of a point to a folder of their own, for their owner
// only: the folder 0700, files 0600. Each is read back and compared. What is
// there already, with the same bytes, is kept, so that a killed Write goes on.
// A folder with anything else in it is refused, and of a point that is damaged
// nothing is written.
func Write(ctx context.Context, src archive.BlobSource, part *archive.Secrets, dir string) ([]Written, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("secrets: %w", err)
	}
	items, err := read(ctx, src, part)
	if err != nil {
		return nil, err
	}
	there, err := look(dir, items)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("secrets: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("secrets: %w", err)
	}
	defer root.Close()
	if err := private(root); err != nil {
		return nil, fmt.Errorf("secrets: %w", err)
	}
	out := make([]Written, 0, len(items))
	for _, i := range items {
		if ctx.Err() != nil {
			return out, context.Cause(ctx)
		}
		if there[i.Name] {
			err = root.Chmod(i.Name, 0o600)
		} else {
			err = writeFile(root, i)
		}
		if err != nil {
			return out, fmt.Errorf("secrets: %s: %w", printable(filepath.Join(dir, i.Name)), reason(err))
		}
		out = append(out, i.written(dir, there[i.Name]))
	}
	return out, nil
}

func (i Item) written(dir string, kept bool) Written {
	return Written{
		SecretFile: archive.SecretFile{Name: i.Name, From: i.From, What: i.What, Size: int64(len(i.Data))},
		Path:       filepath.Join(dir, filepath.FromSlash(i.Name)), Mode: fmt.Sprintf("%04o", i.Mode), UID: i.UID, GID: i.GID, Kept: kept,
	}
}

// look says which of the files are in the folder as they are to be, and refuses
// one that has anything else.
func look(dir string, items []Item) (there map[string]bool, err error) {
	there = map[string]bool{}
	wanted := map[string][]byte{}
	for _, i := range items {
		wanted[i.Name] = i.Data
	}
	root := dir
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		root = real // a link to a folder is as good as the folder
	}
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist) && p == root:
			return fs.SkipAll
		case err != nil:
			return fmt.Errorf("secrets: %w", err)
		case p == root && !d.IsDir():
			return fmt.Errorf("secrets: %s is no folder: nothing was written; choose another place", dir)
		}
		if d.IsDir() || strings.HasSuffix(p, partial) {
			return nil
		}
		name, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		data, ours := wanted[filepath.ToSlash(name)]
		if ours && same(p, d, data) {
			there[filepath.ToSlash(name)] = true
			return nil
		}
		return refuse(dir, p, ours)
	})
	return there, err
}

// same says whether a file has these bytes.
func same(p string, d fs.DirEntry, data []byte) bool {
	st, err := d.Info()
	if err != nil || !st.Mode().IsRegular() || st.Size() != int64(len(data)) {
		return false
	}
	got, err := os.ReadFile(p)
	return err == nil && bytes.Equal(got, data)
}

func refuse(dir, p string, ours bool) error {
	if ours {
		return fmt.Errorf("secrets: %s is there and is another file: nothing was written; choose another folder", printable(p))
	}
	return fmt.Errorf("secrets: the folder %s has other files (%s): nothing was written; choose a new one", dir, printable(filepath.Base(p)))
}

// private closes the folder to others.
func private(root *os.Root) error {
	st, err := root.Stat(".")
	if err != nil || st.Mode().Perm()&0o077 == 0 {
		return err
	}
	return root.Chmod(".", 0o700)
}

// writeFile writes a file under another name, reads it back, and gives it its
// own. A root lets no link lead out of it.
func writeFile(root *os.Root, i Item) (err error) {
	if err := root.MkdirAll(path.Dir(i.Name), 0o700); err != nil {
		return err
	}
	tmp := i.Name + partial
	if err := root.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.Remove(tmp))
		}
	}()
	_, err = f.Write(i.Data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	if got, err := root.ReadFile(tmp); err != nil || !bytes.Equal(got, i.Data) {
		return errors.Join(errors.New("the disk does not return what was written"), err)
	}
	if err := root.Rename(tmp, i.Name); err != nil {
		return err
	}
	return syncFolder(root, path.Dir(i.Name))
}

func syncFolder(root *os.Root, name string) error {
	f, err := root.Open(name)
	if err != nil {
		return err
	}
	err = f.Sync()
	return errors.Join(err, f.Close())
}
