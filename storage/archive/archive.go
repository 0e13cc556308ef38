// Package archive keeps one homeserver's recovery points in a store: blobs
// named by their content, gathered into packs, found through an index, and
// listed by manifests, compressed and, if the archive has recipients,
// encrypted to them with age. FORMAT.md beside this file fixes every byte.
//
// To take a point: [Archive.Writer], Add blobs, Close, then [Archive.Commit].
// To read one: [Archive.Find], then [Archive.Reader]. Nothing is ever changed
// here, and nothing deleted but by [Archive.Prune], and a manifest of one's own
// that came out damaged.
//
// It imports the contract of stores, zstd and age, and knows no PostgreSQL, no
// S3 and no job.
package archive

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"filippo.io/age"

	"github.com/synapse-maint/synapse-maint/storage"
)

// Errors that callers branch on, always wrapped with the object they concern.
var (
	// ErrNoArchive says that the store has no archive here. It is an
	// [fs.ErrNotExist].
	ErrNoArchive = fmt.Errorf("no archive: %w", fs.ErrNotExist)
	// ErrVersion says that something has a format this program does not know.
	ErrVersion = errors.New("unknown format")
	// ErrCorrupt says that an object is not what was put.
	ErrCorrupt = errors.New("damaged")
	// ErrNoKey says that no identity was given that opens this.
	ErrNoKey = errors.New("no identity opens it")
)

const (
	formatVersion = 1
	configKey     = "archive.json"
	copyKey       = "archive.copy.json"
	keyTime       = "20060102T150405Z" // times in keys, UTC
)

// InitOptions say what a new archive is like.
type InitOptions struct {
	Homeserver string
	Recipients []string // age1…; none for an archive that is not encrypted
	// JobIdentity is the secret key (AGE-SECRET-KEY-…) with which backups read
	// metadata back; see [NewJobIdentity]. Needed with recipients. Only its
	// public half is stored.
	JobIdentity string
	Retain      time.Duration // object lock; 0 is none
	Program     string        // name and version of the writer
}

// Archive is an open archive. It is safe for concurrent use.
type Archive struct {
	store   storage.Store
	conf    config
	program string
	keyring keyring
	codec   *codec

	mu     sync.Mutex
	retain time.Duration // of what Commit puts
	opened time.Time     // of the last Writer: since when what was there is counted on
	known  *index        // of the last Writer that was closed: what Commit checks against
}

// config is archive.json.
type config struct {
	SHA256     string      `json:"sha256"`
	Format     int         `json:"format"`
	Homeserver string      `json:"homeserver"`
	ID         string      `json:"id"`
	Created    time.Time   `json:"created"`
	Program    string      `json:"program"`
	Encryption *encryption `json:"encryption,omitempty"`
}

type encryption struct {
	Recipients []string `json:"recipients"`
	Job        string   `json:"job"`
	HashKey    string   `json:"hash_key"` // armored age file
}

// Init makes an archive and opens it. If there is one already it completes
// what a killed Init left undone and returns [fs.ErrExist].
func Init(ctx context.Context, s storage.Store, o InitOptions) (*Archive, error) {
	if o.Homeserver == "" {
		return nil, errors.New("init archive: no homeserver's name given")
	}
	began := time.Now()
	switch raw, err := loadConfig(ctx, s); {
	case err == nil:
		if err := completeInit(ctx, s, raw, o.Retain); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("init archive of %s: %w", o.Homeserver, fs.ErrExist)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	conf := config{
		Format:     formatVersion,
		Homeserver: o.Homeserver,
		ID:         hex.EncodeToString(randomBytes(16)),
		Created:    time.Now().UTC().Truncate(time.Second),
		Program:    o.Program,
	}
	var err error
	if conf.Encryption, err = newEncryption(o.Recipients, o.JobIdentity); err != nil {
		return nil, fmt.Errorf("init archive of %s: %w", o.Homeserver, err)
	}
	raw, err := conf.marshal()
	if err != nil {
		return nil, err
	}
	opt := storage.PutOptions{IfAbsent: true, RetainUntil: lockUntil(o.Retain)}
	if err := putVerified(ctx, s, configKey, raw, opt); err != nil {
		return nil, fmt.Errorf("init archive of %s: %w", o.Homeserver, err)
	}
	if err := completeInit(ctx, s, raw, o.Retain); err != nil {
		return nil, err
	}
	a, err := open(s, raw, identitiesOf(o.JobIdentity))
	if err == nil && o.Retain > 0 {
		err = a.putLock(ctx, began, o.Retain)
	}
	return a, err
}

// completeInit puts what belongs beside archive.json, where it is absent.
func completeInit(ctx context.Context, s storage.Store, raw []byte, retain time.Duration) error {
	opt := storage.PutOptions{IfAbsent: true, RetainUntil: lockUntil(retain)}
	for _, o := range []struct {
		key  string
		body []byte
	}{{configKey, raw}, {copyKey, raw}, {rescueKey, rescueScript()}} {
		if _, err := s.Stat(ctx, o.key); err == nil {
			continue
		}
		if err := putVerified(ctx, s, o.key, o.body, opt); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("init archive: %w", err)
		}
	}
	return nil
}

