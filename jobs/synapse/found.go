package synapse

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// Found is a database that a server has.
type Found struct {
	Name string `json:"name"`
	OID  uint32 `json:"oid"`
	Size int64  `json:"size"`          // bytes; -1: the role may not know
	Run  string `json:"run,omitempty"` // the restore whose mark it bears
	// Guest says that it was there before that restore, empty: it is somebody's.
	Guest bool `json:"guest,omitempty"`
}

const newPrefix = "synapse_maint_new_"

// NewName is what a run calls a database that it makes until it has marked it as
// its own: CREATE DATABASE and the mark can't be one transaction, and by its
// later name an empty database could be somebody else's. Stored data.
func NewName(run, database string) string {
	sum := sha256.Sum256([]byte(database))
	return newPrefix + run + "_" + hex.EncodeToString(sum[:4])
}

// RunOfNew is the run that has given a database a name of [NewName].
func RunOfNew(name string) (run string, ok bool) {
	rest, ok := strings.CutPrefix(name, newPrefix)
	i := strings.LastIndexByte(rest, '_')
	if !ok || i < 0 {
		return "", false
	}
	return rest[:i], true
}
