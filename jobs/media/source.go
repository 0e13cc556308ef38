package media

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// source is where media are.
type source interface {
	// walk yields what there is, of the classes wanted, in the order of
	// archive.ComparePaths. An error is the last.
	walk(ctx context.Context) iter.Seq2[found, error]
	// open opens a file. One that is gone is an fs.ErrNotExist.
	open(ctx context.Context, f *found) (content, error)
	// verdict says, after a walk, why what it saw can't be trusted; nil if it can.
	verdict() error
	close()
}

// content is an open file.
type content interface {
	io.ReadCloser
	// now is its size and time of modification at this moment.
	now() (size int64, modified time.Time, err error)
	// sparse says whether it has holes.
	sparse() bool
}

func (o *Options) source() (source, error) {
	switch {
	case o.Store != nil:
		return newBucket(o), nil
	case o.Dir != "":
		return openFolder(o)
	}
	return nil, errors.New("no media store is configured: give its folder with --media DIR")
}

// name is how messages and the point call the source.
func (o *Options) name() string {
	if o.Store != nil {
		return o.Name
	}
	return o.Dir
}
