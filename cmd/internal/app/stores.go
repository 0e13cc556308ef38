package app

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/synapse-maint/synapse-maint/cmd/internal/config"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/dir"
	"github.com/synapse-maint/synapse-maint/storage/s3"
)

// openStore opens a store by its URL. create makes a folder that is not there;
// buckets are never made. retrying is told what is tried again.
func openStore(ctx context.Context, text string, create bool, retrying func(string)) (storage.Store, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, Usagef("store URL: it can't be read: s3://BUCKET/PREFIX or file:///FOLDER")
	}
	switch {
	case u.Scheme == "s3":
		c, err := s3.ParseURL(u)
		if err != nil {
			return nil, usage(err)
		}
		c.Retrying = retrying
		return s3.Open(ctx, c)
	case u.Scheme != "file":
		return nil, Usagef("store URL: no kind of store %q: it is s3://BUCKET/PREFIX or file:///FOLDER", u.Scheme)
	case u.Host != "" || !strings.HasPrefix(u.Path, "/") || u.User != nil || u.RawQuery != "":
		return nil, Usagef("store URL: a folder's has three slashes and an absolute path: file:///srv/backups")
	case create:
		return dir.Create(u.Path)
	default:
		return dir.Open(u.Path)
	}
}

// shown is a store's URL without its parameters, for texts.
func shown(text string) string {
	short, _, _ := strings.Cut(text, "?")
	return short
}

// place is a homeserver's part of a store.
type place struct {
	conf  config.Store
	whole storage.Store
	part  storage.Store // below the homeserver's name
	name  string        // the homeserver's
}

// open opens the homeserver's part of a store, and finds out the homeserver's
// name where nobody said it.
func (a *App) open(ctx context.Context, c config.Store, create bool) (*place, error) {
	whole, err := openStore(ctx, c.URL, create, a.opt.Warn)
	if err != nil {
		if errors.Is(err, storage.ErrNoStore) && a.def {
			err = nothing(fmt.Errorf("%w: nothing is stored there yet; name a store with --store, or begin with init", err))
		}
		return nil, err
	}
	name := a.name
	if name == "" {
		if name, err = onlyArchive(ctx, whole, c.URL); err != nil {
			return nil, err
		}
		a.name = name
	}
	if err := storage.CheckKey(name); err != nil || strings.Contains(name, "/") {
		return nil, Usagef("homeserver %q: that is no name for an archive: it may have letters, digits and - _ . : = @ , ~", name)
	}
	return &place{conf: c, whole: whole, part: storage.Sub(whole, name+"/"), name: name}, nil
}

// archiveFile is what every archive begins with.
const archiveFile = "/archive.json"

// searched is how many objects are looked at for archives.
const searched = 50_000

// archives are the names of the archives in a store, at most max of them;
// whole says whether it looked at everything.
func archives(ctx context.Context, s storage.Store, most int) (names []string, whole bool, err error) {
	n := 0
	for o, err := range s.List(ctx, "") {
		if err != nil {
			return nil, false, fmt.Errorf("look for archives: %w", err)
		}
		if name, ok := strings.CutSuffix(o.Key, archiveFile); ok && !strings.Contains(name, "/") {
			names = append(names, name)
		}
		if n++; len(names) == most || n == searched {
			return names, false, nil
		}
	}
	return names, true, nil
}

func onlyArchive(ctx context.Context, s storage.Store, store string) (string, error) {
	names, whole, err := archives(ctx, s, 12)
	switch {
	case err != nil:
		return "", err
	case len(names) == 0 && whole:
		return DefaultHomeserver, nil
	case len(names) == 1 && whole:
		return names[0], nil
	case len(names) < 2:
		return "", Usagef("%s is large: name the homeserver with --homeserver", shown(store))
	}
	return "", Usagef("%s has archives of several homeservers: name one with --homeserver (%s)", shown(store), strings.Join(names, ", "))
}

// noArchive explains that a homeserver has no archive, by those that there are.
func (p *place) noArchive(ctx context.Context) error {
	text := fmt.Sprintf("no archive of %s in %s", p.name, shown(p.conf.URL))
	if names, _, err := archives(ctx, p.whole, 12); err == nil && len(names) > 0 {
		slices.Sort(names)
		return nothing(fmt.Errorf("%s%s (or make one with init)", text, strings.Replace(config.DidYouMean(p.name, names), ";", ":", 1)))
	}
	return nothing(fmt.Errorf("%s: make one with init", text))
}

// retain is for how long what is written to the store is locked.
func (p *place) retain() time.Duration { return p.conf.ObjectLock }
