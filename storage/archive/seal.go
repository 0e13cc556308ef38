package archive

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/synapse-maint/synapse-maint/storage"
)

const (
	// maxBlob bounds a blob's plain bytes, and so every buffer here.
	maxBlob = 32 << 20
	// maxMeta bounds the plain bytes of an index object or manifest.
	maxMeta = 1 << 30
	// window is zstd's: what a match can reach back. COPY text repeats itself
	// within rows' distance, and each encoder keeps about two windows.
	window = 1 << 20
)

// codec holds the coders that are the same for all of an archive. They are made
// when first needed: listing points does not need a decoder of blobs.
type codec struct {
	blobDecoder func() (*zstd.Decoder, error)
	metaDecoder func() (*zstd.Decoder, error)
	metaEncoder func() (*zstd.Encoder, error)
}

func newCodec() *codec {
	return &codec{
		blobDecoder: sync.OnceValues(func() (*zstd.Decoder, error) {
			return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxBlob), zstd.WithDecoderMaxWindow(maxBlob),
				zstd.IgnoreChecksum(true)) // its SHA-256 says more
		}),
		metaDecoder: sync.OnceValues(func() (*zstd.Decoder, error) {
			return zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxMeta))
		}),
		metaEncoder: sync.OnceValues(func() (*zstd.Encoder, error) {
			return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true))
		}),
	}
}

// newEncoder makes the encoder of a writer's blobs. One encoder serves as many
// goroutines at once as it is told, each with tables and a window of its own
// (about 3 MiB at the default level). The content checksum is zstd's default.
func newEncoder(level, workers int) (*zstd.Encoder, error) {
	return zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(max(level, 1))),
		zstd.WithEncoderConcurrency(workers),
		zstd.WithWindowSize(window),
		zstd.WithEncoderCRC(true),
		zstd.WithZeroFrames(true))
}

// sealMeta compresses and, in an encrypted archive, encrypts metadata.
func (a *Archive) sealMeta(plain []byte) ([]byte, error) {
	enc, err := a.codec.metaEncoder()
	if err != nil {
		return nil, err
	}
	sealed := enc.EncodeAll(plain, nil)
	if a.keyring.encrypted() {
		if sealed, err = encrypt(nil, sealed, a.keyring.meta); err != nil {
			return nil, err
		}
	}
	if len(sealed) > storage.MaxObject {
		return nil, fmt.Errorf("%d bytes of metadata are more than an object may have (%d)", len(sealed), storage.MaxObject)
	}
	return sealed, nil
}

// unsealMeta undoes sealMeta. Its errors name key.
func (a *Archive) unsealMeta(key string, sealed []byte) ([]byte, error) {
	if a.keyring.locked != nil {
		return nil, a.keyring.locked
	}
	if a.keyring.encrypted() {
		var err error
		if sealed, err = a.keyring.decrypt(nil, sealed, "the metadata", true); err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
	}
	dec, err := a.codec.metaDecoder()
	if err != nil {
		return nil, err
	}
	plain, err := dec.DecodeAll(sealed, nil)
	if err != nil {
		return nil, corrupt(key, "%v", err)
	}
	return plain, nil
}

// openBlob undoes the sealing of a blob: it appends the plain bytes to dst[:0]
// and checks them against the blob's ID and size. scratch is for the bytes
// between decryption and decompression; it returns both, grown.
func (a *Archive) openBlob(dst, scratch, stored []byte, id ID, size int) (plain, tmp []byte, err error) {
	if a.keyring.encrypted() {
		if scratch, err = a.keyring.decrypt(scratch[:0], stored, "the data", a.keyring.opens); err != nil {
			return dst, scratch, err
		}
		stored = scratch
	}
	dec, err := a.codec.blobDecoder()
	if err != nil {
		return dst, scratch, err
	}
	if cap(dst) < size {
		dst = make([]byte, 0, size)
	}
	dst, err = dec.DecodeAll(stored, dst[:0])
	switch {
	case err != nil:
		return dst, scratch, fmt.Errorf("%w: %w", ErrCorrupt, err)
	case len(dst) != size:
		return dst, scratch, fmt.Errorf("%w: %d bytes, not %d", ErrCorrupt, len(dst), size)
	case a.keyring.id(dst) != id:
		return dst, scratch, fmt.Errorf("%w: its bytes are not those its ID names", ErrCorrupt)
	}
	return dst, scratch, nil
}
