package testbed

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// LockedBucket makes a bucket with versions and object lock.
func (s *S3Server) LockedBucket(t testing.TB) string {
	t.Helper()
	name := "locked-" + strings.ToLower(rand.Text()[:16])
	_, err := s.client().CreateBucket(t.Context(), &s3.CreateBucketInput{
		Bucket: &name, ObjectLockEnabledForBucket: aws.Bool(true),
		ObjectOwnership: types.ObjectOwnershipBucketOwnerEnforced,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.removeBucket(t, name) })
	return name
}

func (s *S3Server) removeBucket(t testing.TB, name string) {
	t.Helper()
	for _, sub := range []string{"data", "versions", "meta"} {
		if err := os.RemoveAll(filepath.Join(s.root, sub, name)); err != nil {
			t.Error(err)
		}
	}
}

// Retention describes an object's lock: "MODE until TIME".
func (s *S3Server) Retention(t testing.TB, bucket, key string) (string, error) {
	t.Helper()
	out, err := s.client().GetObjectRetention(t.Context(), &s3.GetObjectRetentionInput{Bucket: &bucket, Key: &key})
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s until %s", out.Retention.Mode, out.Retention.RetainUntilDate.UTC().Format(time.RFC3339)), nil
}

// DeleteVersions tries to delete all versions below a prefix for good, as an
// intruder would. It returns how many the bucket's lock kept, and how many not.
func (s *S3Server) DeleteVersions(t testing.TB, bucket, prefix string) (kept, gone int) {
	t.Helper()
	out, err := s.client().ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &bucket, Prefix: &prefix})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range out.Versions {
		_, err := s.client().DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: v.Key, VersionId: v.VersionId})
		switch {
		case err == nil:
			gone++
		case strings.Contains(err.Error(), "AccessDenied") && strings.Contains(err.Error(), "object lock"):
			kept++
		default:
			t.Fatal(err)
		}
	}
	return kept, gone
}

// Hide deletes all objects below a prefix, without their versions: as prune does,
// or an intruder who does not know of them. It returns how many there were.
func (s *S3Server) Hide(t testing.TB, bucket, prefix string) (hidden int) {
	t.Helper()
	out, err := s.client().ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range out.Contents {
		if _, err := s.client().DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: o.Key}); err != nil {
			t.Fatal(err)
		}
	}
	return len(out.Contents)
}

// Undelete removes the delete markers of a bucket with versions, as an operator
// does who takes a deletion back.
func (s *S3Server) Undelete(t testing.TB, bucket string) {
	t.Helper()
	out, err := s.client().ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &bucket})
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range out.DeleteMarkers {
		_, err := s.client().DeleteObject(t.Context(), &s3.DeleteObjectInput{Bucket: &bucket, Key: m.Key, VersionId: m.VersionId})
		if err != nil {
			t.Fatal(err)
		}
	}
}
