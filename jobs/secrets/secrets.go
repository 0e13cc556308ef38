// Package secrets is the secrets part of a recovery point: the signing key,
// homeserver.yaml and the files that it names, and what else is configured. It
// takes them from sources, such as [Files], and writes them back to a folder
// ([Write]).
//
// It imports jobs, jobs/synapse, storage/archive and YAML. It never stores
// anything in an archive that is not encrypted, reads no database and no store
// but through the archive, and no text, error or log of it has a byte of what
// the files hold.
package secrets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/synapse-maint/synapse-maint/jobs"
	"github.com/synapse-maint/synapse-maint/jobs/synapse"
	"github.com/synapse-maint/synapse-maint/storage/archive"
)

// Unencrypted is why a point of an archive without recipients has no secrets.
const Unencrypted = "they are never stored unencrypted: give the archive recipients (init --recipient age1…, on an empty store)"

const (
	// maxFile bounds a file, in bytes. What is larger is no secret.
	maxFile = 16 << 20
	// maxAll bounds all files, in bytes: they are held in memory.
	maxAll = 64 << 20
	// blobBytes is from how many bytes of the document on a blob is closed.
	blobBytes = 8 << 20
)

// What secrets are for, where nothing names them. Stored data.
const (
	signingKey    = "signing key"
	configuration = "configuration"
	configured    = "configured"
)

// Source is where secrets come from.
type Source interface {
	// Secrets reads them. One that can't be read is an item with its Err; an
	// error is that of a source of no use at all, and fails the part.
	Secrets(ctx context.Context) ([]Item, error)
}

// Item is one secret. It prints as its name, and JSON has no byte of it.
type Item struct {
	Name     string // as it is restored: a path below the folder, with slashes
	From     string // where it was: an absolute path
	What     string // what it is for, or what names it
	Mode     uint32 // the lower 12 bits of st_mode
	UID, GID int    // -1: unknown
	Modified time.Time
	Data     []byte `json:"-"`
	Err      error  // why there is no Data, in a few words; nil where there is
}

// Format implements [fmt.Formatter], so that no verb shows Data.
func (i Item) Format(s fmt.State, _ rune) { fmt.Fprintf(s, "%s (%s)", i.From, i.What) }

// Options are a part's.
type Options struct {
	Sources []Source
}

// Part stores secrets. It is a part of a backup, as jobs/backup wants it.
type Part struct{ opt Options }

// NewPart returns the secrets part for one backup.
func NewPart(o Options) *Part { return &Part{o} }

// Name is the part's in manifests.
func (*Part) Name() string { return archive.PartSecrets }

// Consult does nothing: the database knows no secrets.
func (*Part) Consult(context.Context, synapse.MediaRows) error { return nil }

// Take stores the secrets, encrypted to the archive's recipients only, and
// names them in m. What could not be read is a warning, and m is degraded; where
// it is there, or the homeserver can't be without it, that is no success
// ([jobs.ErrIncomplete]).
func (p *Part) Take(ctx context.Context, w *archive.Writer, _, m *archive.Manifest, report func(jobs.Progress)) (warnings []string, err error) {
	if !w.Encrypted() {
		return nil, errors.New(Unencrypted)
	}
	items, err := p.collect(ctx)
	if err != nil {
		return nil, err
	}
	part := &archive.Secrets{}
	var blob bytes.Buffer
	var done int64
	for _, i := range items {
		if i.Err != nil {
			warnings = append(warnings, i.missing())
			continue
		}
		line, err := encode(i)
		if err != nil {
			return warnings, err
		}
		if blob.Len() > 0 && blob.Len()+len(line) > blobBytes {
			if err := store(ctx, w, part, &blob); err != nil {
				return warnings, err
			}
		}
		blob.Write(line)
		done += int64(len(i.Data))
		part.Files = append(part.Files, archive.SecretFile{Name: i.Name, From: i.From, What: i.What, Size: int64(len(i.Data))})
		report(jobs.Progress{What: "secrets", Done: done})
	}
	if len(part.Files) == 0 {
		return warnings, nothing(items)
	}
	if err := store(ctx, w, part, &blob); err != nil {
		return warnings, err
	}
	m.Secrets = part
	m.Degraded = append(m.Degraded, warnings...)
	return warnings, untaken(items)
}

