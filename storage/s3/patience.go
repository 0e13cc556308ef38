package s3

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
)

const (
	// firstTries is how often a server is tried that refuses the connection or
	// can't be found, before it was reached once: about five seconds. That is
	// most likely a wrong address or a server that is off. One that was there is
	// waited for as long as any.
	firstTries = 6
	// silence is between two words about tries that go on.
	silence = 10 * time.Second
)

// patience decides for how long a request is tried again, and says so.
type patience struct {
	aws.RetryerV2
	s *Store

	mu   sync.Mutex
	told time.Time
}

// RetryDelay implements [aws.Retryer]: it is asked after each try that failed
// and is to be followed by another one.
func (p *patience) RetryDelay(attempt int, err error) (time.Duration, error) {
	if !p.s.reached.Load() && attempt >= firstTries && noServer(err) {
		return 0, &retry.MaxAttemptsError{Attempt: attempt, Err: err}
	}
	p.tell(err)
	return p.RetryerV2.RetryDelay(attempt, err)
}

// noServer says whether nobody listens at the address, or there is no such name.
func noServer(err error) bool {
	var dns *net.DNSError
	return errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &dns)
}

// tell says what is tried again, now and then: many workers fail at once.
func (p *patience) tell(err error) {
	if p.s.config.Retrying == nil {
		return
	}
	p.mu.Lock()
	now := time.Now()
	quiet := !p.told.IsZero() && now.Sub(p.told) < silence
	if !quiet {
		p.told = now
	}
	p.mu.Unlock()
	if quiet {
		return
	}
	why := p.s.server + " answered" + p.s.said(err)
	if code(err) == "" && status(err) == 0 {
		why = p.s.connection(err).Error()
	}
	p.s.config.Retrying(fmt.Sprintf("%s: %s: trying again", p.s, why))
}
