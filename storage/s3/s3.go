// Package s3 keeps objects in a bucket of S3 or of a server that speaks its
// protocol. It is the sole user of the AWS SDK.
//
// Each put carries the SHA-256 of its body, which the server checks and keeps;
// a get of a whole object checks it again. Requests that were throttled, cut or
// answered by a server error are repeated; a get that is cut goes on where it
// was. Errors say in one line what to do, and never hold credentials.
//
// It imports storage, the SDK and the standard library. It never lists or makes
// buckets, never deletes versions, and corrects no clock: recovery points are
// named by time, so a wrong clock is an error here.
package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net/http"
	"strings"
	"sync/atomic"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/synapse-maint/synapse-maint/storage"
)

// Store is a [storage.Store] in a bucket. Use [Open].
type Store struct {
	client *sdk.Client
	config Config
	prefix string      // with its slash, or empty
	server string      // host, for error texts
	known  atomic.Bool // the bucket is there: a request has said so

	reached atomic.Bool // there was a connection
}

// String is the store's URL without its parameters.
func (s *Store) String() string { return "s3://" + s.config.Bucket + "/" + s.prefix }

// Put implements [storage.Store]. A locked object can be replaced and deleted,
// but its old version stays in the bucket.
func (s *Store) Put(ctx context.Context, key string, body []byte, opt storage.PutOptions) (storage.Object, error) {
	if err := s.check(ctx, "put", key); err != nil {
		return storage.Object{}, err
	}
	if len(body) > storage.MaxObject {
		return storage.Object{}, s.fail("put", key, fmt.Errorf("larger than %d bytes", storage.MaxObject))
	}
	sum, err := sumOf(body, opt.SHA256)
	if err != nil {
		return storage.Object{}, fmt.Errorf("put %s: %w", key, err)
	}
	in := s.putInput(key, body, sum, opt)
	attempts := 0
	out, err := s.client.PutObject(ctx, in, signSum(sum), countAttempts(&attempts))
	if lost := lostCondition(err, opt); lost != nil {
		return s.settle(ctx, key, body, sum, attempts, lost)
	}
	if err != nil {
		return storage.Object{}, s.fail("put", key, err)
	}
	s.known.Store(true)
	took := hexSum(out.ChecksumSHA256)
	if took != "" && took != hex.EncodeToString(sum[:]) {
		return storage.Object{}, s.fail("put", key, fmt.Errorf("the server took bytes with another SHA-256 (%.16s…): %w", took, storage.ErrDamaged))
	}
	return storage.Object{
		Key: key, Size: int64(len(body)), Tag: value(out.ETag),
		Modified: serverTime(out.ResultMetadata), SHA256: took,
	}, nil
}

func (s *Store) putInput(key string, body []byte, sum [sha256.Size]byte, opt storage.PutOptions) *sdk.PutObjectInput {
	in := &sdk.PutObjectInput{
		Bucket: &s.config.Bucket, Key: new(s.prefix + key), Body: bytes.NewReader(body),
		ContentLength:        new(int64(len(body))),
		ChecksumSHA256:       new(base64.StdEncoding.EncodeToString(sum[:])),
		StorageClass:         types.StorageClass(s.config.StorageClass),
		ServerSideEncryption: types.ServerSideEncryption(s.config.SSE),
	}
	if s.config.SSEKMSKeyID != "" {
		in.SSEKMSKeyId = &s.config.SSEKMSKeyID
	}
	if opt.IfAbsent {
		in.IfNoneMatch = new("*")
	}
	if opt.IfMatch != "" {
		in.IfMatch = &opt.IfMatch
	}
	if !opt.RetainUntil.IsZero() {
		in.ObjectLockMode = types.ObjectLockMode(s.lockMode())
		in.ObjectLockRetainUntilDate = &opt.RetainUntil
	}
	return in
}

// sumOf is the SHA-256 of body, which the caller may know. The server compares
// it with what arrives.
func sumOf(body []byte, known string) (sum [sha256.Size]byte, err error) {
	if known == "" {
		return sha256.Sum256(body), nil
	}
	b, err := hex.DecodeString(known)
	if err != nil || copy(sum[:], b) != len(sum) || len(b) != len(sum) {
		return sum, fmt.Errorf("%q is no SHA-256", known)
	}
	return sum, nil
}

// lostCondition returns what the caller gets if the put's condition did not
// hold, else nil.
func lostCondition(err error, opt storage.PutOptions) error {
	if err == nil || !opt.IfAbsent && opt.IfMatch == "" {
		return nil
	}
	switch code(err) {
	case "PreconditionFailed", "ConditionalRequestConflict":
	case "NoSuchKey": // IfMatch, and the object is gone
		if opt.IfAbsent {
			return nil
		}
	default:
		return nil
	}
	if opt.IfAbsent {
		return fs.ErrExist
	}
	return storage.ErrChanged
}

// settle decides a conditional put whose condition did not hold. If an earlier
// attempt's answer was lost, that attempt may be what broke the condition.
func (s *Store) settle(ctx context.Context, key string, body []byte, sum [sha256.Size]byte, attempts int, lost error) (storage.Object, error) {
	if attempts < 2 {
		return storage.Object{}, s.fail("put", key, lost)
	}
	o, err := s.Stat(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		return storage.Object{}, s.fail("put", key, lost)
	}
	if err != nil {
		return storage.Object{}, err
	}
	ours := o.SHA256 == hex.EncodeToString(sum[:])
	if o.SHA256 == "" && o.Size == int64(len(body)) { // a server that keeps no checksums
		got, err := storage.ReadAll(ctx, s, key)
		if err != nil {
			return storage.Object{}, err
		}
		ours = bytes.Equal(got, body)
	}
	if !ours {
		return storage.Object{}, s.fail("put", key, lost)
	}
	return o, nil
}

