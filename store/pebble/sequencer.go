package pebble

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/magpie-im/magpie/broker/sessions"
)

// sequencer gives every change its place in one order, which is also that of the log on the disk. mu is held for
// work in memory and for handing a batch to Pebble, which copies it; one goroutine then waits for the disk, batch after
// batch, and moves durable on.
//
// A change is either handed over at once, with a batch of its own (commitLocked), or joins the open batch, which is handed
// over when the disk has nothing to do, or with the next batch of the first kind. So the busier the disk is, the more
// changes share a batch. What has joined cannot be read before it is handed over.
//
// What is applied can be read at once, and is not durable yet. The rule that keeps readers honest: last is set before a
// batch becomes visible, so whoever loads last after reading has a commit that covers all he read.
type sequencer struct {
	db     *pebble.DB
	health *health
	clock  func() time.Time
	// observe is told how long a commit took, and of how many changes it was.
	observe func(took time.Duration, changes int)

	// slots has room for the commits that may wait for the disk. A place in it is taken before mu: with mu held nobody
	// waits for the disk, and Pebble would block beyond its own bound.
	slots chan struct{}

	mu       sync.Mutex
	closed   bool
	number   uint64        // of the last commit, the open one included
	open     *commit       // the batch that changes join; nil: none has
	flying   int           // commits that are handed over and wait for the disk
	loose    int           // those of them that have no place in slots
	freed    chan struct{} // closed when open is handed over; nil: nobody waits for that
	position uint64        // the last one given on free topics
	reserved uint64        // positions up to here may be in use after a crash

	last    atomic.Pointer[commit] // handed over
	durable atomic.Uint64
	reached atomic.Uint64 // positions up to here are durable; moves before durable does

	applied chan *commit // as long as slots and maxLoose: sending to it never blocks
	done    chan struct{}
	landing sync.WaitGroup // commits that are done and wait for mu; as many as may be on their way
}

const (
	// maxLoose is how many commits without a place in slots wait for the disk at most: one, and the last one of all.
	maxLoose = 2
	// maxOpen is from where on changes wait before they join the open batch. It is not handed over before the disk has done
	// what it was given last, however large it is: the engine might wait for the disk to begin a new log.
	maxOpen = 4 << 20
)

// commit is one batch on its way to the disk.
type commit struct {
	seq     *sequencer
	number  uint64
	batch   *pebble.Batch
	since   time.Time
	slot    bool // it has a place in slots
	changes int
	reached uint64 // the last position given when it was handed over
	// flown are the sessions whose flights have joined it; nil: none. Guarded by sequencer.mu.
	flown map[sessions.Key]struct{}
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
		observe: func(time.Duration, int) {},
		slots:   make(chan struct{}, pending),
		applied: make(chan *commit, pending+maxLoose),
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
	return q.place(ctx)
}

// place is reserve for what has to go on when there is little space.
func (q *sequencer) place(ctx context.Context) error {
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

// commitLocked hands a batch over, whose place was reserved, together with the open one. The caller has changed what it
// keeps in memory already, or does so before it lets go of mu: there is no way back. An error means that the store has
// failed for good.
func (q *sequencer) commitLocked(b *pebble.Batch) (*commit, error) {
	if q.closed {
		q.release()
		return nil, errClosed
	}
	if q.open == nil {
		q.number++
		q.open = &commit{seq: q, number: q.number, batch: b, since: q.clock()}
	} else if err := errors.Join(q.open.batch.Apply(b, nil), b.Close()); err != nil {
		q.release()
		q.health.fail(fmt.Errorf("join batches of commit %d: %w", q.open.number, err))
		return nil, q.health.Err()
	}
	c := q.open
	c.changes++
	if err := q.handOverLocked(true); err != nil {
		return nil, err
	}
	return c, nil
}

// openLocked gives the commit that a change is to join. joinedLocked has to follow, with the change in the batch.
func (q *sequencer) openLocked() *commit {
	if q.open == nil {
		q.number++
		q.open = &commit{seq: q, number: q.number, batch: q.db.NewBatch(), since: q.clock()}
	}
	return q.open
}

// joinedLocked says that a change has joined the open commit.
func (q *sequencer) joinedLocked() error {
	q.open.changes++
	if q.flying == 0 {
		return q.handOverLocked(false)
	}
	return nil
}

// handOverLocked hands the open batch to the engine.
func (q *sequencer) handOverLocked(slot bool) error {
	c := q.open
	q.open = nil
	c.slot, c.reached = slot, q.position
	q.last.Store(c) // before the batch can be seen
	if q.freed != nil {
		close(q.freed)
		q.freed = nil
	}
	if err := q.apply(c.batch); err != nil {
		if slot {
			q.release()
		}
		q.health.fail(fmt.Errorf("apply commit %d: %w", c.number, err))
		return q.health.Err()
	}
	q.flying++
	if !slot {
		q.loose++
	}
	q.applied <- c
	return nil
}

// room waits while the open batch is so large that nothing should join it.
func (q *sequencer) room(ctx context.Context) error {
	if err := q.health.writable(); err != nil {
		return err
	}
	return q.waitOpen(ctx)
}

// waitOpen is room for what has to go on when there is little space.
func (q *sequencer) waitOpen(ctx context.Context) error {
	for {
		if err := q.health.err(); err != nil {
			return err
		}
		q.mu.Lock()
		if q.open == nil || q.open.batch.Len() < maxOpen {
			q.mu.Unlock()
			return nil
		}
		if q.freed == nil {
			q.freed = make(chan struct{})
		}
		freed := q.freed
		q.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
			return ctx.Err()
		case <-q.health.failed:
			return q.health.Err()
		}
	}
}

