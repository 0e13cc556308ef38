package archive

import (
	"bytes"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
)

// What does not get smaller is not tried with all might, whatever the level; what
// does, is. The proof is what the two levels make of the rest of a blob.
func TestHigherLevelsAreForWhatGetsSmaller(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 3*sampled)
	seed := rand.NewChaCha8([32]byte{})
	_, _ = seed.Read(noise)
	rows := []byte(strings.Repeat("1\t!room:matrix.example.com\tm.room.member\n@user:hs.example.org\t", 4000))
	for _, c := range []struct {
		name    string
		level   int
		plain   []byte
		fastest bool
	}{
		{"rows", 10, rows, false},
		{"picture", 10, append(noise[:sampled:sampled], rows...), true},
		{"picture with a header", 10, append(rows[:sampled/64:sampled/64], append(noise, rows...)...), true},
		{"small picture", 10, noise[:1000], true},
		{"picture at level 1", 1, noise, true},
	} {
		e, err := newCompressor(c.level, 1)
		if err != nil {
			t.Fatal(err)
		}
		fast, err := newEncoder(1, 1)
		if err != nil {
			t.Fatal(err)
		}
		full, err := newEncoder(c.level, 1)
		if err != nil {
			t.Fatal(err)
		}
		want := full.EncodeAll(c.plain, nil)
		if c.fastest {
			want = fast.EncodeAll(c.plain, nil)
		}
		got := e.append([]byte("before"), c.plain)
		if !bytes.Equal(got, append([]byte("before"), want...)) {
			t.Errorf("%s: %d bytes, want %d", c.name, len(got)-len("before"), len(want))
		}
	}
}

func BenchmarkCompressNoise(b *testing.B) {
	noise := make([]byte, 512<<10)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	for _, level := range []int{1, 10} {
		b.Run("level "+strconv.Itoa(level), func(b *testing.B) {
			e, err := newCompressor(level, 1)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(noise)))
			var buf []byte
			for b.Loop() {
				buf = e.append(buf[:0], noise)
			}
		})
	}
}
