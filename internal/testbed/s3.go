package testbed

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	s3Region    = "us-east-1"
	s3RootKey   = "testbed-root"
	s3StartWait = 20 * time.Second
)

// S3Server is a running versitygw: a real S3 server whose buckets are folders
// and whose objects are plain files, so that a test can look at them and
// damage them.
type S3Server struct {
	root     string // holds data, versions, meta, iam
	endpoint string
	secret   string
	requests string // file with a line for each request; empty: none are counted
	cmd      *exec.Cmd
	exited   chan struct{} // closed when the server has ended
	users    sync.Mutex
	watch    *watcher // removes root when this process ends; nil if root is the caller's
}

// S3 returns the S3 server of this test process, which it starts at the first
// call. That call also points the AWS_* environment of the process at it, once
// and before any parallel test goes on, so that the SDK's default credentials
// and programs that the test starts find it.
func S3(t testing.TB) *S3Server {
	t.Helper()
	s, err := sharedS3()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var sharedS3 = sync.OnceValues(func() (*S3Server, error) {
	if err := sweepS3Folders(); err != nil {
		return nil, err
	}
	root := s3Folder(os.Getpid())
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, fmt.Errorf("folder of the S3 server: %w", err)
	}
	w, err := watch(root, nil)
	if err != nil {
		return nil, err
	}
	s, err := StartS3(context.Background(), root)
	if err != nil {
		return nil, err
	}
	s.watch = w
	for _, kv := range s.Env() {
		k, v, _ := strings.Cut(kv, "=")
		if err := os.Setenv(k, v); err != nil {
			return nil, err
		}
	}
	return s, nil
})

// s3Folder is where the shared server of a test process keeps its objects.
// A watcher removes it at the process's end, and the next process one whose
// watcher was killed too.
func s3Folder(pid int) string {
	return filepath.Join(os.TempDir(), "synapse-maint-s3-"+strconv.Itoa(pid))
}

func sweepS3Folders() error {
	old, err := filepath.Glob(filepath.Join(os.TempDir(), "synapse-maint-s3-*"))
	if err != nil {
		return err
	}
	for _, dir := range old {
		_, text, _ := strings.Cut(filepath.Base(dir), "s3-")
		pid, err := strconv.Atoi(text)
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(dir) // somebody else's leftovers: best effort
		}
	}
	return nil
}

// StartS3 starts a server that keeps its buckets below dir, on a free loopback
// port. It ends with [S3Server.Stop], and with this process in any case.
func StartS3(ctx context.Context, dir string) (*S3Server, error) {
	return startS3(ctx, dir, false)
}

func startS3(ctx context.Context, dir string, count bool) (*S3Server, error) {
	bin, err := versitygw(ctx)
	if err != nil {
		return nil, err
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &S3Server{root: dir, secret: rand.Text()}
	if count {
		s.requests = filepath.Join(dir, "requests")
	}
	for _, sub := range []string{"data", "versions", "meta", "iam"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("start S3 server: %w", err)
		}
	}
	for try := 0; ; try++ {
		err := s.start(ctx, bin)
		if err == nil {
			return s, nil
		}
		if try == 5 { // somebody else may take the port that was free a moment ago
			return nil, fmt.Errorf("start S3 server: %w", err)
		}
	}
}

