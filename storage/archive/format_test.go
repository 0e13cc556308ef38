package archive_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestRestoreByHand runs the commands of FORMAT.md: what they say must be there
// word for word, and must work.
func TestRestoreByHand(t *testing.T) {
	t.Parallel()
	text := string(mustRead(t, "FORMAT.md"))
	f := newFixture(10)
	folder, point, identity, _ := rescueArchive(t, true, f)
	ok(t, os.Rename(identity, folder+"/key.txt"))

	commands := []struct{ before, documented string }{
		{"", `for f in packs/*/* index*/*; do n=${f##*/}; echo "${n##*-}  $f"; done | sha256sum -c --quiet`},
		{"", `age -d -i key.txt points/POINT | zstd -d | jq . >manifest.json`},
		{"", `for f in index/*; do age -d -i key.txt $f | zstd -d | tail -n +2; done >index.jsonl`},
		{
			"ID=$(jq -r '.database.tables[0].blobs[0].id' manifest.json)\nread -r PACK OFFSET LENGTH < <(",
			`jq -r --arg id ID 'select(any(.blobs[]; .id == $id)) | .pack as $p | .blobs[] | select(.id == $id) | [$p, .offset, .stored] | @tsv' index.jsonl`,
		},
		{")\n", `tail -c +$((OFFSET + 1)) packs/PA/PACK… | head -c LENGTH | age -d -i key.txt | zstd -d`},
		{"\n", `sed 's/"sha256": "[0-9a-f]*"/"sha256": "'$(printf 0%.0s {1..64})'"/' archive.json | sha256sum`},
	}
	script := "set -euo pipefail\ncd \"$1\"\n"
	for _, c := range commands {
		if !strings.Contains(text, "`"+c.documented+"`") {
			t.Errorf("FORMAT.md does not have %s", c.documented)
		}
		// What is to be filled in by hand.
		filled := strings.NewReplacer("POINT", point, "packs/PA/PACK…", "packs/${PACK:0:2}/$PACK", "head -c LENGTH", "head -c $LENGTH", "id ID", "id $ID").Replace(c.documented)
		script += c.before + filled
		if !strings.HasSuffix(c.before, "(") {
			script += "\n"
		}
	}
	out, err := exec.CommandContext(t.Context(), "bash", "-c", script, "-", folder).CombinedOutput()
	if err != nil {
		t.Fatalf("%s (%v)", out, err)
	}
	rest, found := strings.CutPrefix(string(out), string(f.a1))
	sum := strings.Fields(rest)
	if !found || len(sum) != 2 || !strings.Contains(string(mustRead(t, folder+"/archive.json")), `"sha256": "`+sum[0]+`"`) {
		t.Errorf("the blob's %d bytes did not come back, or the checksum of archive.json is another: %.300s", len(f.a1), out)
	}
}