// Open opens the archive of a store with the identities at hand, which may be
// none. Without one that fits an encrypted archive, what needs it returns
// [ErrNoKey]. It fails with [ErrNoArchive], [ErrVersion] or [ErrCorrupt].
func Open(ctx context.Context, s storage.Store, keys ...age.Identity) (*Archive, error) {
	raw, err := loadConfig(ctx, s)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoArchive
	}
	if err != nil {
		return nil, err
	}
	return open(s, raw, keys)
}

func open(s storage.Store, raw []byte, keys []age.Identity) (*Archive, error) {
	conf, err := parseConfig(raw)
	if err != nil {
		return nil, err
	}
	a := &Archive{store: s, conf: conf, program: conf.Program, codec: newCodec()}
	a.keyring, err = newKeyring(conf, keys)
	if err != nil {
		return nil, err
	}
	return a, nil
}

// loadConfig reads archive.json or, where that is damaged or gone, its copy.
func loadConfig(ctx context.Context, s storage.Store) ([]byte, error) {
	raw, err := fetch(ctx, s, configKey)
	if err == nil {
		_, err = parseConfig(raw)
	}
	if err == nil || !errors.Is(err, ErrCorrupt) && !errors.Is(err, fs.ErrNotExist) {
		return raw, err
	}
	spare, err2 := fetch(ctx, s, copyKey)
	if err2 == nil {
		_, err2 = parseConfig(spare)
	}
	if err2 == nil {
		return spare, nil
	}
	return nil, err
}

const zeros = "0000000000000000000000000000000000000000000000000000000000000000"

// marshal returns archive.json with its own checksum filled in.
func (c config) marshal() ([]byte, error) {
	c.SHA256 = zeros
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, err
	}
	raw = append(raw, '\n')
	sum := sha256.Sum256(raw)
	return bytes.Replace(raw, []byte(zeros), hex.AppendEncode(nil, sum[:]), 1), nil
}

// parseConfig reads archive.json. The checksum comes first: only what is whole
// may say which version it is.
func parseConfig(raw []byte) (config, error) {
	var c config
	if err := json.Unmarshal(raw, &c); err != nil {
		return c, corrupt(configKey, "%v", err)
	}
	if len(c.SHA256) != len(zeros) {
		return c, corrupt(configKey, "it has no checksum")
	}
	sum := sha256.Sum256(bytes.Replace(raw, []byte(c.SHA256), []byte(zeros), 1))
	if hex.EncodeToString(sum[:]) != c.SHA256 {
		return c, corrupt(configKey, "its checksum does not match (it may not be edited)")
	}
	if c.Format != formatVersion {
		return c, versionError(configKey, c.Format)
	}
	if c.Homeserver == "" {
		return c, corrupt(configKey, "it names no homeserver")
	}
	return c, nil
}

// Encrypted says whether the archive has recipients.
func (a *Archive) Encrypted() bool { return a.conf.Encryption != nil }

// Homeserver is the name the archive was made for.
func (a *Archive) Homeserver() string { return a.conf.Homeserver }

// Store is the store the archive is in.
func (a *Archive) Store() storage.Store { return a.store }

// Recipients are the age recipients that can read the archive's blobs. Compare
// them with the configured ones before writing: whoever can write to the store
// could have put his own there.
func (a *Archive) Recipients() []string {
	if a.conf.Encryption == nil {
		return nil
	}
	return append([]string(nil), a.conf.Encryption.Recipients...)
}

func corrupt(key, format string, args ...any) error {
	return fmt.Errorf("%s is %w: %s", key, ErrCorrupt, fmt.Sprintf(format, args...))
}

func versionError(key string, format int) error {
	return fmt.Errorf("%s: %w %d (this program knows %d): use a newer synapse-maint", key, ErrVersion, format, formatVersion)
}

func retainUntil(d time.Duration) time.Time {
	if d <= 0 {
		return time.Time{}
	}
	return time.Now().Add(d)
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails (crypto/rand)
	return b
}

// fetch reads an object of metadata in full. Wrong bytes, as the store's own
// checksum tells them, are [ErrCorrupt].
func fetch(ctx context.Context, s storage.Store, key string) ([]byte, error) {
	b, err := storage.ReadAll(ctx, s, key)
	if err != nil {
		return nil, storeError(key, err)
	}
	return b, nil
}

func storeError(key string, err error) error {
	if errors.Is(err, storage.ErrDamaged) {
		return fmt.Errorf("%s is %w: %w", key, ErrCorrupt, err)
	}
	return about("read", key, err)
}

// about says what was done with which object, unless the store's error says it.
func about(op, key string, err error) error {
	if strings.Contains(err.Error(), key) {
		return err
	}
	return fmt.Errorf("%s %s: %w", op, key, err)
}
