package sessions

import (
	"container/heap"
	"context"
	"fmt"
	"time"
)

// A will is in the store from before the CONNACK of its connection until it is published or can never be: so it is
// published also if the server dies first. Due is set when the connection has ended; a will that is found without it
// after a crash counts from the last time at which the server is known to have lived.

// WillHandler publishes a will with the rights of its account, as a PUBLISH of a client would be. from is the number of its
// session, 0 if that is unknown. origin is to be stored with what the will becomes; if nothing is stored, the will is taken
// out by the registry.
type WillHandler func(ctx context.Context, w Will, from Number, origin any) Outcome

// SetWillHandler is called once, before the first Connect and before Load.
func (r *Registry) SetWillHandler(h WillHandler) { r.willHandler = h }

// pendingWill is a will whose connection has ended.
type pendingWill struct {
	Will
	number Number
	look   time.Time // when to try: Due, or later if it could not be published then; guarded by wills.mu, as is index
	index  int       // in the heap
}

// willQueue is a heap by look.
type willQueue []*pendingWill

func (q willQueue) Len() int           { return len(q) }
func (q willQueue) Less(i, j int) bool { return q[i].look.Before(q[j].look) }
func (q willQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *willQueue) Push(x any) {
	w := x.(*pendingWill)
	w.index = len(*q)
	*q = append(*q, w)
}
func (q *willQueue) Pop() any {
	last := len(*q) - 1
	w := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	w.index = -1
	return w
}

// addWill has a will published at a time: when it is due, or later if that has failed.
func (r *Registry) addWill(w *pendingWill, look time.Time) {
	r.wills.mu.Lock()
	w.look = look
	if old := r.wills.byKey[w.Key]; old != nil {
		heap.Remove(&r.wills.queue, old.index)
	}
	r.wills.byKey[w.Key] = w
	heap.Push(&r.wills.queue, w)
	r.wills.mu.Unlock()
	r.wakeClock()
}

// takeWill gives the pending will of a session, which nobody else publishes then; nil: there is none.
func (r *Registry) takeWill(k Key) *pendingWill {
	r.wills.mu.Lock()
	defer r.wills.mu.Unlock()
	w := r.wills.byKey[k]
	if w != nil {
		r.removeWillLocked(w)
	}
	return w
}

func (r *Registry) removeWillLocked(w *pendingWill) {
	heap.Remove(&r.wills.queue, w.index)
	delete(r.wills.byKey, w.Key)
}

// nextWill gives the will that is to be tried first, and when; nil: none waits.
func (r *Registry) nextWill() (w *pendingWill, look time.Time) {
	r.wills.mu.Lock()
	defer r.wills.mu.Unlock()
	if len(r.wills.queue) == 0 {
		return nil, time.Time{}
	}
	w = r.wills.queue[0]
	return w, w.look
}

// takeThis takes a will out, if it still waits: its session may have gone on, and ended again with another one.
func (r *Registry) takeThis(w *pendingWill) bool {
	r.wills.mu.Lock()
	defer r.wills.mu.Unlock()
	if r.wills.byKey[w.Key] != w {
		return false
	}
	r.removeWillLocked(w)
	return true
}

// postpone lets a will wait, so that it does not hold up the others.
func (r *Registry) postpone(w *pendingWill, look time.Time) {
	r.wills.mu.Lock()
	defer r.wills.mu.Unlock()
	if r.wills.byKey[w.Key] == w {
		w.look = look
		heap.Fix(&r.wills.queue, w.index)
	}
}

// fireDue publishes a will that is due, unless its session is about to be used: a Connect decides what becomes of it. next is
// when to look again; now: there may be more.
func (r *Registry) fireDue(ctx context.Context) (next time.Time) {
	w, look := r.nextWill()
	now := time.Now()
	if w == nil || look.After(now) {
		return look
	}
	unlock, ok := r.locks.tryLock(w.Key)
	if !ok {
		r.postpone(w, now.Add(willBusy))
		return now
	}
	defer unlock()
	if r.takeThis(w) {
		r.fire(ctx, w)
	}
	return now
}

// willRetry is how long a will waits that could not be published, willBusy one whose session is about to be used.
const (
	willRetry = time.Second
	willBusy  = 20 * time.Millisecond
)

