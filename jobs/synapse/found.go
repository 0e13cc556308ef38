package synapse

// Found is a database that a server has.
type Found struct {
	Name string `json:"name"`
	OID  uint32 `json:"oid"`
	Size int64  `json:"size"`          // bytes; -1: the role may not know
	Run  string `json:"run,omitempty"` // the restore whose mark it bears
}
