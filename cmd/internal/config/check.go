package config

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"filippo.io/age"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/s3"
)

// maxLevel is the highest compression level of zstd without --ultra.
const maxLevel = 19

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// mostJobs is more than any machine needs, and fewer than many a server has
// connections for.
const mostJobs = 256

// CheckJobs refuses a number of things to do at once.
func CheckJobs(n int) error {
	if n < 1 || n > mostJobs {
		return fmt.Errorf("it is a number from 1 to %d; without it, as many as there are CPUs", mostJobs)
	}
	return nil
}

// check looks at what the values mean.
func (r *reader) check(root place, f *File) {
	for _, name := range f.StoreNames() {
		at := root.find("stores", name)
		if strings.Contains(name, "://") || name == "" {
			r.say(at.line, "%q is no name of a store: it is a word of your choice", name)
		}
		r.checkStore(at, name, f.Stores[name])
	}
	r.checkHomeserver(root.find("defaults"), f, f.Defaults)
	for _, name := range f.Names() {
		at := root.find("homeservers", name)
		if storage.CheckKey(name) != nil || strings.Contains(name, "/") {
			r.say(at.line, "%q is no homeserver's name: that has letters, digits, dots, dashes and underscores", name)
		}
		r.checkHomeserver(at, f, f.Homeservers[name])
	}
}

func (r *reader) checkStore(at place, name string, s Store) {
	u, err := url.Parse(s.URL)
	if s.URL == "" || err != nil {
		r.say(at.find("url").line, "store %s: its url is s3://BUCKET/PREFIX or file:///FOLDER", name)
		return
	}
	if s.ObjectLock < 0 {
		r.say(at.find("objectLock").line, "store %s: objectLock can't be negative", name)
	}
	switch u.Scheme {
	case "s3":
		if _, err := s3.ParseURL(u); err != nil {
			r.say(at.find("url").line, "%s", err)
		}
	case "file":
		if u.Host != "" || !strings.HasPrefix(u.Path, "/") || u.RawQuery != "" {
			r.say(at.find("url").line, "store %s: a folder is written file:///ABSOLUTE/PATH, with three slashes and no parameters", name)
		}
		if s.ObjectLock != 0 {
			r.say(at.find("objectLock").line, "store %s: a folder can't lock what is put into it: objectLock is for s3://", name)
		}
	default:
		r.say(at.find("url").line, "store %s: its url is s3://BUCKET/PREFIX or file:///FOLDER", name)
	}
}

func (r *reader) checkHomeserver(at place, f *File, h Homeserver) {
	if h.Store != "" {
		if _, err := f.StoreNamed(h.Store); err != nil {
			r.say(at.find("store").line, "%s", strings.Replace(err.Error(), " in "+f.path, "", 1))
		} else if strings.Contains(h.Store, "://") {
			r.checkStore(place{line: at.find("store").line}, "of a homeserver", Store{URL: h.Store})
		}
	}
	for i, name := range h.Copies {
		r.checkCopy(at.find("copies").item(i), f, h, name)
	}
	r.checkDatabase(at, h.Database)
	r.checkKeys(at, h)
	r.checkMedia(at, h.Media)
	for key, n := range map[string]int{
		"keepLast": h.Retention.KeepLast, "keepHourly": h.Retention.KeepHourly, "keepDaily": h.Retention.KeepDaily,
		"keepWeekly": h.Retention.KeepWeekly, "keepMonthly": h.Retention.KeepMonthly, "keepYearly": h.Retention.KeepYearly,
	} {
		if n < 0 {
			r.say(at.find("retention", key).line, "%s can't be negative", key)
		}
	}
	r.checkSecrets(at, h.Secrets)
	r.checkPath(at.find("pgBinDir").line, "pgBinDir", h.PgBinDir)
	r.checkPath(at.find("metricsDir").line, "metricsDir", h.MetricsDir)
	if err := CheckJobs(h.Jobs); h.Jobs != 0 && err != nil {
		r.say(at.find("jobs").line, "jobs: %v", err)
	}
	if l := h.Backup.CompressionLevel; l < 0 || l > maxLevel {
		r.say(at.find("backup", "compressionLevel").line, "compressionLevel is 1 to %d", maxLevel)
	}
	if h.Restore.KeepOld < 0 {
		r.say(at.find("restore", "keepOld").line, "keepOld can't be negative")
	}
}

