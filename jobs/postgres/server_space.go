package postgres

import (
	"context"
	"syscall"
)

// space compares the room on the disk that the database will lie on with what it
// needs, where this machine is the server's and may look.
func (i *inspector) space(ctx context.Context) error {
	i.in.NeedBytes = i.q.NeedBytes
	if i.in.NeedBytes == 0 {
		i.in.NeedBytes = i.q.Dump.Size
	}
	if !i.s.local() {
		return nil
	}
	var dir *string // only superusers and pg_read_all_settings may know it
	err := i.c.QueryRow(ctx, "SELECT setting FROM pg_catalog.pg_settings WHERE name = 'data_directory'").Scan(&dir)
	if err != nil || dir == nil {
		return nil //nolint:nilerr // then it is not known
	}
	// The same path may be another machine's, behind a forwarded port: the
	// server's own lock file must be there too.
	if !isFile(*dir + "/postmaster.pid") {
		return nil
	}
	if i.ownSpace {
		if err := i.c.QueryRow(ctx, "SELECT pg_catalog.pg_tablespace_location(oid) FROM pg_catalog.pg_tablespace WHERE spcname = $1", i.q.Dump.Tablespace).Scan(dir); err != nil {
			return err
		}
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(*dir, &fs); err != nil {
		return nil //nolint:nilerr // as above
	}
	i.in.FreeBytes = int64(fs.Bavail) * fs.Bsize
	if i.in.FreeBytes < i.in.NeedBytes && !i.in.TargetOurs {
		i.problem("the server's disk has %s free, the database needs about %s: make room, or restore with --mode in-place", gib(i.in.FreeBytes), gib(i.in.NeedBytes))
	}
	return nil
}
