package mongo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/sessions"
	"github.com/magpie-im/magpie/store/backlogs"
)

// sequencer gives everything that happens to sessions and queues its place in one order, in memory, and has it written in that
// order by one goroutine: whatever has come while that was writing makes up the next batch. The places of steps are their
// positions.
//
// A batch is written until it is written, however often that has to be tried: what has a place and was acknowledged to nobody may
// come late, but nothing that comes after it is there without it. While that takes long those who wait are told that the database
// is unavailable, and nothing new is taken.
type sequencer struct {
	store  *Store
	ctx    context.Context // ends what is written
	cancel func()
	wake   chan struct{}
	ended  chan struct{} // closed when nothing is written any more

	reached atomic.Int64 // everything that was published up to here is there
	delayed atomic.Int64 // how many delayed messages there are
	applied ring

	mu       sync.Mutex
	clock    int64    // the last place
	position int64    // of the last step
	pending  []*batch // in their order
	writing  bool     // the first of them is being written
	weight   int      // of all of them
	stalled  error    // why writing takes long
	closed   bool

	flown    map[string]*flown
	floors   map[sessions.Number]int64 // of queues from which was dropped, and of dropped queues, since the sweep before last
	backlogs *backlogs.Shelf[appended]
	retained *retained

	followedTo int64 // everything up to here has followed from publications
	unnoted    int   // how many publications there were, of which something follows, since that was noted in the database

	voids []void // where nothing counts

	sweptTo int64         // the last sweep began then; only the tender has it
	pace    backlogs.Pace // of sweeps, by the bytes that are published
}

// epochBits is where the epoch is in a place: the places of a store come after those of all that had the database before.
const epochBits = 44

func epochOf(at int64) int64 { return at >> epochBits }

// Bounds of what waits to be written.
const (
	roomWeight = 16 << 20  // bytes after which those wait who can
	mostWeight = 256 << 20 // and after which those fail who cannot
)

func newSequencer(s *Store) *sequencer {
	q := &sequencer{
		store: s, wake: make(chan struct{}, 1), ended: make(chan struct{}),
		clock: s.epoch << epochBits, flown: map[string]*flown{}, floors: map[sessions.Number]int64{},
		retained: newRetained(), backlogs: newBacklogs(),
	}
	q.position, q.sweptTo = q.clock, q.clock
	q.reached.Store(q.clock)
	q.ctx, q.cancel = context.WithCancel(context.Background())
	return q
}

func (q *sequencer) tickLocked() int64 {
	q.clock++
	return q.clock
}

// refusalLocked says why nothing is taken; nil: it is.
func (q *sequencer) refusalLocked() error {
	switch {
	case q.closed:
		return errClosed
	case q.weight > mostWeight:
		return fmt.Errorf("too much is to be written: %w", sessions.ErrUnavailable)
	}
	return q.stalled
}

// openLocked gives the batch that what comes now is written with.
func (q *sequencer) openLocked() *batch {
	if n := len(q.pending); n > 0 && (n > 1 || !q.writing) {
		return q.pending[n-1]
	}
	b := newBatch(q)
	q.pending = append(q.pending, b)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return b
}

// join gives a change its place, when there is room for it. fill must not wait.
func (q *sequencer) join(ctx context.Context, fill func(b *batch, at int64)) (*batch, error) {
	if err := q.room(ctx); err != nil {
		return nil, err
	}
	return q.joinAnyway(fill)
}

// joinAnyway is join for what must not wait.
func (q *sequencer) joinAnyway(fill func(b *batch, at int64)) (*batch, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.refusalLocked(); err != nil {
		return nil, err
	}
	b := q.openLocked()
	b.last = q.tickLocked()
	fill(b, b.last)
	b.add(changeWeight)
	return b, nil
}

// changeWeight is what a change takes besides its content.
const changeWeight = 256

// room waits while much is to be written.
func (q *sequencer) room(ctx context.Context) error {
	for {
		q.mu.Lock()
		err := q.refusalLocked()
		if err != nil || q.weight <= roomWeight {
			q.mu.Unlock()
			return err
		}
		b := q.pending[0]
		q.mu.Unlock()
		if err := b.all().Wait(ctx); err != nil {
			return err
		}
	}
}

// newest gives a commit of all that has a place.
func (q *sequencer) newest() sessions.Commit {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := len(q.pending); n > 0 {
		return q.pending[n-1].all()
	}
	return done{}
}

// show waits until everything that has a place and was published is there to be read.
func (q *sequencer) show(ctx context.Context) error {
	q.mu.Lock()
	var last *batch
	for _, b := range q.pending {
		if len(b.docs) > 0 {
			last = b
		}
	}
	q.mu.Unlock()
	if last == nil {
		return nil
	}
	return (&commit{batch: last, ready: last.inserted}).Wait(ctx)
}

// settle waits until everything is written that has a place and concerns a session.
func (q *sequencer) settle(ctx context.Context, key string) error {
	return q.settled(ctx, func(b *batch) bool {
		_, is := b.keys[key]
		return is
	})
}

// settleAccount is settle for all sessions of an account.
func (q *sequencer) settleAccount(ctx context.Context, account accounts.Name) error {
	return q.settled(ctx, func(b *batch) bool {
		for key := range b.keys {
			if strings.HasPrefix(key, string(account)+" ") {
				return true
			}
		}
		return false
	})
}

