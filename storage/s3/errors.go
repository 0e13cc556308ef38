package s3

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/synapse-maint/synapse-maint/storage"
)

// fail makes an error of a request into one line: operation, object, reason,
// what to do. It wraps the errors of package storage and fs, not the SDK's,
// whose texts are long and may repeat what was sent.
func (s *Store) fail(op, key string, err error) error {
	tries := ""
	if m := (*retry.MaxAttemptsError)(nil); errors.As(err, &m) && m.Attempt > 1 {
		tries = fmt.Sprintf(" (tried %d times)", m.Attempt)
	}
	return fmt.Errorf("%s %s%s: %w%s", op, s, key, s.reason(op, err), tries)
}

func (s *Store) reason(op string, err error) error {
	for _, known := range []error{
		context.Canceled, context.DeadlineExceeded,
		storage.ErrChanged, storage.ErrDamaged, fs.ErrExist,
	} {
		if !errors.Is(err, known) {
			continue
		}
		if code(err) == "" && status(err) == 0 && !isSDK(err) {
			return err // our own text
		}
		return known
	}
	if code(err) != "" || status(err) != 0 {
		return s.answer(op, err)
	}
	if isSDK(err) {
		return s.connection(err)
	}
	return err
}

// answer explains an error that the server has answered.
func (s *Store) answer(op string, err error) error {
	switch c := code(err); c {
	case "NoSuchKey", "NotFound":
		return fs.ErrNotExist
	case "NoSuchBucket":
		return fmt.Errorf("%w: create bucket %s at %s first", storage.ErrNoStore, s.config.Bucket, s.server)
	case "AccessDenied", "Forbidden", "AllAccessDisabled", "AccountProblem":
		return fmt.Errorf("%w: %s does not allow %s to these credentials%s", fs.ErrPermission, s.server, right(op), s.said(err))
	case "SignatureDoesNotMatch":
		return fmt.Errorf("the secret access key is wrong: check AWS_SECRET_ACCESS_KEY (%s at %s)", c, s.server)
	case "InvalidAccessKeyId", "XAdminUserNotFound":
		return fmt.Errorf("the access key ID is unknown: check AWS_ACCESS_KEY_ID (%s at %s)", c, s.server)
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestExpired":
		return fmt.Errorf("the credentials have expired: renew them (%s at %s)", c, s.server)
	case "InvalidToken":
		return fmt.Errorf("the session token is not valid: check AWS_SESSION_TOKEN (%s at %s)", c, s.server)
	case "RequestTimeTooSkewed", "RequestInTheFuture":
		return fmt.Errorf("this machine's clock is off%s: set it right", skew(err))
	case "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "MovedPermanently":
		return fmt.Errorf("bucket %s is in another region%s: set region in the store's URL or AWS_REGION%s",
			s.config.Bucket, bucketRegion(err), s.said(err))
	case "InvalidObjectState":
		return fmt.Errorf("the object is in an archive storage class: restore it to a readable one first%s", s.said(err))
	case "SlowDown", "ServiceUnavailable":
		return fmt.Errorf("%s is overloaded: try again later, or with fewer jobs%s", s.server, s.said(err))
	case "BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch":
		return fmt.Errorf("what was sent did not arrive as it was: look for a proxy, a network device or memory that alters bytes%s", s.said(err))
	case "":
		return fmt.Errorf("the answer of %s can't be read%s", s.server, s.said(err))
	default:
		if lacksObjectLock(err) {
			return fmt.Errorf("bucket %s has no object lock: use one that was made with it, or no retention", s.config.Bucket)
		}
		return fmt.Errorf("%s answered%s", s.server, s.said(err))
	}
}

// lacksObjectLock knows the answer to a put with retention in a bucket without
// it, which has no code of its own.
func lacksObjectLock(err error) bool {
	api := smithy.APIError(nil)
	return errors.As(err, &api) && strings.Contains(strings.ReplaceAll(api.ErrorMessage(), " ", ""), "ObjectLockConfiguration")
}

