package pebble

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/magpie-im/magpie/accounts"
)

// health knows whether the store can go on. Failing is for good: after an error of the disk nobody knows what is on it, so
// nothing more is acknowledged and the process has to end. Too little space is not: writes are refused until there is more.
type health struct {
	log   *slog.Logger
	fatal func(error)

	failed chan struct{}
	once   sync.Once
	cause  atomic.Pointer[error]
	low    atomic.Bool
	free   atomic.Uint64
	// opening makes a full disk an error too: Open would try for ever.
	opening atomic.Bool
}

func newHealth(log *slog.Logger, fatal func(error)) *health {
	return &health{log: log, fatal: fatal, failed: make(chan struct{})}
}

// fail marks the store failed. Only the first cause counts.
func (h *health) fail(cause error) {
	h.once.Do(func() {
		err := unavailable("store has failed", cause)
		h.cause.Store(&err)
		close(h.failed)
		h.log.Error("store has failed", "err", cause)
		if h.fatal != nil {
			h.fatal(cause)
		}
	})
}

// quit is fail for a goroutine of the engine that must not go on: the engine's state is not to be trusted. What it holds
// by a deferred call is given back, so that writers under way come to an end; what it was doing is never finished.
func (h *health) quit(cause error) {
	h.fail(cause)
	runtime.Goexit()
}

// freeze is quit for a goroutine that is ours, or whose deferred calls would end the process: it stays where it is.
func (h *health) freeze(cause error) {
	h.fail(cause)
	select {}
}

// err is nil as long as the store has not failed.
func (h *health) err() error {
	if p := h.cause.Load(); p != nil {
		return *p
	}
	return nil
}

// Err is err for callers that know that the store has failed: cause is set before failed is closed.
func (h *health) Err() error { return h.err() }

// errLow is what writes get while there is too little space.
var errLow = fmt.Errorf("%w: %w", accounts.ErrUnavailable, ErrFull)

// writable says why nothing can be written.
func (h *health) writable() error {
	if err := h.err(); err != nil {
		return err
	}
	if h.low.Load() {
		return errLow
	}
	return nil
}

// background is told of errors of flushes and compactions, on the goroutine that had them and with a lock of the engine
// held. The engine tries again at once and for ever, which helps against a full disk only, and then not that soon. After
// any other error writes would sooner or later stand still: the store fails.
func (h *health) background(err error) {
	if errors.Is(err, syscall.ENOSPC) && !h.opening.Load() {
		h.setLow(true)
		time.Sleep(fullPause)
		return
	}
	h.quit(fmt.Errorf("background work: %w", err))
}

// fullPause is how long the engine waits before it tries again to write to a full disk.
const fullPause = 100 * time.Millisecond

func (h *health) setLow(low bool) {
	if h.low.Swap(low) == low {
		return
	}
	if low {
		h.log.Error("too little disk space, writes are refused", "free", h.free.Load())
	} else {
		h.log.Warn("enough disk space again", "free", h.free.Load())
	}
}

// watchSpace looks at the free space until ctx ends.
func (h *health) watchSpace(ctx context.Context, fs vfs.FS, dir string, minFree uint64, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for complained := false; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := h.checkSpace(fs, dir, minFree); err != nil && !complained {
			complained = true
			h.log.Warn("free disk space is unknown", "dir", dir, "err", err)
		}
	}
}

// checkSpace looks once. Between minFree and a quarter more nothing changes, so that writes do not come and go.
func (h *health) checkSpace(fs vfs.FS, dir string, minFree uint64) error {
	usage, err := fs.GetDiskUsage(dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("disk usage of %s: %w", dir, err)
	}
	h.free.Store(usage.AvailBytes)
	switch {
	case usage.AvailBytes < minFree:
		h.setLow(true)
	case usage.AvailBytes >= minFree+minFree/4:
		h.setLow(false)
	}
	return nil
}