// nothing is the error of secrets of which not one can be read.
func nothing(items []Item) error {
	const text = "there is not one that can be read"
	if len(items) == 0 {
		return errors.New(text)
	}
	return fmt.Errorf("%s: %s (%s): %w", text, items[0].From, items[0].What, items[0].Err)
}

// untaken is the error of secrets that should have been taken and were not; nil
// if there are none. A point without its signing key must not pass for a
// success: retention would drop the last one that has it.
func untaken(items []Item) error {
	items = slices.DeleteFunc(slices.Clone(items), func(i Item) bool { return !i.failed() })
	if len(items) == 0 {
		return nil
	}
	first := items[0]
	text := fmt.Sprintf("%s (%s): %v", printable(first.From), first.What, first.Err)
	if n := len(items) - 1; n > 0 {
		text += fmt.Sprintf("; and %d more", n)
	}
	if slices.ContainsFunc(items, func(i Item) bool { return errors.Is(i.Err, fs.ErrPermission) }) {
		text += ": run this as Synapse's user or as root"
	}
	return fmt.Errorf("%w: %s", jobs.ErrIncomplete, text)
}

// store adds a blob of the document.
func store(ctx context.Context, w *archive.Writer, part *archive.Secrets, blob *bytes.Buffer) error {
	id, _, err := w.Add(ctx, blob.Bytes())
	if err != nil {
		return err
	}
	part.Blobs = append(part.Blobs, archive.Blob{ID: id, Size: int64(blob.Len())})
	blob.Reset()
	return nil
}

// missing is the line that says what could not be read.
func (i Item) missing() string {
	return fmt.Sprintf("secrets: %s (%s): %v", printable(i.From), i.What, i.Err)
}

// failed says whether a secret should have been taken and was not. What is not
// there may be none: configurations name files that Synapse does without, and
// what homeserver.yaml calls a path may be no file's. But the signing key and the
// configuration have to be there, and what is there of those that somebody
// configured has to be taken.
func (i *Item) failed() bool {
	var other noSecret
	switch {
	case i.Err == nil:
		return false
	case i.What == signingKey, i.What == configuration:
		return true
	case errors.Is(i.Err, fs.ErrNotExist), errors.Is(i.Err, errNoMatch):
		return false
	default:
		return i.What == configured || !errors.As(i.Err, &other)
	}
}

// noSecret is why what a path leads to is not taken for a secret.
type noSecret string

func (n noSecret) Error() string { return string(n) }

// collect asks the sources. Of several items of one name the first counts.
func (p *Part) collect(ctx context.Context) ([]Item, error) {
	var all []Item
	seen := map[string]bool{}
	left := int64(maxAll)
	for _, s := range p.opt.Sources {
		items, err := s.Secrets(ctx)
		if err != nil {
			return nil, err
		}
		for _, i := range items {
			if seen[i.Name] {
				continue
			}
			seen[i.Name] = true
			i.bound(&left)
			all = append(all, i)
		}
	}
	return all, nil
}

// bound leaves out what is too large to be taken, or could not be restored.
func (i *Item) bound(left *int64) {
	size := int64(len(i.Data))
	switch {
	case i.Err != nil:
	case !fs.ValidPath(i.Name) || i.Name == ".":
		i.Err = errors.New("its name can't be stored")
	case size > maxFile:
		i.Err = tooLarge()
	case size > *left:
		i.Err = fmt.Errorf("left out: more than %d MiB of secrets in all", maxAll>>20)
	default:
		*left -= size
		return
	}
	i.Data = nil
}

func tooLarge() error { return noSecret(fmt.Sprintf("left out: larger than %d MiB", maxFile>>20)) }

// Preview says what Take would store.
func (p *Part) Preview(ctx context.Context) (synapse.PartPreview, error) {
	items, err := p.collect(ctx)
	if err != nil {
		return synapse.PartPreview{}, err
	}
	v := synapse.PartPreview{Part: archive.PartSecrets}
	for _, i := range items {
		if i.Err != nil {
			v.Lines = append(v.Lines, i.missing())
			continue
		}
		v.Files++
		v.Bytes += int64(len(i.Data))
	}
	return v, nil
}
