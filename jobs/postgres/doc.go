// Package postgres is how PostgreSQL databases are copied out and loaded back.
//
// Out: [Snap] takes a snapshot of a database. pg_dump gives its table of
// contents, and the rows are copied range by range ([Snapshot.CopyOut]) on as
// many connections as asked for, all of which see the one snapshot. What cannot
// be copied so is one stream of pg_dump ([Snapshot.Stream]). Neither writes to
// the database or to a disk.
//
// In: [Server] inspects a server, loads a copy into a database of its own, and
// swaps databases by name.
//
// It imports the standard library, pgx, jobs/synapse and pgarchive, and is the
// only package that uses pgx and that runs PostgreSQL's programs. Passwords
// reach these through the environment, never through arguments, and are in no
// error or log.
package postgres
