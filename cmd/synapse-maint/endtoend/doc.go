// Package endtoend holds tests of the program as its users have it: the built
// binary, as a process, against real PostgreSQL, a real S3 server and real
// folders. They kill it, take its store or its server away, fill its disk, and
// damage what it stored.
//
// It has no code but its tests, which may import internal/testbed and
// libraries, and nothing of the program: what they know of it is what it
// prints, stores and returns.
package endtoend
