package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/synapse-maint/synapse-maint/jobs/backup"
	"github.com/synapse-maint/synapse-maint/jobs/media"
	"github.com/synapse-maint/synapse-maint/jobs/secrets"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/restore"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/s3"
)

// usualMedia is where Synapse's Helm charts and its image keep the media store.
const usualMedia = "/data/media_store"

// leftOut is why a point lacks what --only did not name.
const leftOut = "left out with --only"

// parts are those that a command is to work on.
type parts struct {
	only  []string
	lacks []archive.Lack
}

// checkOnly refuses what is no part.
func checkOnly(only []string) error {
	all := []string{archive.PartDatabase, archive.PartMedia, archive.PartSecrets}
	for _, name := range only {
		if !slices.Contains(all, name) {
			return Usagef("--only %s: the parts are database, media and secrets", name)
		}
	}
	return nil
}

// wants says whether a part is asked for, and notes that it is not.
func (p *parts) wants(part string) bool {
	if len(p.only) == 0 || slices.Contains(p.only, part) {
		return true
	}
	p.lack(part, leftOut)
	return false
}

func (p *parts) named(part string) bool { return slices.Contains(p.only, part) }

func (p *parts) lack(part, why string) {
	p.lacks = append(p.lacks, archive.Lack{Part: part, Why: why})
}

// mediaPart makes the media part of a backup; nil where there is none to take.
func (a *Archive) mediaPart(ctx context.Context, p *parts, q BackupRequest) (backup.Part, error) {
	if !p.wants(archive.PartMedia) {
		return nil, nil
	}
	o := media.Options{Classes: a.app.conf.Media.Classes, ReadAll: q.ReadAll, AllowEmpty: q.AllowEmpty, Jobs: a.app.conf.Jobs}
	var err error
	switch m := a.app.conf.Media; {
	case m.URL != "":
		o.Name = shown(m.URL)
		if o.Store, err = a.app.mediaBucket(ctx); err != nil {
			return nil, err
		}
	default:
		if o.Dir = a.app.mediaFolder(); o.Dir != "" {
			if err := a.storesOutside(o.Dir); err != nil {
				return nil, err
			}
			break
		}
		if p.named(archive.PartMedia) {
			return nil, Usagef("--only media: no media folder is known: give --media DIR")
		}
		if had := a.newestWith(ctx, archive.PartMedia); had != "" {
			p.lacks = append(p.lacks, archive.Lack{Part: archive.PartMedia, Failed: true, Why: fmt.Sprintf(
				"no media folder is known, and point %s has media: is the volume of %s mounted? Or give --media DIR", had, usualMedia)})
			return nil, nil
		}
		p.lack(archive.PartMedia, "no media folder is known: give --media DIR")
		return nil, nil
	}
	return media.NewPart(o), nil
}

// newestWith is the newest point that has a part; empty where none is known.
func (a *Archive) newestWith(ctx context.Context, part string) string {
	points, _ := a.Points(ctx) // what can't be read now is said by who needs it
	for _, p := range slices.Backward(points) {
		if p.Manifest != nil && p.Manifest.Has(part) {
			return p.ID
		}
	}
	return ""
}

// storesOutside refuses a media folder with one of the stores in it that a backup
// writes to.
func (a *Archive) storesOutside(dir string) error {
	urls := []string{a.place.conf.URL}
	for _, name := range a.app.conf.Copies {
		conf, err := a.app.storeNamed(name)
		if err != nil {
			return err
		}
		urls = append(urls, conf.URL)
	}
	for _, url := range urls {
		if err := outside(url, dir); err != nil {
			return err
		}
	}
	return nil
}

// outside refuses a store in the media folder: each backup would take all
// those before it.
func outside(store, dir string) error {
	u, err := url.Parse(store)
	if err != nil || u.Scheme != "file" {
		return nil //nolint:nilerr // it was opened: it is no folder
	}
	from, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil //nolint:nilerr // that it can't be read is said by who reads it
	}
	to, err := filepath.EvalSymlinks(u.Path)
	if err != nil {
		return nil //nolint:nilerr // likewise
	}
	if from, err = filepath.Abs(from); err != nil {
		return err
	}
	if rel, err := filepath.Rel(from, to); err == nil && filepath.IsLocal(rel) {
		return Usagef("the store %s is in the media folder %s, of which each backup would take all those before it: name another place", shown(store), dir)
	}
	return nil
}

