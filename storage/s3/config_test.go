package s3_test

import (
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/synapse-maint/synapse-maint/storage/s3"
)

func TestParseURL(t *testing.T) {
	for text, want := range map[string]s3.Config{
		"s3://bucket":             {Bucket: "bucket"},
		"s3://bucket/":            {Bucket: "bucket"},
		"s3://bucket/some/prefix": {Bucket: "bucket", Prefix: "some/prefix"},
		"s3://bucket/prefix/":     {Bucket: "bucket", Prefix: "prefix"},
		"s3://b?endpoint=http://127.0.0.1:9000&region=eu-west-1&path_style=true": {
			Bucket: "b", Endpoint: "http://127.0.0.1:9000", Region: "eu-west-1", PathStyle: true,
		},
		"s3://b?endpoint=https://s3.example.com&path_style=false": {
			Bucket: "b", Endpoint: "https://s3.example.com", HostStyle: true,
		},
		"s3://b?storage_class=STANDARD_IA&sse=aws:kms&sse_kms_key=alias/k&lock_mode=compliance": {
			Bucket: "b", StorageClass: "STANDARD_IA", SSE: "aws:kms", SSEKMSKeyID: "alias/k", LockMode: "compliance",
		},
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s3.ParseURL(u); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%+v, %v; want\n%+v", text, got, err, want)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"file:///a":                        `scheme "file" is not s3`,
		"s3:///prefix":                     "no bucket: it is s3://BUCKET/PREFIX",
		"s3://b:80/p":                      "that is no bucket's name",
		"s3://key:secret@b":                "credentials don't belong in it: set AWS_ACCESS_KEY_ID",
		"s3://b/a/../b":                    `begins with a dot`,
		"s3://b/a//b":                      `empty segment`,
		"s3://b#x":                         "has a fragment",
		"s3://b?endpiont=http://x":         `no parameter "endpiont"; there are endpoint, lock_mode,`,
		"s3://b?region=a&region=b":         "parameter region is there twice",
		"s3://b?path_style=maybe":          `path_style is true or false, not "maybe"`,
		"s3://b?endpoint=127.0.0.1:9000":   "S3 endpoint",
		"s3://b?endpoint=ftp://host":       "it is http://HOST:PORT or https://HOST",
		"s3://b?endpoint=http://u:p@host/": "credentials don't belong in it",
		"s3://b?sse_kms_key=k":             "sse_kms_key needs sse=aws:kms",
		"s3://b?lock_mode=forever":         `lock_mode is GOVERNANCE or COMPLIANCE, not "forever"`,
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s3.ParseURL(u)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error is %v, want %s", text, err, want)
		}
	}
}
