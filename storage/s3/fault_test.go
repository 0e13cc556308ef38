package s3_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/s3"
)

// bed is a store behind a proxy, and what is behind it.
type bed struct {
	*s3.Store
	proxy  *testbed.FaultProxy
	direct *s3.Store // the same bucket, without the proxy
	folder string    // where the objects lie as files
}

func newBed(t *testing.T) *bed {
	t.Helper()
	server := testbed.S3(t)
	bucket := server.Bucket(t)
	proxy := testbed.Proxy(t, server.Endpoint())
	return &bed{open(t, proxy.StoreURL(bucket)), proxy, open(t, server.URL(bucket)), server.Dir(bucket)}
}

var body = bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB

// TestFaultsThatPass has each operation survive what a retry can mend.
func TestFaultsThatPass(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]testbed.Fault{
		"503 SlowDown, thrice":                 {Status: 503, Code: "SlowDown", Times: 3},
		"500 InternalError":                    {Status: 500, Code: "InternalError", Times: 2},
		"503 of a load balancer":               {Status: 503, Times: 2},
		"429":                                  {Status: 429, Times: 1},
		"answer lost":                          {LoseAnswer: true, Times: 2},
		"connection cut in the request":        {CutRequest: 100_000, Times: 2},
		"connection cut in the answer":         {CutResponse: 50, Times: 2},
		"connection cut in the answer, late":   {CutResponse: 1<<20 - 1, Times: 1},
		"body damaged on its way to the store": {Op: "PUT", CorruptRequest: true, Times: 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			inject := func() { b.proxy.Reset(); b.proxy.Inject(f) }
			inject()
			if _, err := b.Put(t.Context(), "a/b", body, storage.PutOptions{}); err != nil {
				t.Errorf("put: %v", err)
			}
			inject()
			if got, err := storage.ReadAll(t.Context(), b, "a/b"); err != nil || !bytes.Equal(got, body) {
				t.Errorf("get: %d bytes, %v", len(got), err)
			}
			inject()
			if o, err := b.Stat(t.Context(), "a/b"); err != nil || o.Size != int64(len(body)) {
				t.Errorf("stat: %+v, %v", o, err)
			}
			inject()
			if keys, err := listKeys(t.Context(), b); err != nil || !slices.Equal(keys, []string{"a/b"}) {
				t.Errorf("list: %q, %v", keys, err)
			}
			inject()
			if err := b.Delete(t.Context(), "a/b"); err != nil {
				t.Errorf("delete: %v", err)
			}
			if _, err := b.direct.Stat(t.Context(), "a/b"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("after delete: %v", err)
			}
		})
	}
}

func listKeys(ctx context.Context, s storage.Store) (keys []string, err error) {
	for o, err := range s.List(ctx, "") {
		if err != nil {
			return keys, err
		}
		keys = append(keys, o.Key)
	}
	return keys, nil
}

// operations are all of a store's, on an object that is there.
func operations(ctx context.Context, s storage.Store) map[string]error {
	_, putErr := s.Put(ctx, "new", body, storage.PutOptions{})
	_, getErr := storage.ReadAll(ctx, s, "there")
	_, statErr := s.Stat(ctx, "there")
	_, listErr := listKeys(ctx, s)
	return map[string]error{
		"put": putErr, "get": getErr, "stat": statErr, "list": listErr, "delete": s.Delete(ctx, "there"),
	}
}

// TestFaultsThatStay has each operation end in one clear line.
func TestFaultsThatStay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault testbed.Fault
		is    error
		want  string
	}{
		"403":             {testbed.Fault{Status: 403, Code: "AccessDenied"}, fs.ErrPermission, "does not allow s3:"},
		"overloaded":      {testbed.Fault{Status: 503, Code: "SlowDown"}, nil, "is overloaded: try again later"},
		"server error":    {testbed.Fault{Status: 500, Code: "InternalError"}, nil, "HTTP 500"},
		"wrong secret":    {testbed.Fault{Status: 403, Code: "SignatureDoesNotMatch"}, nil, "the secret access key is wrong"},
		"unknown key":     {testbed.Fault{Status: 403, Code: "InvalidAccessKeyId"}, nil, "the access key ID is unknown"},
		"expired token":   {testbed.Fault{Status: 400, Code: "ExpiredToken"}, nil, "the credentials have expired: renew them"},
		"clock":           {testbed.Fault{Status: 403, Code: "RequestTimeTooSkewed"}, nil, "this machine's clock is off"},
		"no bucket":       {testbed.Fault{Status: 404, Code: "NoSuchBucket"}, storage.ErrNoStore, "create bucket test-"},
		"another region":  {testbed.Fault{Status: 301, Code: "PermanentRedirect"}, nil, "is in another region"},
		"cut for ever":    {testbed.Fault{LoseAnswer: true}, nil, "no connection to http://127.0.0.1:"},
		"list cut":        {testbed.Fault{Op: "LIST", CutResponse: 50}, nil, "can't be read (unexpected EOF, HTTP 200) (tried 9 times)"},
		"something new":   {testbed.Fault{Status: 400, Code: "SomethingNew"}, nil, "(SomethingNew: injected, HTTP 400)"},
		"cold storage":    {testbed.Fault{Status: 403, Code: "InvalidObjectState"}, nil, "archive storage class"},
		"damaged for all": {testbed.Fault{Status: 400, Code: "BadDigest"}, nil, "(BadDigest: injected, HTTP 400) (tried 9 times)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			if _, err := b.direct.Put(t.Context(), "there", body, storage.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			b.proxy.Inject(c.fault)
			for op, err := range operations(t.Context(), b) {
				if c.fault.Op == "LIST" && op != "list" {
					continue
				}
				wantLine(t, op, err, c.is, c.want)
			}
			if c.fault.LoseAnswer || c.fault.Op != "" { // it does happen then
				return
			}
			if keys, err := listKeys(t.Context(), b.direct); err != nil || !slices.Equal(keys, []string{"there"}) {
				t.Errorf("the store holds %q afterwards (%v)", keys, err)
			}
		})
	}
}

