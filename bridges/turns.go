package bridges

import (
	"context"
	"sync"

	"github.com/magpie-im/magpie/accounts"
)

// Bounds of what may wait to be done about one bridge.
const (
	waiting      = 256     // tasks
	waitingBytes = 4 << 20 // of what it has published
)

// turns are what is to be done about bridges: about each one thing after the other, in their order, about several side by side.
// They take turns, so that one about which much is to be done holds up no other. Safe for concurrent use.
type turns struct {
	mu    sync.Mutex
	all   map[accounts.Name]*turn
	ready []*turn       // those that have tasks, and are not being looked after
	wake  chan struct{} // has something in it if one is ready, and not all workers know
}

// turn is what is to be done about one bridge.
type turn struct {
	bridge accounts.Name
	tasks  []task
	bytes  int
	busy   bool          // a worker is at it
	room   chan struct{} // closed when there is room again; nil: nobody waits
}

func newTurns() *turns {
	return &turns{all: map[accounts.Name]*turn{}, wake: make(chan struct{}, workers)}
}

// put adds a task. If there is no room for it, it gives what is closed when there may be.
func (q *turns) put(t task) (ok bool, room <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	x := q.all[t.bridge]
	if x == nil {
		x = &turn{bridge: t.bridge}
		q.all[t.bridge] = x
	}
	if n := len(x.tasks); n >= waiting || n > 0 && x.bytes+t.bytes > waitingBytes {
		if x.room == nil {
			x.room = make(chan struct{})
		}
		return false, x.room
	}
	x.tasks = append(x.tasks, t)
	x.bytes += t.bytes
	if len(x.tasks) == 1 && !x.busy {
		q.readyLocked(x)
	}
	return true, nil
}

func (q *turns) readyLocked(x *turn) {
	q.ready = append(q.ready, x)
	select {
	case q.wake <- struct{}{}:
	default: // as many are on their way as there are workers
	}
}

// wait adds a task when there is room for it, not later than ctx.
func (q *turns) wait(ctx context.Context, t task) error {
	for {
		ok, room := q.put(t)
		if ok {
			return nil
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// take gives what is next to be done; done is to be called afterwards. ok is false if there is nothing.
func (q *turns) take() (t task, done func(), ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.ready) == 0 {
		return task{}, nil, false
	}
	x := q.ready[0]
	q.ready[0] = nil
	q.ready = q.ready[1:]
	t, x.tasks[0] = x.tasks[0], task{}
	x.tasks, x.busy = x.tasks[1:], true
	x.bytes -= t.bytes
	if x.room != nil {
		close(x.room)
		x.room = nil
	}
	return t, func() { q.over(x) }, true
}

// over puts a bridge behind the others, if there is more to be done about it.
func (q *turns) over(x *turn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	x.busy = false
	if len(x.tasks) > 0 {
		q.readyLocked(x)
	} else {
		delete(q.all, x.bridge)
	}
}

// run does what is to be done, until ctx ends.
func (q *turns) run(ctx context.Context, do func(task)) {
	for ctx.Err() == nil {
		t, done, ok := q.take()
		if ok {
			do(t)
			done()
			continue
		}
		select {
		case <-ctx.Done():
		case <-q.wake:
		}
	}
}