// join adds a change that needs nothing but a batch to the open one.
func (q *sequencer) join(ctx context.Context, fill func(c *commit)) (*commit, error) {
	if err := q.health.writable(); err != nil {
		return nil, err
	}
	return q.joinAnyway(ctx, fill)
}

// joinAnyway is join for what has to go on when there is little space.
func (q *sequencer) joinAnyway(ctx context.Context, fill func(c *commit)) (*commit, error) {
	if err := q.waitOpen(ctx); err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil, errClosed
	}
	c := q.openLocked()
	fill(c)
	return c, q.joinedLocked()
}

// show makes what has joined the open batch readable.
func (q *sequencer) show(ctx context.Context) error {
	return q.showIf(ctx, func(*commit) bool { return true })
}

// showIf is show if the open commit is one that matters.
func (q *sequencer) showIf(ctx context.Context, matters func(c *commit) bool) error {
	q.mu.Lock()
	pending := q.open != nil && matters(q.open)
	q.mu.Unlock()
	if !pending {
		return nil
	}
	if err := q.place(ctx); err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.showLocked()
}

// showLocked uses up or gives back a place.
func (q *sequencer) showLocked() error {
	if q.open == nil || q.closed {
		q.release()
		return nil
	}
	return q.handOverLocked(true)
}

// newest gives a commit that covers every change until now.
func (q *sequencer) newest() *commit {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.newestLocked()
}

func (q *sequencer) newestLocked() *commit {
	if q.open != nil {
		return q.open
	}
	return q.last.Load()
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
	defer q.landing.Wait()
	for c := range q.applied {
		err := c.batch.SyncWait()
		if err != nil {
			q.health.fail(fmt.Errorf("sync commit %d: %w", c.number, err))
		}
		// A failed commit stays in the way of all that come after it, even if the engine says that those went well.
		if q.health.err() == nil {
			q.reached.Store(c.reached)
			q.durable.Store(c.number)
			q.observe(q.clock().Sub(c.since), c.changes)
			batch := c.batch
			c.complete()
			if err := batch.Close(); err != nil {
				q.health.fail(fmt.Errorf("close batch of commit %d: %w", c.number, err))
			}
		}
		// A write under mu may stand still for a while, which must not keep others from hearing of their commits.
		if q.mu.TryLock() {
			q.landedLocked(c)
			q.mu.Unlock()
			continue
		}
		q.landing.Go(func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.landedLocked(c)
		})
	}
}

// landedLocked hands the open batch over when no other one without a place is on its way, which would do so when it has landed:
// more changes share a batch then.
func (q *sequencer) landedLocked(c *commit) {
	q.flying--
	if c.slot {
		q.release()
	} else {
		q.loose--
	}
	if q.open != nil && q.loose == 0 && !q.closed && q.health.err() == nil {
		_ = q.handOverLocked(false) // the store has failed then, and all who wait are told
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
	if q.open != nil && q.health.err() == nil {
		_ = q.handOverLocked(false) // as in landed
	}
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
