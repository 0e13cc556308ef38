package archive

import (
	"encoding/hex"
	"fmt"
)

// ID names a blob by its content: the SHA-256 of its plain bytes or, in an
// encrypted archive, a keyed hash of that. Its text form is lower-case hex.
type ID [32]byte

// String returns the ID as 64 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText implements [encoding.TextMarshaler].
func (id ID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (id *ID) UnmarshalText(text []byte) error {
	if len(text) != hex.EncodedLen(len(id)) {
		return fmt.Errorf("blob ID of %d characters, not %d", len(text), hex.EncodedLen(len(id)))
	}
	if _, err := hex.Decode(id[:], text); err != nil {
		return fmt.Errorf("blob ID %q: %w", text, err)
	}
	return nil
}
