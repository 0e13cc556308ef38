package testbed

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// write makes the items' files, in parallel, and notes the hashes.
func (m *Media) write(ctx context.Context, items []*MediaItem) error {
	var next atomic.Int64
	var failed atomic.Bool
	errs := make([]error, 2*runtime.NumCPU())
	var workers sync.WaitGroup
	for w := range errs {
		workers.Go(func() {
			fw := fileWriter{buffer: make([]byte, 256<<10), sum: sha256.New()}
			for !failed.Load() {
				n := next.Add(1) - 1
				if n >= int64(len(items)) {
					return
				}
				err := ctx.Err()
				if err == nil {
					err = m.writeItem(&fw, items[n])
				}
				if err != nil {
					errs[w] = err
					failed.Store(true)
				}
			}
		})
	}
	workers.Wait()
	return errors.Join(errs...)
}

func (m *Media) writeItem(w *fileWriter, i *MediaItem) error {
	file := filepath.Join(m.Dir, i.Path())
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	w.sum.Reset()
	if err := w.write(file, m.bytes(i.stream), i.Size, w.sum, i.Created); err != nil {
		return err
	}
	i.SHA256 = hex.EncodeToString(w.sum.Sum(nil))
	if len(i.Thumbnails) == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Join(m.Dir, i.thumbnailFolder()), 0o755); err != nil {
		return err
	}
	for _, t := range i.Thumbnails {
		if err := w.write(filepath.Join(m.Dir, i.ThumbnailPath(t)), m.bytes(t.stream), t.Size, nil, i.Created.Add(time.Second)); err != nil {
			return err
		}
	}
	return nil
}

// bytes are random: as incompressible as pictures are.
func (m *Media) bytes(stream uint64) io.Reader {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], m.options.Seed)
	binary.LittleEndian.PutUint64(seed[8:], stream)
	return rand.NewChaCha8(seed)
}

// fileWriter is what a worker keeps from file to file.
type fileWriter struct {
	buffer []byte
	sum    hash.Hash
}

func (w *fileWriter) write(path string, from io.Reader, size int64, sum io.Writer, at time.Time) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	for size > 0 {
		b := w.buffer[:min(size, int64(len(w.buffer)))]
		_, _ = from.Read(b) // ChaCha8 has no end and no errors
		if sum != nil {
			_, _ = sum.Write(b)
		}
		if _, err := f.Write(b); err != nil {
			return err
		}
		size -= int64(len(b))
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Chtimes(path, at, at)
}

// remove deletes items as Synapse does: their files, not the folders of two
// letters.
func (m *Media) remove(gone map[*MediaItem]bool) error {
	var left []*MediaItem
	for _, i := range m.Items {
		if !gone[i] {
			left = append(left, i)
			continue
		}
		if err := errors.Join(os.Remove(filepath.Join(m.Dir, i.Path())), os.RemoveAll(filepath.Join(m.Dir, i.thumbnailFolder()))); err != nil {
			return err
		}
	}
	m.Items = left
	return nil
}