// wantLine checks an error: one line, of a kind, with a text, without secrets.
func wantLine(t *testing.T, op string, err, is error, want string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: no error", op)
		return
	}
	text := err.Error()
	if is != nil && !errors.Is(err, is) {
		t.Errorf("%s: error is not %v: %v", op, is, err)
	}
	if !strings.Contains(text, want) {
		t.Errorf("%s: error does not say %q: %v", op, want, err)
	}
	if !strings.HasPrefix(text, op+" s3://") || strings.Contains(text, "\n") || len(text) > 400 {
		t.Errorf("%s: not a line that begins with operation and object: %v", op, err)
	}
	for _, secret := range []string{"AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"} {
		if v := os.Getenv(secret); v != "" && strings.Contains(text, v) {
			t.Errorf("%s: %s is in the error: %v", op, secret, err)
		}
	}
}

func TestLostAnswerOfConditionalPut(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]testbed.Fault{
		"lost":      {Op: "PUT", LoseAnswer: true, Times: 1},
		"lost, 503": {Op: "PUT", LoseAnswer: true, Times: 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			b.proxy.Inject(f)
			o, err := b.Put(t.Context(), "a", []byte("mine"), storage.PutOptions{IfAbsent: true})
			if err != nil {
				t.Fatalf("our own object took our place: %v", err)
			}
			b.proxy.Reset()
			b.proxy.Inject(f)
			if _, err := b.Put(t.Context(), "a", []byte("mine, too"), storage.PutOptions{IfMatch: o.Tag}); err != nil {
				t.Fatalf("our own object changed under us: %v", err)
			}
			b.proxy.Reset()
			b.proxy.Inject(testbed.Fault{Op: "PUT", Status: 503, Code: "SlowDown", Times: 1})
			_, err = b.Put(t.Context(), "a", []byte("mine again"), storage.PutOptions{IfAbsent: true})
			if !errors.Is(err, fs.ErrExist) {
				t.Errorf("error with other bytes there is %v, want %v", err, fs.ErrExist)
			}
		})
	}
}

