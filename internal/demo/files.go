package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// folder is a path of the stage.
func (d *demo) folder(parts ...string) string {
	return filepath.Join(append([]string{d.dir}, parts...)...)
}

// configure writes what a homeserver has beside its database.
func (d *demo) configure() error {
	for name, text := range map[string]string{
		"homeserver.yaml": "server_name: matrix.example.com\n" +
			"signing_key_path: " + d.folder("etc", "signing.key") + "\n" +
			"log_config: " + d.folder("etc", "log.yaml") + "\n" +
			"media_store_path: " + d.folder("media_store") + "\n" +
			"macaroon_secret_key: not a real one\n",
		"signing.key": "ed25519 a_demo bm90IGEgcmVhbCBzaWduaW5nIGtleSwgYnV0IGEgZGVtbydz\n",
		"log.yaml":    "version: 1\n",
	} {
		if err := os.MkdirAll(d.folder("etc"), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(d.folder("etc", name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return os.MkdirAll(d.folder("media_store"), 0o755)
}

// checksums is a checksum of the media that a recovery point has, and of the
// secrets, wherever below their folder these are.
func (d *demo) checksums(ctx context.Context) (string, error) {
	var lines []string
	for _, dir := range []string{"media_store/local_content", "media_store/local_thumbnails", "etc"} {
		err := filepath.WalkDir(d.folder(dir), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(path, d.dir)
			if dir == "etc" {
				name = filepath.Base(path)
			}
			lines = append(lines, fmt.Sprintf("%x %s", sha256.Sum256(data), name))
			return ctx.Err()
		})
		if err != nil {
			return "", err
		}
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return fmt.Sprintf("%d files, checksum %s", len(lines), hex.EncodeToString(sum[:])[:32]), nil
}
