package restore

import (
	"fmt"
	"strings"
)

// refuses runs a restore that has to be refused before it touches anything: no
// database is made, renamed or changed.
func (w *world) refuses(o Options, texts ...string) {
	w.t.Helper()
	before := w.standing()
	_, err := w.restore(o)
	want(w.t, err, append(texts, "restore refused, nothing was touched")...)
	if after := w.standing(); after != before {
		w.t.Errorf("the refused restore left\n%s\nbefore it there was\n%s", after, before)
	}
}

// standing is what the server has of the world's databases.
func (w *world) standing() string {
	w.t.Helper()
	found, err := w.server.Databases(w.t.Context())
	w.ok(err)
	var text strings.Builder
	for _, f := range found {
		if strings.HasPrefix(f.Name, w.live) {
			fmt.Fprintf(&text, "%s (%d): %s\n", f.Name, f.OID, w.fingerprint(f.Name))
		}
	}
	return text.String()
}
