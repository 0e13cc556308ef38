package archive

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func testID(n int) ID { return sha256.Sum256(binary.LittleEndian.AppendUint64(nil, uint64(n))) }

// testPack is a pack of n blobs, the IDs of which begin with from.
func testPack(name, from, n int) packRecord {
	p := packRecord{Pack: testID(-name), Blobs: []blobRecord{}}
	for i := range n {
		p.Blobs = append(p.Blobs, blobRecord{ID: testID(from + i), Offset: p.Size, Stored: int64(i + 1), Size: int64(10 * i)})
		p.Size += int64(i + 1)
	}
	return p
}

func TestIndexFindsEveryBlob(t *testing.T) {
	t.Parallel()
	x := newIndex()
	const packs, each = 300, 200 // beyond a segment, and several times the first table
	for p := range packs {
		rec := testPack(p+1, p*each, each)
		x.addPack(&rec, "index/a")
		x.addPack(&rec, "index/b") // named twice: no second place
	}
	for i := range packs * each {
		p, found := first(x.places(testID(i)))
		if !found || p.stored != uint32(i%each+1) || p.size != uint32(10*(i%each)) || x.packs[p.pack].sum != testID(-(i/each+1)) {
			t.Fatalf("blob %d is at %+v, %v", i, p, found)
		}
	}
	if x.has(testID(packs * each)) {
		t.Error("has a blob it was not given")
	}
	if len(x.more) != 0 {
		t.Error("places twice:", len(x.more))
	}
}

func TestIndexPrefersGoodPacks(t *testing.T) {
	t.Parallel()
	x := newIndex()
	for name := range 3 { // the same blob in three packs
		rec := testPack(name+1, 7, 1)
		x.addPack(&rec, "index/a")
	}
	sizes := map[ID]int64{testID(-2): 1, testID(-3): 1}
	x.compare(sizes)                                      // the first is missing
	x.suspect(map[string]bool{packKey(testID(-2)): true}) // the second was found damaged
	var got []ID
	for p := range x.places(testID(7)) {
		got = append(got, x.packs[p.pack].sum)
	}
	if want := []ID{testID(-3), testID(-2)}; !reflect.DeepEqual(got, want) {
		t.Errorf("places: %v", got)
	}
	x.compare(map[ID]int64{testID(-2): 1, testID(-3): 2}) // now the third is short
	if x.has(testID(7)) {
		t.Error("trusts a pack that was found damaged")
	}
	if err := x.absent(testID(7)); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), packKey(testID(-1))) {
		t.Error(err)
	}
}