// settled waits until the last batch is written that concerns somebody.
func (q *sequencer) settled(ctx context.Context, concerns func(b *batch) bool) error {
	q.mu.Lock()
	var last *batch
	for _, b := range q.pending {
		if concerns(b) {
			last = b
		}
	}
	q.mu.Unlock()
	if last == nil {
		return nil
	}
	return last.all().Wait(ctx)
}

// run writes batches until it is closed and there are none left, or is cancelled.
func (q *sequencer) run() {
	defer close(q.ended)
	defer q.abandon()
	for {
		b, closed := q.take()
		switch {
		case b != nil:
			if !q.write(b) {
				return
			}
		case closed:
			return
		default:
			select {
			case <-q.wake:
			case <-q.ctx.Done():
				return
			}
		}
	}
}

func (q *sequencer) take() (b *batch, closed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.pending) == 0 {
		return nil, q.closed
	}
	q.writing = true
	return q.pending[0], false
}

// write writes a batch; false: it was given up.
func (q *sequencer) write(b *batch) bool {
	q.mu.Lock()
	before := q.followedTo
	q.mu.Unlock()
	if !q.persist(b.first(before).run) {
		return false
	}
	q.reached.Store(b.last)
	close(b.inserted)
	for _, tasks := range b.follow() {
		if !q.persist(tasks.run) {
			return false
		}
	}
	q.mu.Lock()
	q.pending = q.pending[1:]
	q.weight -= b.weight
	q.writing = false
	q.followedTo = b.last
	q.mu.Unlock()
	close(b.done)
	return true
}

// Pauses between tries.
const (
	shortPause = 5 * time.Millisecond
	longPause  = 500 * time.Millisecond
)

// persist does something that may be done again until it succeeds; false: it was given up.
func (q *sequencer) persist(do func(ctx context.Context) error) bool {
	timeout := q.store.cfg.Timeout
	late := time.Now().Add(timeout)
	for pause := shortPause; ; pause = min(2*pause, longPause) {
		until := late
		if now := time.Now(); !until.After(now) {
			until = now.Add(timeout)
		}
		err := q.store.Writable() // it may be that somebody else has the database by now
		if err == nil {
			ctx, cancel := context.WithDeadline(q.ctx, until)
			err = do(ctx)
			cancel()
		}
		if err == nil {
			q.resume()
			return true
		}
		if q.ctx.Err() != nil {
			return false
		}
		if !time.Now().Before(late) {
			q.stall(fmt.Errorf("write to the database: %w: %w", sessions.ErrUnavailable, err))
		}
		t := time.NewTimer(pause)
		select {
		case <-t.C:
		case <-q.ctx.Done():
			t.Stop()
			return false
		}
	}
}

// stall tells those who wait that it takes long.
func (q *sequencer) stall(why error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stalled = why
	for _, b := range q.pending {
		b.delay(why)
	}
}

func (q *sequencer) resume() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stalled = nil
}

// abandon tells those who wait that nothing more is written.
func (q *sequencer) abandon() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, b := range q.pending {
		b.delay(errClosed)
	}
}

// close writes what has a place, as far as that is possible within the time of an operation, and ends. Nobody joins any more.
func (q *sequencer) close() {
	q.mu.Lock()
	if !q.closed && q.unnoted > 0 && q.stalled == nil {
		b := q.openLocked() // so that the next start has little to do
		b.last, b.note = q.tickLocked(), true
	}
	q.closed = true
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	t := time.NewTimer(q.store.cfg.Timeout)
	defer t.Stop()
	select {
	case <-q.ended:
	case <-t.C:
	}
	q.kill()
}

// kill ends at once.
func (q *sequencer) kill() {
	q.cancel()
	<-q.ended
}

// commit is something in a batch. See sessions.Commit.
type commit struct {
	batch    *batch
	ready    <-chan struct{}
	key      string // of a session; empty: of none
	from, to int64  // positions; 0: none
}

func (c *commit) Wait(ctx context.Context) error {
	select {
	case <-c.ready:
		return c.err()
	default:
	}
	select {
	case <-c.ready:
		return c.err()
	case <-c.batch.late:
		return c.batch.why
	case <-ctx.Done():
		return ctx.Err()
	}
}

// err says why it was refused; nil: it was not.
func (c *commit) err() error {
	for pos, err := range c.batch.unfit {
		if c.from <= pos && pos <= c.to {
			return fmt.Errorf("publish: %w: %w", sessions.ErrUnavailable, err)
		}
	}
	if c.key == "" {
		return nil
	}
	return c.batch.fenced[c.key]
}

// done is a commit of what is there already.
type done struct{}

func (done) Wait(context.Context) error { return nil }

var errFenced = fmt.Errorf("somebody else has the database now: %w", sessions.ErrUnavailable)

// errUnfit means that the database does not take a document, whatever it is.
var errUnfit = errors.New("the database does not take it")

// ring remembers the last places that were given to it.
type ring struct {
	mu   sync.Mutex
	is   map[int64]struct{}
	last []int64
	at   int
}

const ringSize = 1 << 14

func (r *ring) has(at int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, has := r.is[at]
	return has
}

func (r *ring) add(at int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.is == nil {
		r.is = map[int64]struct{}{}
	}
	if len(r.last) < ringSize {
		r.last = append(r.last, at)
	} else {
		delete(r.is, r.last[r.at])
		r.last[r.at] = at
		r.at = (r.at + 1) % ringSize
	}
	r.is[at] = struct{}{}
}
