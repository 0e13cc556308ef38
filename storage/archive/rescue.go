package archive

import (
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
