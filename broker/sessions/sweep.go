package sessions

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	sweepPage  = 500
	sweepPages = 20 // in one round
)

// Load reads what the index and the clock need of everything that is stored: the filters of all sessions, shared groups,
// wills. It is called once, before the first Connect and Publish.
func (r *Registry) Load(ctx context.Context) error {
	beat, err := r.store.LastBeat(ctx)
	if err != nil {
		return fmt.Errorf("last beat: %w", err)
	}
	if last := beat.Add(beatEvery); !beat.IsZero() && last.Before(r.born) {
		r.born = last // nobody was connected after it
	}
	if err := r.loadGroups(ctx); err != nil {
		return err
	}
	for after := (Key{}); ; {
		page, err := r.store.Sessions(ctx, "", after, sweepPage)
		if err != nil {
			return fmt.Errorf("load sessions: %w", err)
		}
		for _, st := range page {
			after = st.Key
			if err := r.loadSession(ctx, st); err != nil {
				return err
			}
		}
		if len(page) < sweepPage {
			break
		}
	}
	if err := r.dropEmptyGroups(ctx); err != nil {
		return err
	}
	return r.loadWills(ctx)
}

// loadSession puts a stored session into the index.
func (r *Registry) loadSession(ctx context.Context, st State) error {
	if st.Number == 0 { // from before there were queues: it gets one with its next connection
		return nil
	}
	r.stored.use(st.Number)
	for _, s := range r.granted(st.Key.Account, st.Options, st.Subscriptions) {
		if _, shared := splitShare(s.Filter); !shared {
			r.reroute(st.Number, s)
		} else if _, err := r.openGroup(ctx, s, false); err != nil {
			return err
		}
	}
	return nil
}

// reroute puts a filter of a stored session into the index, unless it is a shared one or nothing is kept for it.
func (r *Registry) reroute(n Number, s Subscription) {
	if _, shared := splitShare(s.Filter); shared || !queues(s.Filter) {
		return
	}
	r.order.Lock()
	defer r.order.Unlock()
	r.routes.Subscribe(s.Filter, subscriber(n, s))
}

// Run does what has its time: it forgets sessions whose expiry has passed, and publishes wills and delayed messages, and
// counts what waits, until ctx ends.
func (r *Registry) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { r.runClock(ctx) })
	running.Go(func() { r.runBeat(ctx) })
	running.Go(func() { r.runCensus(ctx) })
	return r.runSweep(ctx)
}

// runSweep looks at a bounded number of sessions in each round.
func (r *Registry) runSweep(ctx context.Context) error {
	tick := time.NewTicker(r.cfg.Sweep)
	defer tick.Stop()
	var after Key
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		next, err := r.sweep(ctx, after)
		if err != nil && ctx.Err() == nil {
			r.log.Warn("expired sessions not swept", "err", err)
		}
		after = next
	}
}

// sweep looks at the sessions after a key, and gives the key to go on after.
func (r *Registry) sweep(ctx context.Context, after Key) (Key, error) {
	for range sweepPages {
		page, err := r.store.Sessions(ctx, "", after, sweepPage)
		if err != nil {
			return after, fmt.Errorf("list sessions: %w", err)
		}
		now := time.Now()
		for _, st := range page {
			after = st.Key
			over, err := r.astrayOrOver(ctx, st, now)
			if err != nil {
				return after, err
			}
			if !over {
				continue
			}
			if err := r.expire(ctx, st.Key); err != nil {
				return after, fmt.Errorf("expire session of %s: %w", st.Key.Account, err)
			}
		}
		if len(page) < sweepPage {
			return Key{}, nil
		}
	}
	return after, nil
}

// expire drops a session, unless somebody is about to use it.
func (r *Registry) expire(ctx context.Context, k Key) error {
	unlock, ok := r.locks.tryLock(k)
	if !ok {
		return nil
	}
	defer unlock()
	if l, err := r.current(k); l != nil || err != nil {
		return err
	}
	stored, found, err := r.find(ctx, k)
	if found || !stored.exists || err != nil {
		return err
	}
	if _, err := r.end(ctx, stored.State); err != nil {
		return err
	}
	r.metrics.expired.Inc()
	return nil
}

// end ends a stored session that has no connection: its will is published, and all is forgotten. The caller holds the key.
func (r *Registry) end(ctx context.Context, st State) (Commit, error) {
	// Only what is granted is in the index.
	commit, err := r.forget(ctx, st.Key, st.Number, r.granted(st.Key.Account, st.Options, st.Subscriptions), true)
	if err != nil {
		return nil, err
	}
	r.unsaved.forget(st.Key)
	if w := r.takeWill(st.Key); w != nil {
		if err := r.tryFire(ctx, w); err != nil {
			r.addWill(w, time.Now().Add(willRetry))
			return nil, fmt.Errorf("publish will: %w", err)
		}
	}
	return commit, nil
}

// forget takes a session out of the index, its groups and, if it is stored, the store.
func (r *Registry) forget(
	ctx context.Context, k Key, n Number, subs []Subscription, stored bool,
) (commit Commit, err error) {
	var groups []string
	for _, s := range subs {
		if _, shared := splitShare(s.Filter); shared {
			groups = append(groups, s.Filter)
		} else {
			r.unroute(n, s.Filter)
		}
	}
	if stored {
		if commit, err = r.store.Drop(ctx, k); err != nil {
			for _, s := range subs { // it stays as it was
				r.reroute(n, s)
			}
			return nil, fmt.Errorf("drop session: %w", err)
		}
	}
	r.freeNumber(n)
	for _, name := range groups {
		if failed := r.closeGroup(ctx, name); failed != nil {
			err = failed
		}
	}
	return commit, err
}

// Drop ends a session, connected or not, as an administrator wants it: its connection with the reason "administrative
// action" (0x98), and all that is stored of it. ErrNoSession: there is none.
func (r *Registry) Drop(ctx context.Context, k Key) error {
	if err := r.drop(ctx, k); err != nil {
		return fmt.Errorf("drop %s %.80q: %w", k.Account, k.Client, err)
	}
	return nil
}

func (r *Registry) drop(ctx context.Context, k Key) error {
	unlock, err := r.lock(ctx, k)
	if err != nil {
		return err
	}
	defer unlock()
	old, err := r.current(k)
	if err != nil {
		return err
	}
	if old != nil {
		if err := r.endConnection(ctx, old, reasonAdministrative); err != nil {
			return err
		}
	}
	return r.dropStored(ctx, k, old)
}

// dropStored removes what is stored of a session whose connection, if there was one, has ended. The session is locked.
func (r *Registry) dropStored(ctx context.Context, k Key, old *Link) error {
	stored, _, err := r.find(ctx, k)
	if err != nil {
		return err
	}
	if !stored.exists && old == nil {
		return ErrNoSession
	}
	return r.replace(ctx, stored)
}

// Loaded is the number of sessions in memory, which is that of connections.
func (r *Registry) Loaded() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.links)
}
