package testbed

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sys/unix"
)

const versitygwVersion = "v1.8.0"

// versitygw returns the path of the server's binary. It is built once for each
// version and Go release, into the user's cache folder.
func versitygw(ctx context.Context) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("build versitygw: %w", err)
	}
	dir := filepath.Join(cache, "synapse-maint", "versitygw-"+versitygwVersion+"-"+runtime.Version())
	bin := filepath.Join(dir, "versitygw")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("build versitygw: %w", err)
	}
	// Test processes of several packages run at once: one builds, the rest wait.
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", fmt.Errorf("build versitygw: %w", err)
	}
	defer lock.Close() // gives the lock back
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("build versitygw: lock %s: %w", lock.Name(), err)
	}
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	cmd := exec.CommandContext(ctx, "go", "install", "-trimpath", "-ldflags", "-s -w",
		"github.com/versity/versitygw/cmd/versitygw@"+versitygwVersion)
	cmd.Dir = dir // outside of any module
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "GOFLAGS=-buildvcs=false", "GOOS=", "GOARCH=", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build versitygw: %w: %s", err, lastLine(string(out)))
	}
	return bin, nil
}

// extendedAttributes says whether the server can keep its metadata with the
// files in dir.
func extendedAttributes(dir string) bool {
	f, err := os.CreateTemp(dir, "attribute-")
	if err != nil {
		return false
	}
	defer os.Remove(f.Name())
	defer f.Close()
	return unix.Fsetxattr(int(f.Fd()), "user.testbed", []byte("1"), 0) == nil
}

// addUser writes the server's file of accounts, which it reads anew at every
// request.
func (s *S3Server) addUser(key, secret string) error {
	s.users.Lock()
	defer s.users.Unlock()
	type account struct {
		Access string `json:"access"`
		Secret string `json:"secret"`
		Role   string `json:"role"`
	}
	var all struct {
		Accounts map[string]account `json:"accessAccounts"`
	}
	file := filepath.Join(s.root, "iam", "users.json")
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &all)
	} else if os.IsNotExist(err) {
		all.Accounts, err = map[string]account{}, nil
	}
	if err != nil {
		return fmt.Errorf("add S3 user: %w", err)
	}
	all.Accounts[key] = account{Access: key, Secret: secret, Role: "user"}
	if text, err = json.Marshal(all); err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}

// client has full access, for what needs the server's own interface.
func (s *S3Server) client() *s3.Client {
	return s3.New(s3.Options{
		Region: s3Region, BaseEndpoint: aws.String(s.endpoint), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(s3RootKey, s.secret, ""),
	})
}

func (s *S3Server) putPolicy(ctx context.Context, bucket, policy string) error {
	_, err := s.client().PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: &bucket, Policy: &policy})
	return err
}
