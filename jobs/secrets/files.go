package secrets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Files is the source of a homeserver whose configuration is in files.
type Files struct {
	// Configs are homeserver.yaml and further files or folders, in the order of
	// Synapse's -c. A folder is its *.yaml files. The folder conf.d beside a
	// file counts as well: Debian's Synapse reads it.
	Configs []string
	// Extra are further files, folders with all that is in them, or globs.
	Extra []string
	// Folder is where Synapse runs: relative paths begin there, or else in the
	// folder of the configuration that has them. May be empty.
	Folder string
}

// Secrets implements [Source]. What can be read is worth having without the rest,
// be that the configuration itself.
func (f Files) Secrets(ctx context.Context) ([]Item, error) {
	g := &gathering{ctx: ctx, folder: f.Folder, seen: map[string]bool{}}
	for _, path := range f.Configs {
		g.configuration(path)
	}
	if len(f.Configs) > 0 && len(g.items) == 0 {
		path, _ := filepath.Abs(f.Configs[0]) // it was read as that
		g.miss(path, configuration, errors.New("no *.yaml is in it"))
	}
	g.signingKeys()
	for _, pattern := range f.Extra {
		g.extra(pattern)
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return g.items, nil
}

// gathering is a source being read.
type gathering struct {
	ctx    context.Context
	folder string
	items  []Item
	seen   map[string]bool // absolute paths

	configs []string // files read
	server  string   // server_name
	hasKey  bool     // the signing key is named, or in the configuration itself
}

// configuration adds homeserver.yaml, or a folder of such files, and what they
// name.
func (g *gathering) configuration(path string) {
	absolute, err := filepath.Abs(path)
	if err != nil {
		absolute = path
	}
	st, err := os.Stat(absolute)
	switch {
	case err != nil:
		g.miss(absolute, configuration, err)
	case st.IsDir():
		g.configFolder(absolute)
	default:
		g.configFile(absolute)
		beside := filepath.Join(filepath.Dir(absolute), "conf.d")
		if st, err := os.Stat(beside); err == nil && st.IsDir() {
			g.configFolder(beside)
		}
	}
}

// configFolder adds a folder of configuration, as Synapse reads it.
func (g *gathering) configFolder(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		g.miss(dir, configuration, err)
		return
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		st, err := os.Stat(path)
		if !strings.HasSuffix(e.Name(), ".yaml") || errors.Is(err, fs.ErrNotExist) || err == nil && !st.Mode().IsRegular() {
			continue // as Synapse does
		}
		g.configFile(path)
	}
}

func (g *gathering) configFile(path string) {
	if g.seen[path] {
		return
	}
	if i := g.file(path, configuration); i.Err == nil {
		g.configs = append(g.configs, path)
		g.named(path, i.Data)
	}
}

// signingKeys adds the key that Synapse makes beside its configuration.
func (g *gathering) signingKeys() {
	if g.server == "" || strings.ContainsRune(g.server, '/') {
		return
	}
	for n, c := range g.configs {
		path := filepath.Join(filepath.Dir(c), g.server+".signing.key")
		_, err := os.Stat(path)
		if err == nil || n == 0 && !g.hasKey {
			g.add(path, signingKey, namedFiles)
			g.hasKey = true
		}
	}
}

