package s3

import (
	"cmp"
	"context"
	"strings"
	"time"

	sdk "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

func (s *Store) lockMode() string {
	return cmp.Or(strings.ToUpper(s.config.LockMode), string(types.ObjectLockModeGovernance))
}

// Retain implements [storage.Retainer]. A server refuses to make a lock shorter as
// it refuses who may not lock at all: only then it is asked how long the lock is.
func (s *Store) Retain(ctx context.Context, key string, until time.Time) error {
	if err := s.check(ctx, "lock", key); err != nil {
		return err
	}
	_, err := s.client.PutObjectRetention(ctx, &sdk.PutObjectRetentionInput{
		Bucket: &s.config.Bucket, Key: new(s.prefix + key),
		Retention: &types.ObjectLockRetention{Mode: types.ObjectLockRetentionMode(s.lockMode()), RetainUntilDate: &until},
	})
	if err == nil || code(err) != "" && s.lockedFor(ctx, key, until) {
		return nil
	}
	return s.fail("lock", key, err)
}

// lockedFor says whether an object is known to be locked until then, to the
// second, which is as long as servers count.
func (s *Store) lockedFor(ctx context.Context, key string, until time.Time) bool {
	out, err := s.client.GetObjectRetention(ctx, &sdk.GetObjectRetentionInput{Bucket: &s.config.Bucket, Key: new(s.prefix + key)})
	return err == nil && out.Retention != nil && !value(out.Retention.RetainUntilDate).Before(until.Truncate(time.Second))
}
