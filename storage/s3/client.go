package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"
)

// Open makes a store of the bucket. It looks for credentials and sends no
// request to the bucket: a missing bucket shows at the first use, as
// [storage.ErrNoStore].
func Open(ctx context.Context, c Config) (*Store, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	c.Retries = max(cmp.Or(c.Retries, 8), 0)
	c.Backoff = cmp.Or(c.Backoff, 20*time.Second)
	c.Timeout = cmp.Or(c.Timeout, time.Minute)
	c.Prefix = strings.Trim(c.Prefix, "/")
	cfg, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(c.Region), awsconfig.WithSharedConfigProfile(c.Profile), awsconfig.WithLogger(logging.Nop{}))
	if err != nil {
		return nil, fmt.Errorf("open s3://%s: AWS configuration: %s", c.Bucket, oneLine(err.Error()))
	}
	cfg.Region = cmp.Or(cfg.Region, "us-east-1")
	if cfg.Credentials == nil {
		return nil, noCredentials(c, errors.New("the SDK knows no source"))
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return nil, noCredentials(c, err)
	}
	s := &Store{config: c}
	if c.Prefix != "" {
		s.prefix = c.Prefix + "/"
	}
	s.client = sdk.NewFromConfig(cfg, s.options)
	if err := s.nameServer(); err != nil {
		return nil, err
	}
	return s, nil
}

func noCredentials(c Config, err error) error {
	return fmt.Errorf("open s3://%s: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or give the machine a role (%s)",
		c.Bucket, oneLine(err.Error()))
}

// nameServer finds out where requests go, for error texts and to check what
// came from the environment.
func (s *Store) nameServer() error {
	o := s.client.Options()
	if o.BaseEndpoint == nil {
		s.server = "AWS S3, region " + o.Region
		return nil
	}
	if err := checkEndpoint(*o.BaseEndpoint); err != nil {
		return err
	}
	u, err := url.Parse(*o.BaseEndpoint)
	if err != nil {
		return errors.New("S3 endpoint: not a URL")
	}
	s.server = u.Scheme + "://" + u.Host
	return nil
}

// options sets up the SDK's client.
func (s *Store) options(o *sdk.Options) {
	c := s.config
	if c.Endpoint != "" {
		o.BaseEndpoint = &c.Endpoint
	}
	o.UsePathStyle = c.PathStyle || o.BaseEndpoint != nil && !c.HostStyle
	o.Retryer = &patience{RetryerV2: c.retryer(), s: s}
	o.DisableClockSkewCorrection = true
	// We send and check SHA-256 ourselves, where it matters.
	o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
	o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	client, ok := o.HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		client = awshttp.NewBuildableClient()
	}
	// The SDK's own read timeout counts while a body is sent as well, and would
	// end the put of a large object over a slow line.
	o.HTTPClient = client.WithReadTimeout(0).WithTransportOptions(func(tr *http.Transport) {
		tr.MaxIdleConnsPerHost = 64 // as many as there may be workers, to keep connections
		dial := tr.DialContext
		tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			s.reached.Store(true)
			return &impatientConn{conn, c.Timeout}, nil
		}
	})
}

// impatientConn fails when nothing moves for a while, in either direction: a
// server that hangs must not hang a backup.
type impatientConn struct {
	net.Conn
	timeout time.Duration
}

func (c *impatientConn) Read(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write also extends the wait of the read that goes on meanwhile.
func (c *impatientConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c Config) retryer() aws.RetryerV2 {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts = c.Retries + 1
		o.MaxBackoff = c.Backoff
		o.Backoff = retry.BackoffDelayerFunc(func(attempt int, _ error) (time.Duration, error) {
			pause := min(100*time.Millisecond<<min(attempt, 20), c.Backoff)
			return pause/2 + rand.N(pause/2+1), nil
		})
		// Many workers share the client: when all are throttled at once, each
		// has to be allowed its own retries.
		o.RateLimiter = ratelimit.None
		o.Retryables = append(o.Retryables, retry.IsErrorRetryableFunc(brokenAnswer), retry.RetryableErrorCode{Codes: map[string]struct{}{
			"ConditionalRequestConflict": {}, // S3: "retry the upload"
			"OperationAborted":           {},
			// The body was damaged on its way to the server.
			"BadDigest": {}, "XAmzContentSHA256Mismatch": {}, "IncompleteBody": {},
			"InternalError": {}, "ServiceUnavailable": {},
		}})
	})
}

// brokenAnswer is for lists: their answers are read within the request, and a
// connection that is cut there leaves half a document.
func brokenAnswer(err error) aws.Ternary {
	if status(err) == http.StatusOK && code(err) == "" {
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}
