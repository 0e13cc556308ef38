// Package config reads the configuration file: one strict YAML file for one or
// many homeservers. An unknown key, a value of the wrong kind and a name that
// leads nowhere are errors with file, line and, where there is one, the near
// miss. The JSON Schema is made from the same structs as the reader.
//
// No secret is in the file: it names the files and variables that hold them.
//
// It imports YAML and storage/s3 (for what a store's URL may say). It reaches
// no store and no database, and reads no other file than the one it is given
// until [Database.Resolve] is called.
package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// File is a configuration file.
type File struct {
	Stores      map[string]Store      `yaml:"stores,omitempty" doc:"Places for archives, by a name of your choice."`
	Homeservers map[string]Homeserver `yaml:"homeservers" doc:"The homeservers, by name. The name is also that of the archive in the store."`
	Jobs        int                   `yaml:"jobs,omitempty" doc:"Connections and threads that work at once. Default: as many as CPUs, at least 2."`
	PgBinDir    string                `yaml:"pgBinDir,omitempty" doc:"Folder of pg_dump and pg_restore. Default: they are looked for."`

	path string
}

// Store is a place for archives.
type Store struct {
	URL    string   `yaml:"url" doc:"s3://BUCKET[/PREFIX][?endpoint=…&region=…&path_style=true&storage_class=…&sse=…&sse_kms_key=…&lock_mode=…] or file:///FOLDER. Credentials come from the AWS SDK's usual places."`
	Retain Duration `yaml:"retain,omitempty" doc:"For how long nobody can delete what is put, in a bucket with object lock: 30d or 720h."`
}

// Homeserver is what is known of one homeserver.
type Homeserver struct {
	Name             string   `yaml:"-"`
	Database         Database `yaml:"database,omitempty" doc:"Synapse's database. Default: what PG* variables say."`
	Store            string   `yaml:"store,omitempty" doc:"Name of one of the stores. Needed where there are several."`
	Recipients       []string `yaml:"recipients,omitempty" doc:"Public keys (age1…) that a new archive encrypts to. None: it is not encrypted."`
	Identities       []string `yaml:"identities,omitempty" doc:"Files with the secret keys (AGE-SECRET-KEY-…) that open encrypted recovery points. Better not on the machine that takes backups."`
	JobIdentity      string   `yaml:"jobIdentity,omitempty" doc:"File with the key with which jobs read their own metadata back; init makes it."`
	CompressionLevel int      `yaml:"compressionLevel,omitempty" doc:"zstd's, 1 to 19. Default: 1, the fastest." max:"19"`
	KeepOneTimeKeys  bool     `yaml:"keepOneTimeKeys,omitempty" doc:"Copy the rows of e2e_one_time_keys_json, too. Synapse's documentation asks to leave them out: handed out a second time, they make messages unreadable."`
}

// Database says how to reach a database.
type Database struct {
	URL          string `yaml:"url,omitempty" doc:"postgres://USER@HOST[:PORT]/DATABASE, or libpq's keywords. What it leaves out comes from PG* variables, the service file and ~/.pgpass. Not the password."`
	PasswordFile string `yaml:"passwordFile,omitempty" doc:"File with the password."`
	PasswordEnv  string `yaml:"passwordEnv,omitempty" doc:"Name of the environment variable with the password." pattern:"^[A-Za-z_][A-Za-z0-9_]*$"`
}

// Homeserver returns the homeserver of that name; of no name, the only one
// there is.
func (f *File) Homeserver(name string) (Homeserver, error) {
	names := slices.Sorted(maps.Keys(f.Homeservers))
	switch {
	case len(names) == 0:
		return Homeserver{}, errors.New(strings.TrimSpace("no homeserver is configured" + in(f.path)))
	case name == "" && len(names) == 1:
		name = names[0]
	case name == "":
		return Homeserver{}, fmt.Errorf("which homeserver? Name one with --homeserver: %s", list(names))
	}
	h, ok := f.Homeservers[name]
	if !ok {
		return Homeserver{}, fmt.Errorf("no homeserver %s%s%s", name, in(f.path), suggest(name, names))
	}
	h.Name = name
	return h, nil
}