// Stat implements [storage.Store].
func (s *Store) Stat(ctx context.Context, key string) (storage.Object, error) {
	if err := s.check(ctx, "stat", key); err != nil {
		return storage.Object{}, err
	}
	out, err := s.client.HeadObject(ctx, &sdk.HeadObjectInput{
		Bucket: &s.config.Bucket, Key: new(s.prefix + key), ChecksumMode: types.ChecksumModeEnabled,
	})
	if err != nil {
		return storage.Object{}, s.fail("stat", key, s.explain(ctx, key, err))
	}
	s.known.Store(true)
	return storage.Object{
		Key: key, Size: value(out.ContentLength), Tag: value(out.ETag),
		Modified: value(out.LastModified), SHA256: hexSum(out.ChecksumSHA256),
	}, nil
}

// explain asks again with a GET after a HEAD has failed: answers to HEAD have
// no body, so they don't tell a missing key from a missing bucket, or a wrong
// secret from a missing right.
func (s *Store) explain(ctx context.Context, key string, err error) error {
	status := status(err)
	if status == 0 || status >= 500 || status == http.StatusNotFound && s.known.Load() {
		return err
	}
	out, getErr := s.client.GetObject(ctx, &sdk.GetObjectInput{
		Bucket: &s.config.Bucket, Key: new(s.prefix + key), Range: new("bytes=0-0"),
	})
	if getErr != nil {
		return getErr
	}
	_ = out.Body.Close()
	return err
}

// List implements [storage.Store]. One request yields 1,000 objects. Keys that
// a [Store] can't have written are left out, unless the bucket is foreign.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[storage.Object, error] {
	return func(yield func(storage.Object, error) bool) {
		if err := storage.CheckPrefix(prefix); err != nil {
			yield(storage.Object{}, fmt.Errorf("list: %w", err))
			return
		}
		pages := sdk.NewListObjectsV2Paginator(s.client, &sdk.ListObjectsV2Input{
			Bucket: &s.config.Bucket, Prefix: new(s.prefix + prefix),
		}, func(o *sdk.ListObjectsV2PaginatorOptions) { o.StopOnDuplicateToken = true })
		for pages.HasMorePages() {
			page, err := pages.NextPage(ctx)
			if err != nil {
				yield(storage.Object{}, s.fail("list", prefix, err))
				return
			}
			s.known.Store(true)
			for i := range page.Contents {
				o := s.listed(&page.Contents[i])
				if (s.config.Foreign || storage.CheckKey(o.Key) == nil) && !yield(o, nil) {
					return
				}
			}
		}
	}
}

func (s *Store) listed(o *types.Object) storage.Object {
	return storage.Object{
		Key: strings.TrimPrefix(value(o.Key), s.prefix), Size: value(o.Size),
		Tag: value(o.ETag), Modified: value(o.LastModified),
	}
}

// Delete implements [storage.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := s.check(ctx, "delete", key); err != nil {
		return err
	}
	_, err := s.client.DeleteObject(ctx, &sdk.DeleteObjectInput{Bucket: &s.config.Bucket, Key: new(s.prefix + key)})
	if err != nil && code(err) != "NoSuchKey" {
		return s.fail("delete", key, err)
	}
	return nil
}

func (s *Store) check(ctx context.Context, op, key string) error {
	if err := storage.CheckKey(key); err != nil && !s.config.Foreign {
		return fmt.Errorf("%s: %w", op, err)
	}
	if err := ctx.Err(); err != nil {
		return s.fail(op, key, err)
	}
	return nil
}

// signSum signs the body's sum, over TLS, too. The SDK need not hash it again.
func signSum(sum [sha256.Size]byte) func(*sdk.Options) {
	sign := middleware.InitializeMiddlewareFunc("SignSum", func(
		ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler,
	) (middleware.InitializeOutput, middleware.Metadata, error) {
		return next.HandleInitialize(v4.SetPayloadHash(ctx, hex.EncodeToString(sum[:])), in)
	})
	return func(o *sdk.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Initialize.Add(sign, middleware.After)
		})
	}
}

// countAttempts counts how often the request is sent.
func countAttempts(n *int) func(*sdk.Options) {
	count := middleware.FinalizeMiddlewareFunc("CountAttempts", func(
		ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler,
	) (middleware.FinalizeOutput, middleware.Metadata, error) {
		*n++
		return next.HandleFinalize(ctx, in)
	})
	return func(o *sdk.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *middleware.Stack) error {
			return stack.Finalize.Insert(count, "Retry", middleware.After)
		})
	}
}

// withChecksum asks for the stored checksum without having the SDK check it: a
// get that may go on after a cut has to hash for itself.
func withChecksum(o *sdk.Options) {
	o.APIOptions = append(o.APIOptions, smithyhttp.SetHeaderValue("X-Amz-Checksum-Mode", "ENABLED"))
}

// hexSum turns a checksum header into hex. Checksums of multipart uploads are
// not of the bytes and are left out.
func hexSum(header *string) string {
	sum, err := base64.StdEncoding.DecodeString(value(header))
	if err != nil || len(sum) != sha256.Size {
		return ""
	}
	return hex.EncodeToString(sum)
}

func value[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
