package pebble

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// sequencer gives every change its place in one order, which is also that of the log on the disk. mu is held for
// work in memory and for handing a batch to Pebble, which copies it; one goroutine then waits for the disk, batch after
// batch, and moves durable on.
//
// What is applied can be read at once, and is not durable yet. The rule that keeps readers honest: last is set before a
// batch becomes visible, so whoever loads last after reading has a commit that covers all he read.
type sequencer struct {
	db     *pebble.DB
	health *health
	clock  func() time.Time
	// observe is told how long a commit took.
	observe func(time.Duration)

	// slots has room for the commits that may wait for the disk. A place in it is taken before mu: with mu held nobody
	// waits for the disk, and Pebble would block beyond its own bound.
	slots chan struct{}

	mu     sync.Mutex
	closed bool
	number uint64 // of the last commit

	last    atomic.Pointer[commit]
	durable atomic.Uint64

	applied chan *commit // as long as slots: sending to it never blocks
	done    chan struct{}
}

// commit is one batch on its way to the disk.
type commit struct {
	seq    *sequencer
	number uint64
	batch  *pebble.Batch
	since  time.Time
	// closed is the channel that is closed when the commit is durable; nil until somebody waits.
	closed atomic.Pointer[chan struct{}]
}

// ready is what commit.closed points to once it is durable.
var ready = func() *chan struct{} {
	c := make(chan struct{})
	close(c)
	return &c
}()

func newSequencer(db *pebble.DB, h *health, pending int, clock func() time.Time) *sequencer {
	q := &sequencer{
		db:      db,
		health:  h,
		clock:   clock,
		observe: func(time.Duration) {},
		slots:   make(chan struct{}, pending),
		applied: make(chan *commit, pending),
		done:    make(chan struct{}),
	}
	q.last.Store(&commit{seq: q})
	go q.run()
	return q
}

// Wait implements chat.Commit and sessions.Commit.
func (c *commit) Wait(ctx context.Context) error {
	if c.isDurable() {
		return nil
	}
	wait := c.closed.Load()
	if wait == nil {
		fresh := make(chan struct{})
		if c.closed.CompareAndSwap(nil, &fresh) {
			wait = &fresh
		} else {
			wait = c.closed.Load()
		}
	}
	select {
	case <-*wait:
		return nil
	case <-ctx.Done():
		if c.isDurable() {
			return nil
		}
		return ctx.Err()
	case <-c.seq.health.failed:
		if c.isDurable() {
			return nil
		}
		return c.seq.health.Err()
	}
}

func (c *commit) isDurable() bool { return c.seq.durable.Load() >= c.number }

// complete is called after durable was moved on.
func (c *commit) complete() {
	c.batch = nil
	if wait := c.closed.Swap(ready); wait != nil {
		close(*wait)
	}
}

// reserve takes the place of one commit. What it gives back has to be released, or used up by commitLocked.
func (q *sequencer) reserve(ctx context.Context) error {
	if err := q.health.writable(); err != nil {
		return err
	}
	select {
	case q.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-q.health.failed:
		return q.health.Err()
	}
}

func (q *sequencer) release() { <-q.slots }

// commitLocked hands a batch over, whose place was reserved. The caller has changed what it keeps in memory already, or
// does so before it lets go of mu: there is no way back. An error means that the store has failed for good.
func (q *sequencer) commitLocked(b *pebble.Batch) (*commit, error) {
	if q.closed {
		q.release()
		return nil, errClosed
	}
	q.number++
	c := &commit{seq: q, number: q.number, batch: b, since: q.clock()}
	q.last.Store(c) // before the batch can be seen
	if err := q.apply(b); err != nil {
		q.release()
		q.health.fail(fmt.Errorf("apply commit %d: %w", c.number, err))
		return nil, q.health.Err()
	}
	q.applied <- c
	return c, nil
}

// apply turns the ways in which Pebble gives up (a panic, Fatalf, which is one on this path) into an error. The engine must
// not be written to again.
func (q *sequencer) apply(b *pebble.Batch) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("engine: %v", r)
		}
	}()
	if err := q.health.err(); err != nil {
		return err // after a failed sync the engine panics when its buffer is full
	}
	return q.db.ApplyNoSyncWait(b, pebble.Sync)
}

// applying says whether the caller was called, however deep, by apply. It is for the one moment when the engine dies, and
// need not be fast.
func applying() bool {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs)])
	for {
		frame, more := frames.Next()
		if strings.HasSuffix(frame.Function, ".(*sequencer).apply") {
			return true
		}
		if !more {
			return false
		}
	}
}

// run waits for the disk. It is the only one that does so for writes.
func (q *sequencer) run() {
	defer close(q.done)
	for c := range q.applied {
		err := c.batch.SyncWait()
		if err != nil {
			q.health.fail(fmt.Errorf("sync commit %d: %w", c.number, err))
		}
		// A failed commit stays in the way of all that come after it, even if the engine says that those went well.
		if q.health.err() == nil {
			q.durable.Store(c.number)
			q.observe(q.clock().Sub(c.since))
			batch := c.batch
			c.complete()
			if err := batch.Close(); err != nil {
				q.health.fail(fmt.Errorf("close batch of commit %d: %w", c.number, err))
			}
		}
		q.release()
	}
}

// current gives a commit that covers everything that is visible now.
func (q *sequencer) current() *commit { return q.last.Load() }

// settled waits until everything that was visible when it was called is durable.
func (q *sequencer) settled(ctx context.Context) error {
	if err := q.current().Wait(ctx); err != nil {
		return err
	}
	return q.health.err()
}

// close refuses further commits and waits for those that are on their way. It is called once.
func (q *sequencer) close() {
	q.mu.Lock()
	q.closed = true
	close(q.applied)
	q.mu.Unlock()
	<-q.done
}

// write is a change that needs nothing but a batch.
func (q *sequencer) write(ctx context.Context, b *pebble.Batch) (*commit, error) {
	if err := q.reserve(ctx); err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.commitLocked(b)
}
