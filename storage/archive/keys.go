package archive

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
)

const hashKeySize = 32

// keyring is what an open archive can encrypt to and decrypt with. The zero
// value is that of an archive that is not encrypted.
type keyring struct {
	blobs   []age.Recipient // who can read blobs; empty: not encrypted
	meta    []age.Recipient // who can read metadata: the same and the job
	keys    []age.Identity
	hashKey []byte
	locked  error // why metadata can't be read; nil if it can
	opens   bool  // whether keys has a recipient's identity: blobs can be read
	others  bool  // whether keys has any but the job's: somebody brought one
	names   string
	server  string
}

// NewJobIdentity makes a job identity that fits the recipients: post-quantum
// where they are, as age does not mix the kinds. It returns the secret text.
func NewJobIdentity(recipients []string) (string, error) {
	if slices.ContainsFunc(recipients, func(r string) bool { return strings.HasPrefix(r, "age1pq1") }) {
		id, err := age.GenerateHybridIdentity()
		if err != nil {
			return "", fmt.Errorf("generate job identity: %w", err)
		}
		return id.String(), nil
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", fmt.Errorf("generate job identity: %w", err)
	}
	return id.String(), nil
}

// ReadIdentities reads age identity files, as age-keygen writes them.
func ReadIdentities(paths ...string) ([]age.Identity, error) {
	var all []age.Identity
	for _, p := range paths {
		text, err := os.ReadFile(p)
		if err != nil {
			return nil, fmt.Errorf("identity file: %w", err)
		}
		ids, err := age.ParseIdentities(bytes.NewReader(text))
		if err != nil {
			// age's own text may quote a line, and the line may be a key.
			return nil, fmt.Errorf("identity file %s: it has lines that are no age identity (AGE-SECRET-KEY-…)", p)
		}
		all = append(all, ids...)
	}
	return all, nil
}

func identitiesOf(text string) []age.Identity {
	ids, err := age.ParseIdentities(strings.NewReader(text))
	if err != nil {
		return nil
	}
	return ids
}

// recipientOf returns the public half of an identity.
func recipientOf(id age.Identity) (string, error) {
	switch id := id.(type) {
	case *age.X25519Identity:
		return id.Recipient().String(), nil
	case *age.HybridIdentity:
		return id.Recipient().String(), nil
	}
	return "", fmt.Errorf("identities of type %T can't be the job's", id)
}

// newEncryption makes the encryption part of a new archive.json.
func newEncryption(recipients []string, jobIdentity string) (*encryption, error) {
	if len(recipients) == 0 {
		return nil, nil
	}
	ids := identitiesOf(jobIdentity)
	if len(ids) != 1 {
		return nil, errors.New("an archive with recipients needs one job identity (AGE-SECRET-KEY-…)")
	}
	job, err := recipientOf(ids[0])
	if err != nil {
		return nil, err
	}
	e := &encryption{Recipients: recipients, Job: job}
	_, meta, err := e.parse()
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	aw := armor.NewWriter(&text)
	w, err := age.Encrypt(aw, meta...)
	if err != nil {
		return nil, fmt.Errorf("encrypt the hash key: %w (post-quantum recipients can't be mixed with others)", err)
	}
	if _, err := w.Write(randomBytes(hashKeySize)); err != nil {
		return nil, err
	}
	if err := errors.Join(w.Close(), aw.Close()); err != nil {
		return nil, err
	}
	e.HashKey = text.String()
	return e, nil
}

// parse returns who blobs and who metadata is encrypted to.
func (e *encryption) parse() (blobs, meta []age.Recipient, err error) {
	if len(e.Recipients) == 0 {
		return nil, nil, errors.New("no recipients")
	}
	for _, text := range append(slices.Clone(e.Recipients), e.Job) {
		rs, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil || len(rs) != 1 {
			return nil, nil, fmt.Errorf("%q is no age recipient (age1…)", text)
		}
		meta = append(meta, rs[0])
	}
	return slices.Clip(meta[:len(meta)-1]), meta, nil
}