// fire publishes a will that nobody else can get hold of.
func (r *Registry) fire(ctx context.Context, w *pendingWill) {
	err := r.tryFire(ctx, w)
	if err == nil {
		return
	}
	r.log.Warn("will not published", "account", w.Key.Account, "client", w.Key.Client, "err", err)
	r.addWill(w, time.Now().Add(willRetry)) // it stays due: who comes back now comes too late for it
}

func (r *Registry) tryFire(ctx context.Context, w *pendingWill) error {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	if w.number == 0 { // it was found at the start
		n, err := r.numberOf(ctx, w.Key)
		if err != nil {
			return err
		}
		w.number = n
	}
	var out Outcome
	if r.willHandler != nil {
		out = r.willHandler(ctx, w.Will, w.number, WillOrigin{w.Key})
	}
	if out.Fatal != 0 {
		return fmt.Errorf("not decided, reason %#x: %w", out.Fatal, ErrUnavailable)
	}
	commit := out.Commit
	if commit == nil {
		var err error
		if commit, err = r.store.DropWill(ctx, w.Key); err != nil {
			return err
		}
	}
	// It has its place, whatever becomes of ctx, and would come twice if that were taken for a failure.
	err := wait(context.WithoutCancel(ctx), commit)
	if err == nil && out.Deliver != nil {
		out.Deliver()
	}
	if out.Done != nil {
		out.Done(err)
	}
	if err == nil {
		r.metrics.wills.Inc()
	}
	return err
}

// replaceWill settles what becomes of the will of the connection before, and stores the one of the new connection. It is
// published if the session it belonged to is over, and forgotten if the session goes on (MQTT 5, 3.1.3.2.2).
func (r *Registry) replaceWill(ctx context.Context, l *Link, over bool) error {
	old := r.takeWill(l.key)
	l.replaced, l.replacing = old, true
	if old != nil && (over || !old.Due.After(time.Now())) { // due before it came back
		if err := r.tryFire(ctx, old); err != nil {
			return fmt.Errorf("publish will: %w", err)
		}
		l.replaced = nil
	}
	switch {
	case l.will != nil:
		commit, err := r.store.PutWill(ctx, *l.will)
		if err == nil {
			err = wait(ctx, commit)
		}
		if err != nil {
			return fmt.Errorf("save will: %w", err)
		}
	case l.replaced != nil:
		if _, err := r.store.DropWill(ctx, l.key); err != nil {
			return fmt.Errorf("drop will: %w", err)
		}
	}
	return nil
}

// endWill is called when the connection of a will has ended. withheld means that the client took it back with its
// DISCONNECT. expiry is that of the session, in seconds.
func (l *Link) endWill(ctx context.Context, withheld bool, expiry uint32) {
	r, w := l.registry, l.will
	if w == nil {
		return
	}
	if withheld {
		if _, err := r.store.DropWill(ctx, l.key); err != nil {
			r.log.Warn("will not dropped", "account", l.key.Account, "client", l.key.Client, "err", err)
		}
		return
	}
	delay := time.Duration(min(w.DelaySeconds, expiry)) * time.Second
	w.Due = time.Now().Add(delay).Truncate(time.Millisecond)
	pending := &pendingWill{Will: *w, number: l.number}
	if delay == 0 {
		r.fire(ctx, pending)
		return
	}
	if _, err := r.store.PutWill(ctx, *w); err != nil {
		r.log.Warn("delay of will not stored", "account", l.key.Account, "client", l.key.Client, "err", err)
	}
	r.addWill(pending, pending.Due)
}

// loadWills finds the wills that are stored. Those of connections that a crash ended are due by then.
func (r *Registry) loadWills(ctx context.Context) error {
	for after := (Key{}); ; {
		page, err := r.store.Wills(ctx, after, sweepPage)
		if err != nil {
			return fmt.Errorf("load wills: %w", err)
		}
		for _, w := range page {
			after = w.Key
			if w.Due.IsZero() {
				w.Due = r.born.Add(time.Duration(w.DelaySeconds) * time.Second)
			}
			r.addWill(&pendingWill{Will: w}, w.Due)
		}
		if len(page) < sweepPage {
			return nil
		}
	}
}
