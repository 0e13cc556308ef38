package archive_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/archive"
	"github.com/synapse-maint/synapse-maint/storage/dir"
)

// rescueArchive makes an archive in a folder, with one point of f.
func rescueArchive(t *testing.T, encrypted bool, f fixture) (folder, point, identity string, s storage.Store) {
	t.Helper()
	root := t.TempDir()
	folder = filepath.Join(root, "store")
	s, err := dir.Create(folder)
	ok(t, err)
	k := newKeys(t)
	if encrypted {
		identity = filepath.Join(root, "key.txt")
		writeIdentity(t, identity, k)
	} else {
		k.opt.Recipients, k.opt.JobIdentity = nil, ""
	}
	a, err := archive.Init(t.Context(), s, k.opt)
	ok(t, err)
	point, err = take(t, a, f, night)
	ok(t, err)
	return folder, point, identity, s
}

func writeIdentity(t *testing.T, path string, k keys) {
	t.Helper()
	ok(t, os.WriteFile(path, []byte(k.owner.(*age.X25519Identity).String()+"\n"), 0o600))
}

// rescue runs the script that is in the archive.
func rescue(t *testing.T, folder, identity string, args ...string) (string, error) {
	t.Helper()
	if identity != "" {
		args = append([]string{"-i", identity}, args...)
	}
	cmd := exec.CommandContext(t.Context(), "bash", append([]string{filepath.Join(folder, "rescue.sh")}, args...)...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (f fixture) checkRescued(t *testing.T, folder string) {
	t.Helper()
	const end = "\\.\n\n\n"
	for name, want := range map[string]string{
		"toc.dat": string(f.toc),
		"201.dat": string(f.a1) + string(f.a2) + end,
		"202.dat": string(f.b1) + string(f.a1) + end,
		"203.dat": end,
	} {
		got, err := os.ReadFile(filepath.Join(folder, name))
		ok(t, err)
		if string(got) != want {
			t.Errorf("%s has %d bytes, not the %d that were added", name, len(got), len(want))
		}
	}
}

func TestRescueFromAFolder(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		t.Run(fmt.Sprintf("encrypted=%v", encrypted), func(t *testing.T) {
			t.Parallel()
			f := newFixture(10)
			folder, point, identity, _ := rescueArchive(t, encrypted, f)
			out, err := rescue(t, folder, identity, "list")
			if err != nil || !strings.Contains(out, point+"  2026-11-25T02:00:00Z  3 tables") {
				t.Errorf("list: %s (%v)", out, err)
			}
			to := filepath.Join(t.TempDir(), "out")
			if out, err := rescue(t, folder, identity, "restore", point, to); err != nil {
				t.Fatalf("restore: %s (%v)", out, err)
			}
			f.checkRescued(t, to)
			onlyOwners(t, to)
			if out, err := rescue(t, folder, identity, "restore", "latest", to); err == nil || !strings.Contains(out, "not empty") {
				t.Errorf("restore over something: %s (%v)", out, err)
			}
		})
	}
}

// onlyOwners looks that nobody else can read what was perhaps encrypted.
func onlyOwners(t *testing.T, dir string) {
	t.Helper()
	ok(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is %v", path, info.Mode())
		}
		return err
	}))
}

func TestRescueWithTheWrongIdentitySaysWhose(t *testing.T) {
	t.Parallel()
	folder, point, _, _ := rescueArchive(t, true, newFixture(10))
	other := filepath.Join(t.TempDir(), "other.txt")
	writeIdentity(t, other, newKeys(t))
	for _, args := range [][]string{{"list"}, {"restore", point, filepath.Join(t.TempDir(), "out")}} {
		out, err := rescue(t, folder, other, args...)
		if err == nil || !strings.HasPrefix(out, "rescue.sh: points/"+point+" can't be opened with "+other+": it is encrypted to age1") || strings.Count(out, "\n") != 1 {
			t.Errorf("%v: %s (%v)", args, out, err)
		}
	}
}

