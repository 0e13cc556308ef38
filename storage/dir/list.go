package dir

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"

	"github.com/synapse-maint/synapse-maint/storage"
)

// List implements [storage.Store]. It holds the names of one folder a level in
// memory, and leaves out what is no object: links, special files, names that
// are no keys.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		if err := s.list(ctx, prefix, yield); err != nil && !errors.Is(err, errStop) {
			yield(storage.Object{}, err)
		}
	}
}

// errStop says that the caller wants no more.
var errStop = errors.New("stop")

func (s *Store) list(ctx context.Context, prefix string, yield func(storage.Object, error) bool) error {
	if err := storage.CheckPrefix(prefix); err != nil {
		return err
	}
	folder, _ := path.Split(prefix)
	if folder == "" {
		folder = "."
	}
	return s.walk(ctx, path.Clean(folder), prefix, yield)
}

// walk yields the objects in folder and below whose keys begin with prefix.
func (s *Store) walk(ctx context.Context, folder, prefix string, yield func(storage.Object, error) bool) error {
	names, err := s.names(folder)
	if err != nil {
		return s.fail("list", folder, err)
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return s.fail("list", folder, err)
		}
		key := path.Join(folder, name)
		if strings.HasSuffix(name, "/") {
			if strings.HasPrefix(key+"/", prefix) {
				if err := s.walk(ctx, key, prefix, yield); err != nil {
					return err
				}
			}
			continue
		}
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		info, err := s.lstat(key)
		switch {
		case errors.Is(err, fs.ErrNotExist): // deleted since
		case err != nil:
			return s.fail("list", key, err)
		case !yield(object(key, info), nil):
			return errStop
		}
	}
	return nil
}

// names returns the names of a folder's objects and, with a slash behind them,
// of its folders, in the order of the keys: "a-b" comes before "a/b". A folder
// that is not there has none.
func (s *Store) names(folder string) ([]string, error) {
	d, err := s.root.Open(folder)
	if absent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var names []string
	for {
		entries, err := d.ReadDir(1000)
		for _, e := range entries {
			switch {
			case storage.CheckKey(e.Name()) != nil:
			case e.IsDir():
				names = append(names, e.Name()+"/")
			case e.Type().IsRegular():
				names = append(names, e.Name())
			}
		}
		if errors.Is(err, io.EOF) || absent(err) { // absent: it is a file, or was deleted
			slices.Sort(names)
			return names, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
