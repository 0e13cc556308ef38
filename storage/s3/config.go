package s3

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/synapse-maint/synapse-maint/storage"
)

// Config says which bucket and how to reach it. Credentials are not part of
// it: they come from the AWS SDK's default chain (environment, shared files,
// web identity, instance metadata).
type Config struct {
	Bucket    string
	Prefix    string // what the keys of all objects begin with, without the slash
	Region    string // default: the SDK's (AWS_REGION, profile), else us-east-1
	Endpoint  string // base URL of another server than AWS's; default: AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, profile
	PathStyle bool   // bucket in the path, not the host; always so where there is an endpoint, unless HostStyle
	HostStyle bool   // bucket in the host, also where there is an endpoint

	Profile string // of the shared credentials and configuration files; default: AWS_PROFILE, or default

	StorageClass string // of new objects, as S3 names it; default: the bucket's
	SSE          string // server-side encryption: AES256 or aws:kms; default: the bucket's
	SSEKMSKeyID  string // for aws:kms
	LockMode     string // of retention: GOVERNANCE (default) or COMPLIANCE, which nobody can undo

	// Foreign is for reading a bucket that other programs write to: their keys are
	// what they are, also where no [storage.Store] would write them.
	Foreign bool

	Retries int           // how often a request is repeated; default 8, below zero none
	Backoff time.Duration // longest pause between two tries; default 20 s
	Timeout time.Duration // how long a connection may be silent; default 60 s

	// Retrying is told, in one line, what failed and is tried again: at once, and
	// then every ten seconds. It is called from several goroutines; may be nil.
	Retrying func(text string)
}

// Parameters of a store URL.
var parameters = []string{
	"endpoint", "lock_mode", "path_style", "profile", "region", "sse", "sse_kms_key", "storage_class",
}

// ParseURL reads a store URL:
//
//	s3://BUCKET[/PREFIX][?endpoint=URL&region=…&path_style=true&profile=…&storage_class=…&sse=…&sse_kms_key=…&lock_mode=…]
func ParseURL(u *url.URL) (Config, error) {
	c := Config{Bucket: u.Host, Prefix: strings.Trim(u.Path, "/")}
	switch {
	case u.Scheme != "s3":
		return c, fmt.Errorf("store URL: scheme %q is not s3", u.Scheme)
	case u.User != nil:
		return c, errors.New("store URL: credentials don't belong in it: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
	case u.Fragment != "":
		return c, errors.New("store URL: has a fragment (#)")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return c, fmt.Errorf("store URL of bucket %s: parameters can't be read", c.Bucket)
	}
	for name, values := range query {
		switch {
		case !slices.Contains(parameters, name):
			return c, fmt.Errorf("store URL of bucket %s: no parameter %q; there are %s", c.Bucket, name, strings.Join(parameters, ", "))
		case len(values) > 1:
			return c, fmt.Errorf("store URL of bucket %s: parameter %s is there twice", c.Bucket, name)
		}
	}
	c.Endpoint, c.Region, c.Profile = query.Get("endpoint"), query.Get("region"), query.Get("profile")
	c.StorageClass, c.LockMode = query.Get("storage_class"), query.Get("lock_mode")
	c.SSE, c.SSEKMSKeyID = query.Get("sse"), query.Get("sse_kms_key")
	if text := query.Get("path_style"); text != "" {
		if c.PathStyle, err = strconv.ParseBool(text); err != nil {
			return c, fmt.Errorf("store URL of bucket %s: path_style is true or false, not %q", c.Bucket, text)
		}
		c.HostStyle = !c.PathStyle
	}
	return c, c.check()
}

func (c Config) check() error {
	switch {
	case c.Bucket == "":
		return errors.New("store URL: no bucket: it is s3://BUCKET/PREFIX")
	case strings.ContainsAny(c.Bucket, "/:@ ?#%"):
		return fmt.Errorf("bucket %q: that is no bucket's name", c.Bucket)
	case c.SSEKMSKeyID != "" && c.SSE != "aws:kms":
		return fmt.Errorf("bucket %s: sse_kms_key needs sse=aws:kms", c.Bucket)
	case c.LockMode != "" && !slices.Contains([]string{"GOVERNANCE", "COMPLIANCE"}, strings.ToUpper(c.LockMode)):
		return fmt.Errorf("bucket %s: lock_mode is GOVERNANCE or COMPLIANCE, not %q", c.Bucket, c.LockMode)
	}
	if err := storage.CheckPrefix(c.Prefix); err != nil {
		return fmt.Errorf("bucket %s: prefix: %w", c.Bucket, err)
	}
	return checkEndpoint(c.Endpoint)
}

func checkEndpoint(endpoint string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil: // its text repeats the URL, which may hold a password
		return errors.New("S3 endpoint: not a URL")
	case u.User != nil:
		return fmt.Errorf("S3 endpoint %s: credentials don't belong in it: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", u.Host)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("S3 endpoint %q: it is http://HOST:PORT or https://HOST", endpoint)
	}
	return nil
}
