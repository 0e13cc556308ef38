// Package config reads the configuration file: one strict YAML file for one or
// many homeservers. An unknown key, a value of the wrong kind and a name that
// leads nowhere are errors with file, line and, where there is one, the near
// miss. The JSON Schema is made from the same structs as the reader.
//
// Secrets are not in the file but in files and variables that it names.
//
// It imports YAML, storage (what a name may be), storage/s3 (what a store's URL
// may say) and jobs/synapse (the classes of media), reaches no store and no database, and reads no other file than
// the one it is given.
package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// File is a configuration file.
type File struct {
	Stores      map[string]Store      `yaml:"stores,omitempty" doc:"Places for archives, by a name of your choice."`
	Defaults    Homeserver            `yaml:"defaults,omitempty" doc:"What holds for every homeserver that does not say otherwise."`
	Homeservers map[string]Homeserver `yaml:"homeservers,omitempty" doc:"The homeservers, by name. The name is that of the archive in the store."`

	path string
}

// Store is a place for archives.
type Store struct {
	URL        string        `yaml:"url" doc:"s3://BUCKET[/PREFIX] (?endpoint=…&region=…&path_style=true&profile=…&storage_class=…&sse=…&sse_kms_key=…&lock_mode=…) or file:///FOLDER. Credentials come from the AWS SDK's usual places."`
	ObjectLock time.Duration `yaml:"objectLock,omitempty" doc:"For how long after a point was taken nobody can delete it, nor what it needs, in a bucket with object lock. 720h is 30 days."`
}

// Homeserver is what is known of one homeserver.
type Homeserver struct {
	Store       string    `yaml:"store,omitempty" doc:"Name of one of the stores, or a store's URL. Needed where there are several."`
	Copies      []string  `yaml:"copies,omitempty" doc:"Names of further stores. Each backup copies its point to them, and goes to the first that works if the store fails."`
	Database    Database  `yaml:"database,omitempty" doc:"Synapse's database."`
	Recipients  []string  `yaml:"recipients,omitempty" doc:"Public keys (age1…) that recovery points are encrypted to. None: they are not encrypted. A backup refuses an archive with other ones."`
	Identities  []string  `yaml:"identities,omitempty" doc:"Files with the secret keys (AGE-SECRET-KEY-…) that open encrypted recovery points. Better not on the machine that takes backups."`
	JobIdentity string    `yaml:"jobIdentity,omitempty" doc:"File with the key with which backups read their own metadata back; init makes it."`
	Media       Media     `yaml:"media,omitempty" doc:"Synapse's media store."`
	Secrets     Secrets   `yaml:"secrets,omitempty" doc:"Signing key and configuration. Only encrypted archives have them."`
	Jobs        int       `yaml:"jobs,omitempty" doc:"Connections and threads that work at once. 0: as many as CPUs."`
	PgBinDir    string    `yaml:"pgBinDir,omitempty" doc:"Folder of pg_dump and pg_restore. Default: they are looked for."`
	MetricsDir  string    `yaml:"metricsDir,omitempty" doc:"Folder for Prometheus: what each run did, as files that node_exporter's textfile collector reads."`
	Retention   Retention `yaml:"retention,omitempty" doc:"How many recovery points prune keeps."`
	Backup      Backup    `yaml:"backup,omitempty" doc:"How recovery points are taken."`
	Restore     Restore   `yaml:"restore,omitempty" doc:"How they are restored."`
}

// Database says how to reach a database.
type Database struct {
	URL          string `yaml:"url,omitempty" doc:"postgres://USER@HOST[:PORT]/DATABASE, or libpq's keywords. What it leaves out comes from PG* variables, the service file and ~/.pgpass. Not the password."`
	PasswordFile string `yaml:"passwordFile,omitempty" doc:"File with the password."`
	PasswordEnv  string `yaml:"passwordEnv,omitempty" doc:"Name of the environment variable with the password." pattern:"^[A-Za-z_][A-Za-z0-9_]*$"`
}

// Retention says how many recovery points are kept: the last so many, and the
// newest of each of so many hours, days, weeks, months and years that have one.
type Retention struct {
	KeepLast    int `yaml:"keepLast,omitempty" doc:"The newest points."`
	KeepHourly  int `yaml:"keepHourly,omitempty" doc:"The newest of each of so many hours that have one."`
	KeepDaily   int `yaml:"keepDaily,omitempty" doc:"Of each of so many days, in UTC."`
	KeepWeekly  int `yaml:"keepWeekly,omitempty" doc:"Of each of so many weeks, Monday to Sunday."`
	KeepMonthly int `yaml:"keepMonthly,omitempty" doc:"Of each of so many months."`
	KeepYearly  int `yaml:"keepYearly,omitempty" doc:"Of each of so many years."`
}

// Media says where Synapse's media store is, and what of it recovery points have.
type Media struct {
	Folder  string   `yaml:"folder,omitempty" doc:"Its folder (media_store_path). Default: /data/media_store, where there is one."`
	URL     string   `yaml:"url,omitempty" doc:"Its bucket, where synapse-s3-storage-provider has moved the files there: s3://BUCKET[/PREFIX], with the parameters of a store (profile=… for credentials of its own). Instead of folder."`
	Classes []string `yaml:"classes,omitempty" doc:"What recovery points have: local_content, local_thumbnails, remote_content, remote_thumbnail, url_cache, url_cache_thumbnails, other. Default: local_content, local_thumbnails, other. The rest can be fetched again from where it came."`
}