// TestGetGoesOn cuts a large get again and again: each answer brings it on.
func TestGetGoesOn(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	if _, err := b.Put(t.Context(), "a", body, storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	b.proxy.Reset()
	b.proxy.Inject(testbed.Fault{Op: "GET", CutResponse: 200_000})
	got, err := storage.ReadAll(t.Context(), b, "a")
	if err != nil || !bytes.Equal(got, body) {
		t.Fatalf("%d bytes of %d: %v", len(got), len(body), err)
	}
	if n := b.proxy.Count("GET"); n != 6 {
		t.Errorf("took %d requests of 200,000 bytes, want 6", n)
	}
	b.proxy.Reset()
	b.proxy.Inject(testbed.Fault{Op: "GET", CutResponse: 1000})
	_, err = storage.ReadAll(t.Context(), b, "a")
	wantLine(t, "get", err, nil, "cut off at byte 9000 of 1048576, 9 times")
}

func TestGetGoesOnOnlyInTheSameObject(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	if _, err := b.Put(t.Context(), "a", body, storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	b.proxy.Inject(testbed.Fault{
		Op: "GET", CutResponse: 200_000, Times: 1,
		Answered: func(r *http.Request) {
			if _, err := b.direct.Put(r.Context(), "a", body[1:], storage.PutOptions{}); err != nil {
				t.Error(err)
			}
		},
	})
	_, err := storage.ReadAll(t.Context(), b, "a")
	wantLine(t, "get", err, storage.ErrChanged, "while it was read")
}

func TestTruncatedPutAcknowledgedIsNoticed(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.proxy.Inject(testbed.Fault{Op: "PUT", Answered: func(*http.Request) {
		if err := os.Truncate(filepath.Join(b.folder, "a"), int64(len(body)/2)); err != nil {
			t.Error(err)
		}
	}})
	o, err := b.Put(t.Context(), "a", body, storage.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.Stat(t.Context(), "a"); err != nil || got.Size == o.Size {
		t.Errorf("stat does not show it: %+v, %v", got, err)
	}
	_, err = storage.ReadAll(t.Context(), b, "a")
	wantLine(t, "get", err, storage.ErrDamaged, "the store recorded "+o.SHA256)
}

// What the server says that it took is compared with what was sent; of one that
// says nothing the object has no checksum, so that nobody relies on it.
func TestChecksumInTheAnswerOfAPut(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	other := sha256.Sum256([]byte("other"))
	b.proxy.Inject(testbed.Fault{Op: "PUT", Checksum: new(base64.StdEncoding.EncodeToString(other[:])), Times: 1})
	_, err := b.Put(t.Context(), "a", body, storage.PutOptions{})
	wantLine(t, "put", err, storage.ErrDamaged, "the server took bytes with another SHA-256 (d9298a10d1b07358…)")
	b.proxy.Inject(testbed.Fault{Op: "PUT", Checksum: new(""), Times: 1})
	if o, err := b.Put(t.Context(), "a", body, storage.PutOptions{}); err != nil || o.SHA256 != "" {
		t.Errorf("%+v, %v", o, err)
	}
	o, err := b.Put(t.Context(), "a", body, storage.PutOptions{})
	if want := sha256.Sum256(body); err != nil || o.SHA256 != hex.EncodeToString(want[:]) {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestDamageIsNoticed(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	if _, err := b.Put(t.Context(), "a", body, storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	b.proxy.Inject(testbed.Fault{Op: "GET", CorruptResponse: true, Times: 1})
	_, err := storage.ReadAll(t.Context(), b, "a")
	wantLine(t, "get", err, storage.ErrDamaged, "SHA-256")
	if _, err := storage.ReadAll(t.Context(), b, "a"); err != nil {
		t.Errorf("undamaged: %v", err)
	}
	f, err := os.OpenFile(filepath.Join(b.folder, "a"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("X"), 777_777); err != nil {
		t.Fatal(err)
	}
	_, err = storage.ReadAll(t.Context(), b, "a")
	wantLine(t, "get", err, storage.ErrDamaged, "SHA-256")
}

func TestFewRequests(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	ctx := t.Context()
	for name, c := range map[string]struct {
		do   func() error
		want int
	}{
		"put":         {func() error { _, err := b.Put(ctx, "a", body, storage.PutOptions{}); return err }, 1},
		"put a new":   {func() error { _, err := b.Put(ctx, "b", body, storage.PutOptions{IfAbsent: true}); return err }, 1},
		"get missing": {func() error { _, err := b.Get(ctx, "c", 0, -1); return ignore(err, fs.ErrNotExist) }, 1},
		"list":        {func() error { _, err := listKeys(ctx, b); return err }, 1},
		"delete":      {func() error { return b.Delete(ctx, "d") }, 1},
	} {
		b.proxy.Reset()
		if err := c.do(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n := b.proxy.Count(); n != c.want {
			t.Errorf("%s takes %d requests, want %d", name, n, c.want)
		}
	}
	b.proxy.Reset()
	if _, err := b.Stat(ctx, "c"); !errors.Is(err, fs.ErrNotExist) || b.proxy.Count() != 1 {
		t.Errorf("stat of a missing key takes %d requests in a bucket that is known (%v)", b.proxy.Count(), err)
	}
}

func ignore(err, expected error) error {
	if errors.Is(err, expected) {
		return nil
	}
	return err
}

// What the URL says of new objects arrives with each put, and only then.
func TestOptionsOfThePutReachTheServer(t *testing.T) {
	t.Parallel()
	server := testbed.S3(t)
	bucket := server.Bucket(t)
	proxy := testbed.Proxy(t, server.Endpoint())
	for params, want := range map[string]http.Header{
		"": {},
		"&storage_class=STANDARD_IA&sse=AES256": {
			"X-Amz-Storage-Class": {"STANDARD_IA"}, "X-Amz-Server-Side-Encryption": {"AES256"},
		},
		"&sse=aws:kms&sse_kms_key=alias/k": {
			"X-Amz-Server-Side-Encryption": {"aws:kms"}, "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id": {"alias/k"},
		},
	} {
		var seen http.Header
		proxy.Reset()
		proxy.Inject(testbed.Fault{Op: "PUT", Path: "/a/b", Answered: func(r *http.Request) { seen = r.Header.Clone() }})
		s := open(t, proxy.StoreURL(bucket)+params)
		if _, err := s.Put(t.Context(), "a/b", body, storage.PutOptions{}); err != nil {
			t.Errorf("%q: %v", params, err)
		}
		for _, name := range []string{"X-Amz-Storage-Class", "X-Amz-Server-Side-Encryption", "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"} {
			if seen.Get(name) != want.Get(name) {
				t.Errorf("%q: %s is %q, want %q", params, name, seen.Get(name), want.Get(name))
			}
		}
		if seen.Get("X-Amz-Checksum-Sha256") == "" {
			t.Errorf("%q: no checksum", params)
		}
	}
}