func TestRescueSaysWhatIsNotInstalled(t *testing.T) {
	t.Parallel()
	folder, point, identity, _ := rescueArchive(t, true, newFixture(10))
	for _, missing := range []string{"jq", "zstd", "age"} {
		bin := t.TempDir()
		for _, name := range []string{"bash", "dirname", "jq", "zstd", "age", "sha256sum", "mktemp", "rm", "cp", "cat", "head", "sort", "ls", "tail", "grep"} {
			path, err := exec.LookPath(name)
			ok(t, err)
			if name != missing {
				ok(t, os.Symlink(path, filepath.Join(bin, name)))
			}
		}
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "bash"), filepath.Join(folder, "rescue.sh"), "-i", identity, "restore", point, filepath.Join(bin, "out"))
		cmd.Env = []string{"PATH=" + bin}
		out, err := cmd.CombinedOutput()
		if err == nil || string(out) != "rescue.sh: "+missing+" is not installed, and it can't be done without: install it\n" {
			t.Errorf("without %s: %s (%v)", missing, out, err)
		}
	}
}

func TestRescueWithoutIdentitySaysWhose(t *testing.T) {
	t.Parallel()
	folder, point, _, _ := rescueArchive(t, true, newFixture(10))
	out, err := rescue(t, folder, "", "list")
	if err != nil || !strings.Contains(out, point) {
		t.Errorf("list: %s (%v)", out, err)
	}
	out, err = rescue(t, folder, "", "restore", point, filepath.Join(t.TempDir(), "out"))
	if err == nil || !strings.Contains(out, "encrypted to age1") {
		t.Errorf("restore: %s (%v)", out, err)
	}
}

// flip changes one byte of a file.
func flip(t *testing.T, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	ok(t, err)
	b[at%len(b)] ^= 0x10
	ok(t, os.Chmod(path, 0o600))
	ok(t, os.WriteFile(path, b, 0o600))
}

func TestRescueHelpNeedsNeitherKeyNorArchive(t *testing.T) {
	t.Parallel()
	folder, _, _, _ := rescueArchive(t, true, newFixture(10))
	for _, f := range []string{"archive.json", "archive.copy.json"} {
		ok(t, os.Remove(filepath.Join(folder, f)))
	}
	out, err := rescue(t, folder, "", "help")
	if err != nil || !strings.Contains(out, "restore POINT DIR") {
		t.Errorf("%v: %s", err, out)
	}
}

// An option whose value was forgotten, or is an empty variable, is named.
func TestRescueNamesTheOptionWithoutValue(t *testing.T) {
	t.Parallel()
	folder, _, _, _ := rescueArchive(t, false, newFixture(10))
	for _, args := range [][]string{{"-i"}, {"--identity", "", "list"}, {"-f", "", "list"}, {"--endpoint"}} {
		out, err := rescue(t, folder, "", args...)
		if want := "rescue.sh: " + args[0] + " needs a value (see help)\n"; err == nil || out != want {
			t.Errorf("%q: %v, %s", args, err, out)
		}
	}
}

func TestRescueDoesNotCallAMistypedPointDamaged(t *testing.T) {
	t.Parallel()
	folder, _, identity, _ := rescueArchive(t, true, newFixture(10))
	out, err := rescue(t, folder, identity, "restore", "latst", filepath.Join(t.TempDir(), "out"))
	if err == nil || out != "rescue.sh: there is no recovery point latst in "+folder+"; list prints those that there are\n" {
		t.Errorf("%v: %s", err, out)
	}
}

func TestRescueStopsAtDamage(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		for _, pattern := range []string{"packs/*/*", "index/*", "points/*"} {
			t.Run(fmt.Sprintf("%s encrypted=%v", strings.TrimRight(pattern, "/*"), encrypted), func(t *testing.T) {
				t.Parallel()
				folder, point, identity, _ := rescueArchive(t, encrypted, newFixture(10))
				files, _ := filepath.Glob(filepath.Join(folder, pattern))
				flip(t, files[0], 1000)
				if pattern == "index/*" {
					flip(t, filepath.Join(folder, "index.copy", filepath.Base(files[0])), 1000)
				}
				out, err := rescue(t, folder, identity, "restore", point, filepath.Join(t.TempDir(), "out"))
				key, _ := filepath.Rel(folder, files[0])
				if err == nil || !strings.Contains(out, key) {
					t.Errorf("%s: %s (%v)", key, out, err)
				}
			})
		}
	}
}