func TestIndexRoundTrip(t *testing.T) {
	t.Parallel()
	packs := []packRecord{testPack(1, 0, 3), testPack(2, 10, 1)}
	plain, err := marshalIndex(packs, "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseIndex("index/x", plain)
	if err != nil || !reflect.DeepEqual(got, packs) {
		t.Errorf("%+v, %v", got, err)
	}
	for line := range strings.Lines(string(plain)) {
		if _, ok := scanPack([]byte(strings.TrimSuffix(line, "\n"))); !ok && strings.Contains(line, "pack") {
			t.Errorf("the fast road does not read what we write: %s", line)
		}
	}
	// Others may write it otherwise: spaces, further members.
	spaced := strings.ReplaceAll(strings.ReplaceAll(string(plain), ":", " : "), `"size"`, `"new":[],"size"`)
	got, err = parseIndex("index/x", []byte(spaced))
	if err != nil || !reflect.DeepEqual(got, packs) {
		t.Errorf("with spaces: %+v, %v", got, err)
	}
}

func TestIndexRefusesNonsense(t *testing.T) {
	t.Parallel()
	good, _ := marshalIndex([]packRecord{testPack(1, 0, 2)}, "")
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"empty":           {"", ErrCorrupt},
		"another kind":    {`{"format":1,"kind":"point"}` + "\n", ErrCorrupt},
		"a newer format":  {`{"format":2,"kind":"index"}` + "\n", ErrVersion},
		"cut":             {string(good[:len(good)-5]), ErrCorrupt},
		"a gap":           {strings.Replace(string(good), `"offset":1`, `"offset":2`, 1), ErrCorrupt},
		"beyond the pack": {strings.Replace(string(good), `"stored":2`, `"stored":9`, 1), ErrCorrupt},
		"negative":        {strings.Replace(string(good), `"stored":2`, `"stored":-2`, 1), ErrCorrupt},
		"huge blob":       {strings.Replace(string(good), `"size":10}`, `"size":99999999999}`, 1), ErrCorrupt},
		"short ID":        {strings.Replace(string(good), `"pack":"`, `"pack":"ab`, 1), ErrCorrupt},
	} {
		if _, err := parseIndex("index/x", []byte(c.text)); !errors.Is(err, c.want) || !strings.Contains(err.Error(), "index/x") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseIndex(f *testing.F) {
	good, _ := marshalIndex([]packRecord{testPack(1, 0, 2), testPack(2, 5, 0)}, "")
	f.Add(good)
	f.Add([]byte(`{"format":1,"kind":"index"}` + "\n" + `{"pack":"00","size":1,"blobs":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		packs, err := parseIndex("index/x", data)
		if err != nil {
			return
		}
		x := newIndex()
		for i := range packs {
			x.addPack(&packs[i], "index/x")
			for _, b := range packs[i].Blobs {
				if b.Offset < 0 || b.Offset+b.Stored > packs[i].Size || !x.has(b.ID) {
					t.Errorf("blob %+v of %+v", b, packs[i])
				}
			}
		}
		again, err := marshalIndex(packs, "")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseIndex("index/x", again); err != nil || len(got) != len(packs) {
			t.Errorf("not read again: %v", err)
		}
	})
}

// FuzzScanPack: the fast road may refuse, but never read otherwise than JSON.
func FuzzScanPack(f *testing.F) {
	line, _ := json.Marshal(testPack(1, 0, 2))
	f.Add(line)
	f.Fuzz(func(t *testing.T, line []byte) {
		fast, ok := scanPack(line)
		if !ok {
			return
		}
		var slow packRecord
		if err := json.Unmarshal(line, &slow); err != nil || !reflect.DeepEqual(fast, slow) {
			t.Errorf("%s: %+v, JSON says %+v, %v", line, fast, slow, err)
		}
	})
}

func FuzzParseManifest(f *testing.F) {
	m, _ := json.Marshal(&Manifest{Format: 1, Homeserver: "h", Database: &Database{
		TOC: []Blob{{ID: testID(1), Size: 5}}, Tables: []Table{{DumpID: 3, Name: "t", Blobs: []Blob{{ID: testID(2), Size: 9, Open: true}}}},
	}})
	f.Add(m)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := parseManifest("points/x", data)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Error(err)
			}
			return
		}
		for _, blobs := range m.parts() {
			for _, b := range blobs {
				if b.Size < 0 || b.Size > maxBlob {
					t.Errorf("a blob of %d bytes", b.Size)
				}
			}
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	enc, _ := newEncryption(nil, "")
	raw, _ := config{Format: 1, Homeserver: "h", Encryption: enc}.marshal()
	f.Add(raw)
	f.Add([]byte(`{"sha256":"","format":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig(data)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrVersion) {
				t.Error(err)
			}
			return
		}
		if _, err := newKeyring(c, nil); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Error(err)
		}
	})
}

func TestUnknownVersionIsRefused(t *testing.T) {
	t.Parallel()
	raw, err := config{Format: 2, Homeserver: "h"}.marshal()
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"archive.json": func() error { _, err := parseConfig(raw); return err }(),
		"points/x":     func() error { _, err := parseManifest("points/x", []byte(`{"format":2}`)); return err }(),
		"index/x":      func() error { _, err := parseIndex("index/x", []byte(`{"format":2,"kind":"index"}`)); return err }(),
	} {
		if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), name+": unknown format 2 (this program knows 1)") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
