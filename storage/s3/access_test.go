package s3_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/synapse-maint/synapse-maint/internal/testbed"
	"github.com/synapse-maint/synapse-maint/storage"
	"github.com/synapse-maint/synapse-maint/storage/s3"
)

// setEnv gives the test other credentials than the test process has.
func setEnv(t *testing.T, env []string) {
	t.Helper()
	for _, kv := range env {
		k, v, _ := strings.Cut(kv, "=")
		t.Setenv(k, v)
	}
}

func TestWrongCredentials(t *testing.T) {
	server := testbed.S3(t)
	storeURL := server.URL(server.Bucket(t))
	for name, c := range map[string]struct{ variable, want string }{
		"wrong secret": {"AWS_SECRET_ACCESS_KEY", "the secret access key is wrong: check AWS_SECRET_ACCESS_KEY"},
		"unknown key":  {"AWS_ACCESS_KEY_ID", "the access key ID is unknown: check AWS_ACCESS_KEY_ID"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(c.variable, "not-the-right-one")
			for op, err := range operations(t.Context(), open(t, storeURL)) {
				wantLine(t, op, err, nil, c.want)
			}
		})
	}
}

func TestNoCredentials(t *testing.T) {
	testbed.S3(t) // points the SDK away from files and machine roles
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	_, err := s3.Open(t.Context(), s3.Config{Bucket: "b"})
	if err == nil || !strings.HasPrefix(err.Error(), "open s3://b: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY") {
		t.Errorf("error is %v", err)
	}
}

// TestBackupNeedsNoRightToDelete gives the account what backups need, and no
// more.
func TestBackupNeedsNoRightToDelete(t *testing.T) {
	server := testbed.S3(t)
	bucket := server.Bucket(t)
	setEnv(t, server.LimitedUser(t, bucket, "s3:GetObject", "s3:PutObject", "s3:ListBucket"))
	s := open(t, server.URL(bucket))
	if _, err := s.Put(t.Context(), "there", body, storage.PutOptions{IfAbsent: true}); err != nil {
		t.Fatal(err)
	}
	errs := operations(t.Context(), s)
	wantLine(t, "delete", errs["delete"], fs.ErrPermission, "does not allow s3:DeleteObject to these credentials")
	delete(errs, "delete")
	for op, err := range errs {
		if err != nil {
			t.Errorf("%s: %v", op, err)
		}
	}
}

