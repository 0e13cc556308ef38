package media

import (
	"errors"

	"golang.org/x/sys/unix"
)

// uncachedMin is from how many bytes on the page cache is passed by: what
// Synapse reads next is in it already, or is PostgreSQL's, and a restore of more
// media than there is memory would push that out. It is quicker, too, where
// memory has to be fetched first, as virtual machines fetch it from their host.
// Smaller files are better gathered by the kernel before it writes them.
const uncachedMin = 64 << 10

// pwrite is pwrite(2), with Linux's RWF_DONTCACHE (6.14 and newer, on some file
// systems): what is written goes to the disk at once, and from memory then.
func (p *place) pwrite(fd int, b []byte, off int64) (int, error) {
	if len(b) >= uncachedMin && !p.cached.Load() {
		n, err := unix.Pwritev2(fd, [][]byte{b}, off, unix.RWF_DONTCACHE)
		if !p.unsupported(err) {
			return n, err
		}
	}
	return unix.Pwrite(fd, b, off)
}

// pread is pread(2), and leaves nothing in memory that was not there.
func (p *place) pread(fd int, b []byte, off int64) (int, error) {
	if len(b) >= uncachedMin && !p.cached.Load() {
		n, err := unix.Preadv2(fd, [][]byte{b}, off, unix.RWF_DONTCACHE)
		if !p.unsupported(err) {
			return n, err
		}
	}
	return unix.Pread(fd, b, off)
}

// unsupported says whether an error is that the kernel, the file system or a
// sandbox does not know how to pass the cache by, and remembers it.
func (p *place) unsupported(err error) bool {
	for _, unknown := range []error{unix.EOPNOTSUPP, unix.ENOSYS, unix.EINVAL, unix.EPERM} {
		if errors.Is(err, unknown) {
			p.cached.Store(true)
			return true
		}
	}
	return false
}
