package archive

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // rescue.sh
	"fmt"
)

const rescueKey = "rescue.sh"

//go:embed rescue.sh
var rescueText string

// rescueScript returns the script that restores without this program, with its
// own checksum as the last line: it is in no other object.
func rescueScript() []byte {
	return fmt.Appendf([]byte(rescueText), "# sha256 of the lines above: %x\n", sha256.Sum256([]byte(rescueText)))
}

// checkRescue checks the script's own checksum. It may be of another version.
func checkRescue(body []byte) error {
	i := bytes.LastIndex(bytes.TrimSuffix(body, []byte("\n")), []byte("\n")) + 1
	want := fmt.Sprintf("# sha256 of the lines above: %x\n", sha256.Sum256(body[:i]))
	if string(body[i:]) != want {
		return corrupt(rescueKey, "its checksum, in its last line, does not match")
	}
	return nil
}
