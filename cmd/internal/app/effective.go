package app

import (
	"cmp"
	"slices"

	"github.com/synapse-maint/synapse-maint/cmd/internal/config"
)

// Effective is what holds for the homeserver, of flags, environment and file,
// as a configuration file that says the same.
func (a *App) Effective() *config.File {
	h := a.conf
	names := a.file.StoreNames()
	i := slices.IndexFunc(names, func(n string) bool { return a.file.Stores[n].URL == a.store.URL })
	h.Store = "default" // one that was given by its URL has no name
	if i >= 0 {
		h.Store = names[i]
	}
	return &config.File{
		Stores:      map[string]config.Store{h.Store: a.store},
		Homeservers: map[string]config.Homeserver{cmp.Or(a.name, DefaultHomeserver): h},
	}
}
