package testbed

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
)

// StartS3Counting is [StartS3] of a server that counts the requests it gets,
// for [S3Server.TakeRequests]. Each costs it a line in a file.
func StartS3Counting(ctx context.Context, dir string) (*S3Server, error) {
	return startS3(ctx, dir, true)
}

// TakeRequests returns how many requests for a bucket have come since the last
// call, by operation ("s3_PutObject"), the refused ones included. What came for
// other buckets is forgotten.
func (s *S3Server) TakeRequests(bucket string) (map[string]int, error) {
	f, err := os.OpenFile(s.requests, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("requests of the S3 server: %w", err)
	}
	defer f.Close()
	counts := map[string]int{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// owner bucket [date zone] address requester ID operation key …
		if fields := strings.Fields(lines.Text()); len(fields) > 8 && fields[1] == bucket {
			counts[fields[7]]++
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("requests of the S3 server: %w", err)
	}
	return counts, f.Truncate(0) // the server appends
}
