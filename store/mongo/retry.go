package mongo

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
)

// pause is how long to wait before something is tried again. It grows.
type pause time.Duration

const (
	firstPause = pause(5 * time.Millisecond)
	maxPause   = pause(500 * time.Millisecond)
)

// wait waits, or until ctx ends.
func (p *pause) wait(ctx context.Context) {
	t := time.NewTimer(time.Duration(*p))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
	*p = min(2**p, maxPause)
}

// retried does something that may be done again until it does not fail for a reason that passes, or ctx ends.
func retried(ctx context.Context, do func() error) error {
	for p := firstPause; ; p.wait(ctx) {
		err := do()
		if err == nil || ctx.Err() != nil || !passing(err) {
			return err
		}
	}
}

// Codes of errors of servers that are passing: another one becomes the primary, or it starts or stops.
var passingCodes = []int{6, 7, 89, 91, 112, 133, 189, 262, 9001, 10107, 11600, 11602, 13435, 13436, 14031, 64, 100}

// passing says whether what failed may succeed when it is tried again.
func passing(err error) bool {
	if mongo.IsNetworkError(err) || mongo.IsTimeout(err) && !errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	var server mongo.ServerError
	if !errors.As(err, &server) {
		return false
	}
	if server.HasErrorLabel("RetryableWriteError") || server.HasErrorLabel("TransientTransactionError") {
		return true
	}
	for _, code := range passingCodes {
		if server.HasErrorCode(code) {
			return true
		}
	}
	return false
}