// extra adds what a configured path or glob means.
func (g *gathering) extra(pattern string) {
	path, err := filepath.Abs(pattern)
	if err != nil {
		path = pattern
	}
	if _, err := os.Lstat(path); err == nil || !strings.ContainsAny(pattern, `*?[\`) {
		g.add(path, configured, extraFiles)
		return
	}
	found, err := filepath.Glob(path)
	if err == nil && len(found) == 0 {
		err = errNoMatch
	}
	if err != nil {
		g.miss(path, configured, err)
	}
	for _, f := range found {
		g.add(f, configured, extraFiles)
	}
}

var errNoMatch = errors.New("no file is like that")

// How many files a folder may have: one that homeserver.yaml names, by what may
// be no name of a file at all, and one that somebody configured.
const (
	namedFiles = 200
	extraFiles = 2000
)

// add adds a file, or a folder with at most so many files.
func (g *gathering) add(path, what string, most int) {
	st, err := os.Stat(path)
	switch {
	case g.seen[path]:
	case err != nil:
		g.miss(path, what, err)
	case st.IsDir():
		g.addFolder(path, what, most)
	default:
		g.file(path, what)
	}
}

// addFolder adds the files of a folder, also where they are links, as those of
// a mounted Secret are. Names that begin with two dots are Kubernetes' own.
func (g *gathering) addFolder(dir, what string, most int) {
	g.seen[dir] = true
	var files []string
	root, err := filepath.EvalSymlinks(dir)
	if err == nil {
		err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			below, _ := filepath.Rel(root, path) // it is below
			shown := filepath.Join(dir, below)
			switch {
			case g.ctx.Err() != nil:
				return g.ctx.Err()
			case err != nil:
				g.miss(shown, what, err)
				return nil
			case strings.HasPrefix(d.Name(), "..") && d.IsDir():
				return fs.SkipDir
			case d.IsDir() || strings.HasPrefix(d.Name(), ".."):
				return nil
			case len(files) == most:
				return noSecret(fmt.Sprintf("left out: it has more than %d files; name those that are needed", most))
			}
			files = append(files, shown)
			return nil
		})
	}
	if err != nil {
		g.miss(dir, what, err)
		return
	}
	for _, f := range files {
		if !g.seen[f] {
			g.file(f, what)
		}
	}
}

// file adds a file.
func (g *gathering) file(path, what string) Item {
	g.seen[path] = true
	i, err := readFile(path)
	if err != nil {
		i = Item{Err: reason(err)}
	}
	i.Name, i.From, i.What = nameOf(path), path, what
	g.items = append(g.items, i)
	return i
}

func (g *gathering) miss(path, what string, err error) {
	if g.seen[path] && slices.ContainsFunc(g.items, func(i Item) bool { return i.From == path }) {
		return
	}
	g.seen[path] = true
	g.items = append(g.items, Item{Name: nameOf(path), From: path, What: what, Err: reason(err)})
}

// nameOf makes of an absolute path one below the folder of a restore: who looks
// for /etc/matrix-synapse/homeserver.yaml finds it as
// etc/matrix-synapse/homeserver.yaml.
func nameOf(path string) string { return strings.TrimPrefix(filepath.ToSlash(path), "/") }

// reason is an error without the path, which is said beside it.
func reason(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// readFile reads a file that is as long, and as old, after as before: twice if
// it must.
func readFile(path string) (Item, error) {
	for try := 1; ; try++ {
		i, same, err := readOnce(path)
		if err != nil || same {
			return i, err
		}
		if try > 1 {
			return Item{}, errors.New("left out: it changes while it is read")
		}
	}
}

func readOnce(path string) (i Item, same bool, err error) {
	if st, err := os.Stat(path); err != nil {
		return i, false, err
	} else if !st.Mode().IsRegular() {
		return i, false, noSecret("it is no file")
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe that took its place must not hold us
	if err != nil {
		return i, false, err
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return i, false, err
	}
	if !before.Mode().IsRegular() { // it came between the two looks
		return i, false, errors.New("it is no file")
	}
	if before.Size() > maxFile {
		return i, false, tooLarge()
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return i, false, err
	}
	after, err := f.Stat()
	if err != nil {
		return i, false, err
	}
	i = Item{Mode: uint32(before.Mode().Perm()), UID: -1, GID: -1, Modified: before.ModTime(), Data: data}
	if st, ok := before.Sys().(*syscall.Stat_t); ok {
		i.Mode, i.UID, i.GID = st.Mode&0o7777, int(st.Uid), int(st.Gid)
	}
	return i, int64(len(data)) == before.Size() && after.Size() == before.Size() && after.ModTime().Equal(before.ModTime()), nil
}