func (s *S3Server) start(ctx context.Context, bin string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	_ = l.Close()
	// A path of its own tells this server from another that got the port.
	health := "/healthy-" + strings.ToLower(rand.Text())
	args := []string{
		"--port", addr, "--region", s3Region, "--keep-alive", "--quiet", "--health", health,
		"--iam-dir", filepath.Join(s.root, "iam"), "--iam-cache-disable", "--access-log", s.requests, "posix",
		"--versioning-dir", filepath.Join(s.root, "versions"),
	}
	if !extendedAttributes(s.root) {
		args = append(args, "--sidecar", filepath.Join(s.root, "meta"))
	}
	log, err := os.Create(filepath.Join(s.root, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(bin, append(args, filepath.Join(s.root, "data"))...)
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+s3RootKey, "ROOT_SECRET_KEY="+s.secret)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	if err := s.run(); err != nil {
		return err
	}
	s.endpoint = "http://" + addr
	if err := s.await(ctx, s.endpoint+health); err != nil {
		s.Stop()
		return err
	}
	return nil
}

// run starts the server and waits for its end on a thread of its own: the
// kernel sends Pdeathsig when the starting thread ends, not the process.
func (s *S3Server) run() error {
	started, exited := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			_ = s.cmd.Wait() // killed: its status says nothing
		}
		close(exited)
	}()
	s.exited = exited
	return <-started
}

// await returns when the server answers.
func (s *S3Server) await(ctx context.Context, healthURL string) error {
	ctx, cancel := context.WithTimeout(ctx, s3StartWait)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, healthURL, nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-s.exited:
			text, _ := os.ReadFile(filepath.Join(s.root, "log"))
			return fmt.Errorf("versitygw ended: %s", lastLine(string(text)))
		case <-ctx.Done():
			return fmt.Errorf("versitygw does not answer: %w", ctx.Err())
		case <-tick.C:
		}
	}
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// Stop ends the server and waits until it has ended.
func (s *S3Server) Stop() {
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Kill() // an error says that it has ended already
		<-s.exited
	}
}

// Endpoint is the server's base URL.
func (s *S3Server) Endpoint() string { return s.endpoint }

// Env is the environment that gives the AWS SDKs and programs full access, and
// keeps them from looking for credentials elsewhere.
func (s *S3Server) Env() []string { return s3Env(s3RootKey, s.secret) }

func s3Env(key, secret string) []string {
	return []string{
		"AWS_ACCESS_KEY_ID=" + key, "AWS_SECRET_ACCESS_KEY=" + secret, "AWS_SESSION_TOKEN=",
		"AWS_REGION=" + s3Region, "AWS_DEFAULT_REGION=" + s3Region, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull, "AWS_PROFILE=",
	}
}

// URL is the store URL of a bucket.
func (s *S3Server) URL(bucket string) string { return s3URL(s.endpoint, bucket) }

func s3URL(endpoint, bucket string) string {
	q := url.Values{"endpoint": {endpoint}, "region": {s3Region}, "path_style": {"true"}}
	return "s3://" + bucket + "?" + q.Encode()
}

// Dir is the folder in which a bucket's objects lie as files.
func (s *S3Server) Dir(bucket string) string { return filepath.Join(s.root, "data", bucket) }

// MakeBucket makes a bucket.
func (s *S3Server) MakeBucket(name string) error { return os.Mkdir(s.Dir(name), 0o700) }

// Bucket makes a bucket for this test and returns its name.
func (s *S3Server) Bucket(t testing.TB) string {
	t.Helper()
	name := "test-" + strings.ToLower(rand.Text()[:16])
	if err := s.MakeBucket(name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.removeBucket(t, name) })
	return name
}

// LimitedUser adds an account without any rights but those that a bucket's
// policy gives it: the actions (like "s3:GetObject") on the bucket and its
// objects. It returns the account's environment.
func (s *S3Server) LimitedUser(t testing.TB, bucket string, actions ...string) []string {
	t.Helper()
	key, secret := "limited-"+strings.ToLower(rand.Text()[:8]), rand.Text()
	if err := s.addUser(key, secret); err != nil {
		t.Fatal(err)
	}
	policy, err := json.Marshal(map[string]any{
		"Version": "2012-10-17",
		"Statement": []any{map[string]any{
			"Effect": "Allow", "Principal": map[string]any{"AWS": key}, "Action": actions,
			"Resource": []string{"arn:aws:s3:::" + bucket, "arn:aws:s3:::" + bucket + "/*"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.putPolicy(t.Context(), bucket, string(policy)); err != nil {
		t.Fatal(err)
	}
	return s3Env(key, secret)
}