// Each index object is there twice: either is enough.
func TestRescueTakesTheCopyOfAnIndexObject(t *testing.T) {
	t.Parallel()
	for _, encrypted := range []bool{false, true} {
		for _, c := range []struct {
			name, pattern string
			spoil         func(path string)
		}{
			{"flipped", "index/*", func(path string) { flip(t, path, 100) }},
			{"missing", "index/*", func(path string) { ok(t, os.Remove(path)) }},
			{"all missing", "index", func(path string) { ok(t, os.RemoveAll(path)) }},
			{"the copy flipped", "index.copy/*", func(path string) { flip(t, path, 100) }},
			{"no copies", "index.copy", func(path string) { ok(t, os.RemoveAll(path)) }},
		} {
			t.Run(fmt.Sprintf("%s encrypted=%v", c.name, encrypted), func(t *testing.T) {
				t.Parallel()
				f := newFixture(10)
				folder, point, identity, _ := rescueArchive(t, encrypted, f)
				paths, err := filepath.Glob(filepath.Join(folder, c.pattern))
				if ok(t, err); len(paths) != 1 {
					t.Fatal(paths)
				}
				name := filepath.Base(indexFiles(t, folder)[0])
				c.spoil(paths[0])
				to := filepath.Join(t.TempDir(), "out")
				out, err := rescue(t, folder, identity, "restore", point, to)
				if err != nil {
					t.Fatalf("%s (%v)", out, err)
				}
				f.checkRescued(t, to)
				said := strings.Contains(out, "index/"+name+" is damaged or missing, its copy index.copy/"+name)
				if want := !strings.Contains(c.pattern, "copy"); said != want {
					t.Errorf("it said %s", out)
				}
			})
		}
	}
}

func indexFiles(t *testing.T, folder string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(folder, "index", "*"))
	ok(t, err)
	return files
}

// A copy without its index object that names blobs in a pack that is gone, as a
// prune leaves it, is in nobody's way.
func TestRescueNeedsNoCopyThatAPruneHasLeft(t *testing.T) {
	t.Parallel()
	f := newFixture(10)
	folder, point, _, _ := rescueArchive(t, false, f)
	script := `set -euo pipefail
cd "$1"
zstd -dqc index/* | sed 's/"pack":"[0-9a-f]*"/"pack":"'$(printf '0%.0s' {1..64})'"/' | zstd -qc >left
mv left index.copy/20260101T000000Z-$(sha256sum <left | head -c 64)`
	out, err := exec.CommandContext(t.Context(), "bash", "-c", script, "-", folder).CombinedOutput()
	if err != nil {
		t.Fatalf("%s (%v)", out, err)
	}
	to := filepath.Join(t.TempDir(), "out")
	if out, err := rescue(t, folder, "", "restore", point, to); err != nil {
		t.Fatalf("%s (%v)", out, err)
	}
	f.checkRescued(t, to)
}

func TestRescueLeavesDamagedRowsOut(t *testing.T) {
	t.Parallel()
	f := newFixture(10)
	folder, point, identity, s := rescueArchive(t, true, f)
	// The blob of table 201 that no other table has lies in the pack of its size.
	a, err := archive.Open(t.Context(), s, readIdentity(t, identity)...)
	ok(t, err)
	p, err := a.Find(t.Context(), point)
	ok(t, err)
	victim := packOf(t, a, p.Manifest.Database.Tables[0].Blobs[1].ID)
	flip(t, filepath.Join(folder, victim), -1+len(mustRead(t, filepath.Join(folder, victim))))

	to := filepath.Join(t.TempDir(), "out")
	out, err := rescue(t, folder, identity, "--skip-damaged", "restore", point, to)
	if err == nil || !strings.Contains(out, "public.events: rows were left out") {
		t.Errorf("%s (%v)", out, err)
	}
	got := mustRead(t, filepath.Join(to, "201.dat"))
	if want := string(f.a1) + "\\.\n\n\n"; string(got) != want {
		t.Errorf("201.dat has %d bytes, not the %d that could be saved", len(got), len(want))
	}
	if !bytes.HasPrefix(mustRead(t, filepath.Join(to, "202.dat")), f.b1) {
		t.Error("202.dat, which is whole, was not restored")
	}
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	ok(t, err)
	return b
}

func readIdentity(t *testing.T, path string) []age.Identity {
	t.Helper()
	ids, err := archive.ReadIdentities(path)
	ok(t, err)
	return ids
}

// packOf finds the pack that has a blob, as FORMAT.md says.
func packOf(t *testing.T, a *archive.Archive, id archive.ID) string {
	t.Helper()
	r, err := a.Reader(t.Context(), archive.ReaderOptions{})
	ok(t, err)
	return archive.PackOf(r, id)
}