func TestReadOnlyUser(t *testing.T) {
	server := testbed.S3(t)
	bucket := server.Bucket(t)
	if _, err := open(t, server.URL(bucket)).Put(t.Context(), "there", body, storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	setEnv(t, server.LimitedUser(t, bucket, "s3:GetObject", "s3:ListBucket"))
	errs := operations(t.Context(), open(t, server.URL(bucket)))
	wantLine(t, "put", errs["put"], fs.ErrPermission, "does not allow s3:PutObject")
	wantLine(t, "delete", errs["delete"], fs.ErrPermission, "does not allow s3:DeleteObject")
	for _, op := range []string{"get", "stat", "list"} {
		if errs[op] != nil {
			t.Errorf("%s: %v", op, errs[op])
		}
	}
}

func TestMissingBucket(t *testing.T) {
	t.Parallel()
	server := testbed.S3(t)
	errs := operations(t.Context(), open(t, server.URL("never-made")))
	for op, err := range errs {
		wantLine(t, op, err, storage.ErrNoStore, "create bucket never-made at "+server.Endpoint()+" first")
	}
}

func TestObjectLock(t *testing.T) {
	t.Parallel()
	server := testbed.S3(t)
	bucket := server.LockedBucket(t)
	for _, mode := range []string{"", "governance", "COMPLIANCE"} {
		s := open(t, server.URL(bucket)+"&lock_mode="+mode)
		key, until := "locked-"+mode, time.Now().Add(time.Minute)
		if _, err := s.Put(t.Context(), key, body, storage.PutOptions{IfAbsent: true, RetainUntil: until}); err != nil {
			t.Fatal(err)
		}
		got, err := server.Retention(t, bucket, key)
		if err != nil {
			t.Fatal(err)
		}
		want := strings.ToUpper(mode)
		if want == "" {
			want = "GOVERNANCE"
		}
		if !strings.HasPrefix(got, want+" until "+until.UTC().Format("2006-01-02T15:04")) {
			t.Errorf("retention is %s, want %s until %s", got, want, until.UTC())
		}
		if err := s.Delete(t.Context(), key); err != nil { // hides it; the version stays
			t.Errorf("delete: %v", err)
		}
		if kept, gone := server.DeleteVersions(t, bucket, key); kept != 1 || gone != 0 {
			t.Errorf("%d locked versions were kept, %d could be deleted", kept, gone)
		}
	}
	plain := open(t, server.URL(server.Bucket(t)))
	_, err := plain.Put(t.Context(), "a", body, storage.PutOptions{RetainUntil: time.Now().Add(time.Minute)})
	wantLine(t, "put", err, nil, "has no object lock: use one that was made with it")
}

// What is there is locked again, never for shorter, and the lock's words are those
// of a put.
func TestRetain(t *testing.T) {
	t.Parallel()
	server := testbed.S3(t)
	bucket := server.LockedBucket(t)
	for _, mode := range []string{"governance", "compliance"} {
		s := storage.Sub(open(t, server.URL(bucket)+"&lock_mode="+mode), mode)
		now := time.Now()
		if _, err := s.Put(t.Context(), "a", body, storage.PutOptions{RetainUntil: now.Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Put(t.Context(), "b", body, storage.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, d := range []time.Duration{2 * time.Hour, time.Minute} { // the second is shorter
			for _, key := range []string{"a", "b"} {
				if err := s.(storage.Retainer).Retain(t.Context(), key, now.Add(d)); err != nil {
					t.Errorf("%s, for %s: %v", mode, d, err)
				}
				got, err := server.Retention(t, bucket, mode+"/"+key)
				if want := strings.ToUpper(mode) + " until " + now.Add(2*time.Hour).UTC().Format(time.RFC3339); err != nil || got != want {
					t.Errorf("%s after %s: %s (%v), want %s", key, d, got, err, want)
				}
			}
		}
		if err := s.(storage.Retainer).Retain(t.Context(), "absent", now.Add(time.Hour)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("an absent object: %v", err)
		}
	}
}

func TestRetainWithoutTheRight(t *testing.T) {
	server := testbed.S3(t)
	bucket := server.LockedBucket(t)
	if _, err := open(t, server.URL(bucket)).Put(t.Context(), "a", body, storage.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	setEnv(t, server.LimitedUser(t, bucket, "s3:GetObject", "s3:PutObject", "s3:ListBucket"))
	err := open(t, server.URL(bucket)).Retain(t.Context(), "a", time.Now().Add(time.Hour))
	wantLine(t, "lock", err, fs.ErrPermission, "does not allow s3:PutObjectRetention to these credentials")
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	testbed.S3(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + l.Addr().String()
	_ = l.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are the point
	secure.StartTLS()
	t.Cleanup(secure.Close)
	for name, c := range map[string]struct{ endpoint, want string }{
		"refused":         {nobody, "no connection to " + nobody + ": connect: connection refused"},
		"unknown CA":      {secure.URL, "unknown authority: set AWS_CA_BUNDLE"},
		"TLS on a plain":  {strings.Replace(testbed.S3(t).Endpoint(), "http:", "https:", 1), "no connection to https://"},
		"no such host":    {"http://store.invalid", "no connection to http://store.invalid"},
		"something other": {"http://" + testbed.Proxy(t, nobody).Addr(), "no connection to http://"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := s3.Open(t.Context(), s3.Config{Bucket: "b", Endpoint: c.endpoint, Retries: 2, Backoff: time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			for op, err := range operations(t.Context(), s) {
				wantLine(t, op, err, nil, c.want)
			}
		})
	}
}

func TestHungServerIsGivenUp(t *testing.T) {
	t.Parallel()
	server := testbed.S3(t)
	proxy := testbed.Proxy(t, server.Endpoint())
	proxy.Inject(testbed.Fault{Hang: true})
	s, err := s3.Open(t.Context(), s3.Config{
		Bucket: server.Bucket(t), Endpoint: proxy.URL(), Retries: 1, Backoff: time.Millisecond, Timeout: 100 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	for op, err := range operations(t.Context(), s) {
		wantLine(t, op, err, nil, "no answer from "+proxy.URL()+" for 100ms")
	}
}

// TestSlowServerIsNotGivenUp lets a body take several times as long as a
// connection may be silent.
func TestSlowServerIsNotGivenUp(t *testing.T) {
	t.Parallel()
	server := testbed.S3(t)
	proxy := testbed.Proxy(t, server.Endpoint())
	proxy.Inject(testbed.Fault{Rate: 20 << 20})
	s, err := s3.Open(t.Context(), s3.Config{
		Bucket: server.Bucket(t), Endpoint: proxy.URL(), Retries: -1, Timeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	large := make([]byte, 30<<20) // more than the kernel buffers on the way
	if _, err := s.Put(t.Context(), "slow", large, storage.PutOptions{}); err != nil {
		t.Errorf("put: %v", err)
	}
	if _, err := storage.ReadAll(t.Context(), s, "slow"); err != nil {
		t.Errorf("get: %v", err)
	}
}

func TestWrongClockIsSaid(t *testing.T) {
	t.Parallel()
	testbed.S3(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", time.Now().Add(2*time.Hour+10*time.Second).UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, "<Error><Code>RequestTimeTooSkewed</Code><Message>The difference is too large.</Message></Error>")
	}))
	t.Cleanup(server.Close)
	s, err := s3.Open(t.Context(), s3.Config{Bucket: "b", Endpoint: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	for op, err := range operations(t.Context(), s) {
		wantLine(t, op, err, nil, "this machine's clock is off, 2h0m")
		wantLine(t, op, err, nil, "behind the server's: set it right")
	}
}

// TestCredentialsAreNeverInErrors has a server repeat all that it was sent.
func TestCredentialsAreNeverInErrors(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDSECRETKEYID")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "VERYSECRETACCESSKEY")
	t.Setenv("AWS_SESSION_TOKEN", "VERYSECRETTOKEN")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, "<Error><Code>Odd</Code><Message>%s %s VERYSECRETACCESSKEY</Message></Error>",
			r.Header.Get("Authorization"), r.Header.Get("X-Amz-Security-Token"))
	}))
	t.Cleanup(server.Close)
	s, err := s3.Open(t.Context(), s3.Config{Bucket: "b", Endpoint: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	for op, err := range operations(t.Context(), s) {
		wantLine(t, op, err, nil, "[redacted]")
		noSecrets(t, err)
	}
	for _, bad := range []string{
		"s3://AKIDSECRETKEYID:VERYSECRETACCESSKEY@b/p",
		"s3://b?endpoint=http://AKIDSECRETKEYID:VERYSECRETACCESSKEY@host",
		"s3://b?endpoint=http://AKIDSECRETKEYID:VERYSECRETACCESSKEY@host:port%25",
		"s3://b?secret=VERYSECRETACCESSKEY",
		"s3://b?path_style=%zzVERYSECRETACCESSKEY",
	} {
		u, err := url.Parse(bad)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = s3.ParseURL(u); err == nil {
			t.Errorf("%s was accepted", bad)
			continue
		}
		noSecrets(t, err)
	}
	t.Setenv("AWS_ENDPOINT_URL_S3", "http://AKIDSECRETKEYID:VERYSECRETACCESSKEY@host")
	_, err = s3.Open(t.Context(), s3.Config{Bucket: "b"})
	if err == nil {
		t.Fatal("an endpoint with credentials was accepted")
	}
	noSecrets(t, err)
}

func noSecrets(t *testing.T, err error) {
	t.Helper()
	for e := err; e != nil; e = errors.Unwrap(e) {
		if text := fmt.Sprintf("%v %+v", e, e); strings.Contains(text, "SECRET") && !strings.Contains(text, "AWS_SECRET") ||
			strings.Contains(text, "VERYSECRET") || strings.Contains(text, "AKIDSECRET") {
			t.Errorf("a secret is in the error: %s", text)
		}
	}
}

func TestEndpointFromEnvironment(t *testing.T) {
	server := testbed.S3(t)
	for _, variable := range []string{"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"} {
		t.Run(variable, func(t *testing.T) {
			t.Setenv("AWS_REGION", os.Getenv("AWS_DEFAULT_REGION"))
			t.Setenv(variable, server.Endpoint())
			s := open(t, "s3://"+server.Bucket(t)+"/some/prefix")
			if _, err := s.Put(t.Context(), "a", body, storage.PutOptions{}); err != nil {
				t.Fatal(err)
			}
			if got := s.String(); !strings.HasSuffix(got, "/some/prefix/") {
				t.Errorf("the store calls itself %s", got)
			}
		})
	}
}

// The URL says where requests go and as whom, whatever the environment says.
func TestRequestsGoWhereTheURLSays(t *testing.T) {
	file := filepath.Join(t.TempDir(), "aws")
	for _, v := range []string{"AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"} {
		t.Setenv(v, file)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "OFTHEENVIRONMENT")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "x")
	t.Setenv("AWS_REGION", "us-west-1")
	if err := os.WriteFile(file, []byte("[profile other]\naws_access_key_id = OFTHEPROFILE\naws_secret_access_key = y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var path, signed string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, signed = r.URL.Path, r.Header.Get("Authorization")
		w.WriteHeader(http.StatusForbidden)
	}))
	t.Cleanup(server.Close)
	for params, want := range map[string]string{
		"":                               "Credential=OFTHEENVIRONMENT/" + time.Now().UTC().Format("20060102") + "/us-west-1/s3/",
		"&region=eu-west-1":              "/eu-west-1/s3/",
		"&profile=other":                 "Credential=OFTHEPROFILE/",
		"&profile=other&path_style=true": "Credential=OFTHEPROFILE/",
	} {
		path, signed = "", ""
		_, _ = open(t, "s3://bucket?endpoint="+server.URL+params).Stat(t.Context(), "key")
		if path != "/bucket/key" || !strings.Contains(signed, want) {
			t.Errorf("%q: %s was asked for, signed %s; want %s", params, path, signed, want)
		}
	}
	// With the bucket in the host it is that host which is asked, where its name is
	// known, or looked for. An address has no such hosts.
	path = ""
	named := strings.Replace(server.URL, "127.0.0.1", "localhost", 1)
	s, err := s3.Open(t.Context(), s3.Config{Bucket: "bucket", Endpoint: named, HostStyle: true, Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = open(t, "s3://bucket?endpoint="+named).Stat(t.Context(), "key")
	if path != "/bucket/key" {
		t.Errorf("%q was asked for", path)
	}
	path = ""
	if _, err := s.Stat(t.Context(), "key"); path != "/key" && !strings.Contains(err.Error(), "the name bucket.localhost can't be resolved") {
		t.Errorf("%q was asked for, error is %v", path, err)
	}
}
