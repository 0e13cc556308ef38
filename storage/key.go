package storage

import (
	"errors"
	"fmt"
	"strings"
)

// Longest key and longest segment of a key, in bytes: what S3 takes (with room
// for a prefix) and what file systems take.
const (
	maxKey     = 1000
	maxSegment = 240
)

// CheckKey returns an error if key can't be stored everywhere. A key is made of
// segments with a slash between them. A segment is of the characters
//
//	A-Z a-z 0-9 - _ . = @ : , ~
//
// and does not begin with a dot: such names are the folder store's own. What
// is stored under a key can't also be the folder of another: a store may refuse
// "a/b" while there is "a".
func CheckKey(key string) error {
	if len(key) > maxKey {
		return fmt.Errorf("key %.40q…: longer than %d bytes", key, maxKey)
	}
	for segment := range strings.SplitSeq(key, "/") {
		if err := checkSegment(segment); err != nil {
			return fmt.Errorf("key %q: %w", key, err)
		}
	}
	return nil
}

// CheckPrefix returns an error if no key can begin with prefix.
func CheckPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	return CheckKey(strings.TrimSuffix(prefix, "/"))
}

func checkSegment(s string) error {
	switch {
	case s == "":
		return errors.New("empty segment")
	case s[0] == '.':
		return fmt.Errorf("segment %q begins with a dot", s)
	case len(s) > maxSegment:
		return fmt.Errorf("segment longer than %d bytes", maxSegment)
	}
	for i := range len(s) {
		if !keyByte(s[i]) {
			return fmt.Errorf("character %q is not allowed", s[i])
		}
	}
	return nil
}

func keyByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		strings.IndexByte("-_.=@:,~", c) >= 0
}
