package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"filippo.io/age"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// InitResult is what init did, or would do.
type InitResult struct {
	Homeserver  string   `json:"homeserver"`
	Store       string   `json:"store"`
	Created     bool     `json:"created"` // false: it was there already
	DryRun      bool     `json:"dry_run,omitempty"`
	Encrypted   bool     `json:"encrypted"`
	Recipients  []string `json:"recipients,omitempty"`
	JobIdentity string   `json:"job_identity,omitempty"` // file
	KeyCreated  bool     `json:"job_identity_created,omitempty"`
	Copies      []string `json:"copies,omitempty"` // further stores that have the archive now
}

// Init makes the homeserver's archive. One that is there already is left as it
// is, and is an error if it is not what was asked for.
func (a *App) Init(ctx context.Context, recipients []string, dryRun bool) (InitResult, error) {
	if len(recipients) == 0 {
		recipients = a.conf.Recipients
	}
	if err := checkRecipients(recipients); err != nil {
		return InitResult{}, err
	}
	r := InitResult{Store: shown(a.store.URL), DryRun: dryRun, Encrypted: len(recipients) > 0, Recipients: recipients}
	p, err := a.open(ctx, a.store, !dryRun)
	if dryRun && errors.Is(err, storage.ErrNoStore) {
		r.Homeserver = a.name
		if r.Homeserver == "" {
			r.Homeserver = DefaultHomeserver
		}
		if r.Encrypted {
			r.JobIdentity, _ = a.JobIdentityFile(r.Homeserver)
		}
		return r, nil
	}
	if err != nil {
		return r, err
	}
	r.Homeserver = p.name
	if r.Encrypted {
		r.JobIdentity, _ = a.JobIdentityFile(p.name)
	}
	switch there, err := archive.Open(ctx, p.part); {
	case err == nil:
		if r, err = a.compare(there, r, p); err != nil || dryRun {
			return r, err
		}
		return r, a.cloneCopies(ctx, p, &r)
	case !errors.Is(err, archive.ErrNoArchive):
		return r, fmt.Errorf("archive of %s in %s: %w", p.name, r.Store, err)
	case dryRun:
		return r, nil
	}
	if r, err = a.create(ctx, p, r); err != nil {
		return r, err
	}
	return r, a.cloneCopies(ctx, p, &r)
}

// cloneCopies makes the archive in the stores for copies, too. One that fails
// keeps none of the others from theirs: [jobs.ErrIncomplete].
func (a *App) cloneCopies(ctx context.Context, p *place, r *InitResult) error {
	if len(a.conf.Copies) == 0 {
		return nil
	}
	keys, err := a.identities(p.name)
	if err != nil {
		return err
	}
	from, err := archive.Open(ctx, p.part, keys...)
	if err != nil {
		return err
	}
	var failed error
	for _, name := range a.conf.Copies {
		conf, err := a.storeNamed(name)
		if err != nil {
			return err
		}
		switch _, err := a.openCopy(ctx, from, conf, create); {
		case err == nil:
			r.Copies = append(r.Copies, name)
		case failed == nil:
			failed = fmt.Errorf("%w: the archive is made in %s, but not in %s: %w; run init again", jobs.ErrIncomplete, r.Store, name, err)
		default:
			failed = fmt.Errorf("%w; nor in %s: %w", failed, name, err)
		}
	}
	return failed
}

func checkRecipients(recipients []string) error {
	for _, text := range recipients {
		if isSecretKey(text) {
			return Usagef("a recipient is a public key (age1…), and this is a secret one: keep it to yourself, and make a new one, it was on a command line or in a file")
		}
		if rs, err := age.ParseRecipients(strings.NewReader(text)); err != nil || len(rs) != 1 {
			return Usagef("%q is no age public key (age1…): age-keygen prints one", text)
		}
	}
	return nil
}

func (a *App) create(ctx context.Context, p *place, r InitResult) (InitResult, error) {
	secret := ""
	if r.Encrypted {
		var err error
		if secret, r.KeyCreated, err = jobIdentity(r.JobIdentity, r.Recipients); err != nil {
			return r, err
		}
	}
	err := keepsConditions(ctx, p.part)
	if err == nil {
		_, err = archive.Init(ctx, p.part, archive.InitOptions{
			Homeserver: p.name, Recipients: r.Recipients, JobIdentity: secret, Retain: p.retain(), Program: a.opt.Program,
		})
	}
	if err != nil {
		if r.KeyCreated {
			err = errors.Join(err, os.Remove(r.JobIdentity)) // nothing is encrypted to it
		}
		return r, err
	}
	r.Created = true
	return r, nil
}

// keepsConditions tries, before an archive is made, whether the store does what
// locks and points rest on.
func keepsConditions(ctx context.Context, s storage.Store) error {
	return storage.CheckConditions(ctx, s, "locks/conditions-"+strings.ToLower(rand.Text()))
}

// compare says whether the archive that is there is what was asked for.
func (a *App) compare(there *archive.Archive, r InitResult, p *place) (InitResult, error) {
	asked := r.Recipients
	r.Encrypted, r.Recipients = there.Encrypted(), there.Recipients()
	if !r.Encrypted {
		r.JobIdentity = ""
	}
	if there.Homeserver() != p.name {
		return r, fmt.Errorf("the archive under %s in %s is that of %s: it was copied or renamed", p.name, r.Store, there.Homeserver())
	}
	if len(asked) > 0 && !sameSet(asked, r.Recipients) {
		return r, Usagef("there is an archive of %s in %s already, and it is encrypted to %s: recipients can't be changed; begin another store or homeserver",
			p.name, r.Store, orNobody(r.Recipients))
	}
	if r.Encrypted {
		r.JobIdentity, _ = a.JobIdentityFile(p.name)
	}
	return r, nil
}

func orNobody(recipients []string) string {
	if len(recipients) == 0 {
		return "nobody"
	}
	return strings.Join(recipients, ", ")
}

func sameSet(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(slices.Compact(a), slices.Compact(b))
}

// jobIdentity reads the job identity's file, or makes it.
func jobIdentity(path string, recipients []string) (secret string, created bool, err error) {
	switch text, err := os.ReadFile(path); {
	case err == nil:
		if _, err := archive.ReadIdentities(path); err != nil {
			return "", false, usage(err)
		}
		return string(text), false, nil
	case !errors.Is(err, fs.ErrNotExist):
		return "", false, usage(fmt.Errorf("job identity: %w", err))
	}
	if secret, err = archive.NewJobIdentity(recipients); err != nil {
		return "", false, err
	}
	if err := writeSecret(path, secret+"\n"); err != nil {
		return "", false, fmt.Errorf("job identity: %w", err)
	}
	return secret, true, nil
}

// writeSecret makes a file that only its owner can read.
func writeSecret(path, text string) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Sync()
}
