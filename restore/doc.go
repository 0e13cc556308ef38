// Package restore brings a homeserver's database back from a recovery point.
//
// [New] makes the job: it loads the point into a database of its own, checks
// the result, and only then renames it into the place of the live one (mode
// swap); or, on a server without room for two, drops the live database first,
// but not before everything that can be tried without it was tried (mode
// in-place); or just loads (mode beside). [NewUndo] swaps back, [NewDrop]
// removes what a restore left behind, [Status] says where a restore stands and
// what to do about it.
//
// Every step can be killed at any instant and repeated. The same request
// resumes the unfinished run instead of starting another: see [Job.ID].
//
// It imports jobs, jobs/synapse, storage and storage/archive, and reaches the
// server through the ports it declares. It never knows SQL, and never touches
// the live database before the loaded one was found good, except in-place,
// where the operator has confirmed it.
package restore