// checkCopy refuses a copy that is in no store, or in the one it is a copy of.
func (r *reader) checkCopy(line int, f *File, h Homeserver, name string) {
	store, err := f.StoreNamed(name)
	own, _ := f.StoreNamed(h.over(f.Defaults).Store) // what is wrong with it is said by itself
	switch {
	case name == "" || strings.Contains(name, "://"):
		r.say(line, "copies: %q is not the name of a store: copies are in stores that have a name", name)
	case err != nil:
		r.say(line, "copies: %s", strings.Replace(err.Error(), " in "+f.path, "", 1))
	case own.URL == store.URL:
		r.say(line, "copies: %s is the store itself: a copy is in another one", name)
	}
}

func (r *reader) checkDatabase(at place, d Database) {
	if err := d.checkURL(); err != nil {
		r.say(at.find("database", "url").line, "%s", err)
	}
	if d.PasswordFile != "" && d.PasswordEnv != "" {
		r.say(at.find("database", "passwordEnv").line, "there is a passwordFile already: it is one or the other")
	}
	if d.PasswordEnv != "" && !variableName.MatchString(d.PasswordEnv) {
		r.say(at.find("database", "passwordEnv").line, "passwordEnv is the name of an environment variable, not the password")
	}
	r.checkPath(at.find("database", "passwordFile").line, "passwordFile", d.PasswordFile)
}

func (r *reader) checkMedia(at place, m Media) {
	r.checkPath(at.find("media", "folder").line, "media folder", m.Folder)
	if m.URL != "" {
		if m.Folder != "" {
			r.say(at.find("media", "url").line, "media: there is a folder already: it is one or the other")
		}
		u, err := url.Parse(m.URL)
		if err == nil {
			_, err = s3.ParseURL(u)
		}
		if err != nil {
			r.say(at.find("media", "url").line, "media: its url is s3://BUCKET/PREFIX")
		}
	}
	for i, class := range m.Classes {
		if !slices.Contains(synapse.MediaClasses(), class) {
			r.say(at.find("media", "classes").item(i), "media: no class %s%s", class, DidYouMean(class, synapse.MediaClasses()))
		}
	}
}

func (r *reader) checkSecrets(at place, s Secrets) {
	for i, path := range s.Configs {
		r.checkPath(at.find("secrets", "configs").item(i), "secrets configs", path)
	}
	for i, path := range s.Extra {
		r.checkPath(at.find("secrets", "extra").item(i), "secrets extra", path)
	}
	r.checkPath(at.find("secrets", "folder").line, "secrets folder", s.Folder)
}

func (r *reader) checkKeys(at place, h Homeserver) {
	for i, key := range h.Recipients {
		if parsed, err := age.ParseRecipients(strings.NewReader(key)); err != nil || len(parsed) != 1 {
			r.say(at.find("recipients").item(i), "recipient %d is no public key (age1…, as age-keygen prints it)", i+1)
		}
	}
	for i, file := range h.Identities {
		r.checkPath(at.find("identities").item(i), "identities", file)
	}
	r.checkPath(at.find("jobIdentity").line, "jobIdentity", h.JobIdentity)
}

// checkPath refuses what can't have been meant as a path, without quoting it.
func (r *reader) checkPath(line int, key, path string) {
	switch {
	case strings.HasPrefix(strings.ToUpper(strings.TrimSpace(path)), "AGE-SECRET-KEY-"):
		r.say(line, "%s: a secret key doesn't belong in this file: put it in a file and name that", key)
	case strings.HasPrefix(path, "~"):
		r.say(line, "%s: ~ is a shell's: write the whole path", key)
	case strings.ContainsAny(path, "\n\x00"):
		r.say(line, "%s: that is no path", key)
	}
}
