package dir

import (
	"os"
	"syscall"
)

// WithoutLinks makes s behave as on a file system without hard links.
func WithoutLinks(s *Store) {
	s.link = func(old, new string) error { return &os.LinkError{Op: "link", Old: old, New: new, Err: syscall.EPERM} }
}