// Secrets says where signing key and configuration are.
type Secrets struct {
	Configs []string `yaml:"configs,omitempty" doc:"homeserver.yaml and further configuration files or folders, in the order of Synapse's -c. What they name (signing key, certificates, …) is kept, too."`
	Extra   []string `yaml:"extra,omitempty" doc:"Further files to keep, folders, or patterns (/etc/coturn/*.conf)."`
	Folder  string   `yaml:"folder,omitempty" doc:"Where Synapse runs: what relative paths in homeserver.yaml begin at. Default: homeserver.yaml's folder."`
}

// Backup says how recovery points are taken.
type Backup struct {
	CompressionLevel int  `yaml:"compressionLevel,omitempty" doc:"zstd's, 1 to 19. Default: 1, the fastest." max:"19"`
	KeepOneTimeKeys  bool `yaml:"keepOneTimeKeys,omitempty" doc:"Copy the rows of e2e_one_time_keys_json, too. Synapse's documentation asks to leave them out: handed out a second time, they make messages unreadable."`
}

// Restore says how recovery points are restored.
type Restore struct {
	KeepOld time.Duration `yaml:"keepOld,omitempty" doc:"For how long restore undo can bring back the database that was live before. Default: 72h."`
}

// Path is where the file was read from; empty for none.
func (f *File) Path() string { return f.path }

// Names are those of the homeservers, in order.
func (f *File) Names() []string { return slices.Sorted(maps.Keys(f.Homeservers)) }

// Homeserver returns what holds for a homeserver, the defaults included. An
// empty name is the only one there is; where there is none, it is the defaults,
// without a name.
func (f *File) Homeserver(name string) (string, Homeserver, error) {
	names := f.Names()
	switch {
	case len(names) == 0:
		return name, f.Defaults, nil
	case name == "" && len(names) == 1:
		name = names[0]
	case name == "":
		return "", Homeserver{}, fmt.Errorf("%s has several homeservers: name one with --homeserver (%s)", f.path, strings.Join(names, ", "))
	}
	h, ok := f.Homeservers[name]
	if !ok {
		return "", Homeserver{}, fmt.Errorf("no homeserver %s in %s%s", name, f.path, DidYouMean(name, names))
	}
	return name, h.over(f.Defaults), nil
}

// over fills in what h leaves open.
func (h Homeserver) over(d Homeserver) Homeserver {
	either(&h.Store, d.Store)
	if h.Copies == nil {
		h.Copies = d.Copies
	}
	if h.Database.PasswordFile == "" && h.Database.PasswordEnv == "" {
		h.Database.PasswordFile, h.Database.PasswordEnv = d.Database.PasswordFile, d.Database.PasswordEnv
	}
	either(&h.Database.URL, d.Database.URL)
	if h.Recipients == nil {
		h.Recipients = d.Recipients
	}
	if h.Identities == nil {
		h.Identities = d.Identities
	}
	either(&h.JobIdentity, d.JobIdentity)
	if h.Media.Folder == "" && h.Media.URL == "" {
		h.Media.Folder, h.Media.URL = d.Media.Folder, d.Media.URL
	}
	if h.Media.Classes == nil {
		h.Media.Classes = d.Media.Classes
	}
	if h.Secrets.Configs == nil {
		h.Secrets.Configs = d.Secrets.Configs
	}
	if h.Secrets.Extra == nil {
		h.Secrets.Extra = d.Secrets.Extra
	}
	either(&h.Secrets.Folder, d.Secrets.Folder)
	either(&h.Jobs, d.Jobs)
	either(&h.PgBinDir, d.PgBinDir)
	either(&h.MetricsDir, d.MetricsDir)
	if h.Retention == (Retention{}) {
		h.Retention = d.Retention // one or the other: half of each would be neither's
	}
	either(&h.Backup.CompressionLevel, d.Backup.CompressionLevel)
	either(&h.Backup.KeepOneTimeKeys, d.Backup.KeepOneTimeKeys)
	either(&h.Restore.KeepOld, d.Restore.KeepOld)
	return h
}

func either[T comparable](v *T, other T) {
	var zero T
	if *v == zero {
		*v = other
	}
}

// StoreNames are the names of the stores, in order.
func (f *File) StoreNames() []string { return slices.Sorted(maps.Keys(f.Stores)) }

// StoreNamed returns the store that a name or URL means. Empty is the only one
// there is; the zero Store where there is none.
func (f *File) StoreNamed(name string) (Store, error) {
	names := f.StoreNames()
	if strings.Contains(name, "://") {
		for _, n := range names {
			if f.Stores[n].URL == name {
				return f.Stores[n], nil
			}
		}
		return Store{URL: name}, nil
	}
	switch {
	case name == "" && len(names) == 0:
		return Store{}, nil
	case name == "" && len(names) == 1:
		return f.Stores[names[0]], nil
	case name == "":
		return Store{}, fmt.Errorf("%s has several stores: name one with --store (%s)", f.path, strings.Join(names, ", "))
	}
	if s, ok := f.Stores[name]; ok {
		return s, nil
	}
	if strings.HasPrefix(name, "/") {
		return Store{}, fmt.Errorf("no store %s: a folder is written as file://%s", name, name)
	}
	if len(names) == 0 {
		return Store{}, fmt.Errorf("no store %s: without a configuration file it is a URL, s3://BUCKET/PREFIX or file:///FOLDER", name)
	}
	return Store{}, fmt.Errorf("no store %s in %s%s", name, f.path, DidYouMean(name, names))
}