// right names the permission that an operation needs.
func right(op string) string {
	return map[string]string{
		"put": "s3:PutObject", "get": "s3:GetObject", "stat": "s3:GetObject",
		"list": "s3:ListBucket", "delete": "s3:DeleteObject", "lock": "s3:PutObjectRetention",
	}[op]
}

// said is what the server wrote: code, message and status.
func (s *Store) said(err error) string {
	text := code(err)
	if r := (*smithyhttp.ResponseError)(nil); text == "" && errors.As(err, &r) {
		text = r.Err.Error()
	}
	if api := smithy.APIError(nil); errors.As(err, &api) && api.ErrorMessage() != "" && api.ErrorMessage() != text {
		text += ": " + api.ErrorMessage()
	}
	return fmt.Sprintf(" (%s, HTTP %d)", s.redact(strings.TrimPrefix(text, ": ")), status(err))
}

// redact makes one line of what a server wrote and removes the credentials from
// it: some repeat what they were sent.
func (s *Store) redact(text string) string {
	c, err := s.client.Options().Credentials.Retrieve(context.Background()) // cached
	if err != nil {                                                         // the words of a server can't be checked then
		return "its text is not shown"
	}
	for _, secret := range []string{c.SecretAccessKey, c.SessionToken, c.AccessKeyID} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[redacted]")
		}
	}
	return oneLine(text)
}

// connection explains why there was no answer.
func (s *Store) connection(err error) error {
	var unknown x509.UnknownAuthorityError
	var wrongHost x509.HostnameError
	switch {
	case errors.As(err, &unknown):
		return fmt.Errorf("the certificate of %s is of an unknown authority: set AWS_CA_BUNDLE to its certificate", s.server)
	case errors.As(err, &wrongHost):
		return fmt.Errorf("the certificate of %s is for another host", s.server)
	}
	text := ""
	var dns *net.DNSError
	var op *net.OpError
	if u := (*url.Error)(nil); errors.As(err, &u) {
		text = ": " + oneLine(u.Err.Error())
	}
	switch {
	case errors.As(err, &dns):
		text = ": the name " + dns.Name + " can't be resolved: " + dns.Err // its host, or with the bucket before it
	case errors.As(err, &op) && op.Op == "dial":
		text = ": " + op.Err.Error() // the address was said
	}
	if t := (interface{ Timeout() bool })(nil); errors.As(err, &t) && t.Timeout() {
		return fmt.Errorf("no answer from %s for %s%s", s.server, s.config.Timeout, text)
	}
	if text == "" {
		text = ": " + s.redact(err.Error())
	}
	return fmt.Errorf("no connection to %s%s", s.server, text)
}

func isSDK(err error) bool {
	var op *smithy.OperationError
	return errors.As(err, &op)
}

// code is the server's word for the error, or empty.
func code(err error) string {
	if api := smithy.APIError(nil); errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// status is the answer's HTTP status, or 0.
func status(err error) int {
	if r := (*smithyhttp.ResponseError)(nil); errors.As(err, &r) && r.Response != nil {
		return r.HTTPStatusCode()
	}
	return 0
}

func skew(err error) string {
	r := (*awshttp.ResponseError)(nil)
	if !errors.As(err, &r) || r.Response == nil {
		return ""
	}
	server, err := http.ParseTime(r.Response.Header.Get("Date"))
	if err != nil {
		return ""
	}
	off := time.Since(server).Round(time.Second)
	if off < 0 {
		return fmt.Sprintf(", %s behind the server's", -off)
	}
	return fmt.Sprintf(", %s ahead of the server's", off)
}

func bucketRegion(err error) string {
	r := (*awshttp.ResponseError)(nil)
	if !errors.As(err, &r) || r.Response == nil {
		return ""
	}
	if region := r.Response.Header.Get("X-Amz-Bucket-Region"); region != "" {
		return ", " + region
	}
	return ""
}

// serverTime is when the server says that it answered.
func serverTime(m middleware.Metadata) time.Time {
	if r, ok := awsmiddleware.GetRawResponse(m).(*smithyhttp.Response); ok {
		if at, err := http.ParseTime(r.Header.Get("Date")); err == nil {
			return at
		}
	}
	return time.Now()
}

func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + "…"
	}
	return text
}