func newKeyring(c config, keys []age.Identity) (keyring, error) {
	k := keyring{keys: keys, server: c.Homeserver}
	if c.Encryption == nil {
		return k, nil
	}
	k.names = strings.Join(c.Encryption.Recipients, ", ")
	var err error
	if k.blobs, k.meta, err = c.Encryption.parse(); err != nil {
		return k, corrupt(configKey, "%v", err)
	}
	if len(keys) == 0 {
		k.locked = k.noKey("the archive")
		return k, nil
	}
	k.opens = slices.ContainsFunc(keys, func(id age.Identity) bool {
		r, err := recipientOf(id)
		return err == nil && slices.Contains(c.Encryption.Recipients, r)
	})
	k.others = slices.ContainsFunc(keys, func(id age.Identity) bool {
		r, err := recipientOf(id)
		return err != nil || r != c.Encryption.Job
	})
	r, err := age.Decrypt(armor.NewReader(strings.NewReader(c.Encryption.HashKey)), keys...)
	var no *age.NoIdentityMatchError
	if errors.As(err, &no) {
		k.locked = k.noKey("the archive")
		return k, nil
	}
	if err == nil {
		k.hashKey, err = io.ReadAll(r)
	}
	if err != nil || len(k.hashKey) != hashKeySize {
		return k, corrupt(configKey, "its hash key can't be read (%v)", err)
	}
	return k, nil
}

// noKey is the one line that says what is encrypted to whom, and what to do.
func (k *keyring) noKey(what string) error {
	if !k.others {
		return fmt.Errorf("%s of %s is encrypted to %s: %w; give one with --identity FILE", what, k.server, k.names, ErrNoKey)
	}
	return fmt.Errorf("%s of %s is encrypted to %s: of the identities given, %w; give another with --identity FILE",
		what, k.server, k.names, ErrNoKey)
}

func (k *keyring) encrypted() bool { return len(k.blobs) > 0 }

// id names plain bytes.
func (k *keyring) id(plain []byte) ID { return k.idOf(sha256.Sum256(plain)) }

// idOf names plain bytes by their SHA-256.
func (k *keyring) idOf(sum ID) ID {
	if !k.encrypted() {
		return sum
	}
	mac := hmac.New(sha256.New, k.hashKey)
	mac.Write(sum[:])
	var id ID
	mac.Sum(id[:0])
	return id
}

// encrypt appends an age file of plain to dst.
func encrypt(dst, plain []byte, to []age.Recipient) ([]byte, error) {
	// age adds 16 bytes to each 64 KiB, and a header of up to a few KiB.
	out := appender{slices.Grow(dst, len(plain)+len(plain)/4096+2048*len(to))}
	w, err := age.Encrypt(&out, to...)
	if err != nil {
		return dst, fmt.Errorf("encrypt: %w", err)
	}
	if _, err := w.Write(plain); err != nil {
		return dst, fmt.Errorf("encrypt: %w", err)
	}
	if err := w.Close(); err != nil {
		return dst, fmt.Errorf("encrypt: %w", err)
	}
	return out.b, nil
}

// decrypt appends the plain bytes of an age file to dst. fits says that one of
// the identities is known to open files of this kind, so that a file that none
// opens is damaged; else it is [ErrNoKey].
func (k *keyring) decrypt(dst, sealed []byte, what string, fits bool) ([]byte, error) {
	if len(k.keys) == 0 {
		return dst, k.noKey(what)
	}
	r, err := age.Decrypt(bytes.NewReader(sealed), k.keys...)
	var no *age.NoIdentityMatchError
	if errors.As(err, &no) && !fits {
		return dst, k.noKey(what)
	}
	if err != nil {
		return dst, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	out := appender{slices.Grow(dst, len(sealed))}
	if _, err := io.Copy(&out, r); err != nil {
		return dst, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return out.b, nil
}

// appender is a writer that appends to a slice.
type appender struct{ b []byte }

func (a *appender) Write(p []byte) (int, error) {
	a.b = append(a.b, p...)
	return len(p), nil
}