// mediaFolder is the configured one, or the usual one where it is there.
func (a *App) mediaFolder() string {
	if a.conf.Media.Folder != "" {
		return a.conf.Media.Folder
	}
	if info, err := os.Stat(usualMedia); err == nil && info.IsDir() {
		return usualMedia
	}
	return ""
}

// mediaBucket opens the bucket that has the media.
func (a *App) mediaBucket(ctx context.Context) (storage.Store, error) {
	text := a.conf.Media.URL
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "s3" {
		return nil, Usagef("--media %s: it is a folder's path, or a bucket's URL, s3://BUCKET/PREFIX", shown(text))
	}
	c, err := s3.ParseURL(u)
	if err != nil {
		return nil, usage(err)
	}
	c.Retrying, c.Foreign = a.opt.Warn, true
	s, err := s3.Open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("the media's bucket: %w", err)
	}
	return s, nil
}

// secretsPart makes the secrets part of a backup; nil where there is none to
// take.
func (a *Archive) secretsPart(p *parts) (backup.Part, error) {
	if !p.wants(archive.PartSecrets) {
		return nil, nil
	}
	conf := a.app.conf.Secrets
	why := ""
	switch {
	case len(conf.Configs) == 0 && len(conf.Extra) == 0:
		why = "no configuration of Synapse's is known: give --synapse-config FILE"
	case !a.Encrypted():
		why = secrets.Unencrypted
	}
	if why != "" && p.named(archive.PartSecrets) {
		return nil, Usagef("--only secrets: %s", why)
	}
	if why != "" {
		p.lack(archive.PartSecrets, why)
		return nil, nil
	}
	return secrets.NewPart(secrets.Options{Sources: []secrets.Source{
		secrets.Files{Configs: conf.Configs, Extra: conf.Extra, Folder: conf.Folder},
	}}), nil
}

// fillers are the parts beside the database that a restore brings back: those
// that the point has and that there is a place for. The live media folder is
// none for what is to touch nothing that is there.
func (a *Archive) fillers(r *archive.Reader, point archive.Point, q *restore.Request) ([]restore.Filler, error) {
	m := point.Manifest
	if m == nil {
		return nil, nil
	}
	wants := func(part string) bool { return len(q.Only) == 0 || slices.Contains(q.Only, part) }
	var all []restore.Filler
	if q.MediaPath == "" && m.Media != nil && wants(archive.PartMedia) && q.Mode != synapse.ModeBeside {
		q.MediaPath = a.app.mediaFolder()
	}
	for _, path := range []*string{&q.MediaPath, &q.SecretsPath} {
		if strings.Contains(*path, "://") {
			return nil, Usagef("restore: a URL is no folder: media and secrets are restored to folders; copy them to a bucket from there")
		}
		if *path == "" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return nil, Usagef("%s: %v", *path, err)
		}
		*path = abs
	}
	if q.MediaPath != "" && m.Media != nil && wants(archive.PartMedia) {
		all = append(all, media.NewFiller(media.FillOptions{
			Reader: r, Media: m.Media, Dir: q.MediaPath, Paths: q.MediaOnly, CheckAll: q.CheckAll, DeleteExtra: q.DeleteExtra, Jobs: a.app.conf.Jobs,
		}))
	}
	if q.SecretsPath != "" && m.Secrets != nil && wants(archive.PartSecrets) {
		all = append(all, secrets.NewFiller(r, m.Secrets, q.SecretsPath))
	}
	return all, nil
}

// checkMediaFolder refuses a folder that was named and is not there: a mistyped
// path is no reason for a point without media.
func (a *App) checkMediaFolder() error {
	folder := a.conf.Media.Folder
	if folder == "" {
		return nil
	}
	info, err := os.Stat(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Usagef("--media %s: no such folder", folder)
	case err != nil:
		return Usagef("--media %s: %v", folder, strings.TrimPrefix(err.Error(), "stat "+folder+": "))
	case !info.IsDir():
		return Usagef("--media %s: it is no folder", folder)
	}
	return nil
}
