package sessions

import (
	"context"
	"fmt"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

const (
	sweepPage  = 500
	sweepPages = 20 // in one round
)

// Run forgets sessions whose expiry has passed, until ctx ends. It looks at a bounded number of sessions in each round.
func (r *Registry) Run(ctx context.Context) error {
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
			if !r.over(st, now) {
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
	if _, found, err := r.find(ctx, k); found || err != nil {
		return err
	}
	if _, err := r.store.Drop(ctx, k); err != nil {
		return err
	}
	r.unsaved.forget(k)
	r.metrics.expired.Inc()
	return nil
}

// Info is what an administrator sees of a session.
type Info struct {
	Key           Key
	Version       byte
	Remote        string // empty: not connected
	Connected     bool
	Persistent    bool
	Left          time.Time // of the last connection; zero while connected, and after a crash
	Subscriptions int
	InFlight      int
	Behind        bool // connected: there is more for it than it has been sent
}

// Sessions gives the sessions of an account, stored ones first.
func (r *Registry) Sessions(ctx context.Context, account accounts.Name) ([]Info, error) {
	loaded := make(map[Key]Info)
	for _, l := range r.linksOf(account) {
		loaded[l.key] = l.info()
	}
	var out []Info
	for after := (Key{Account: account}); ; {
		page, err := r.store.Sessions(ctx, account, after, sweepPage)
		if err != nil {
			return nil, fmt.Errorf("sessions of %s: %w", account, err)
		}
		for _, st := range page {
			after = st.Key
			info, connected := loaded[st.Key]
			if !connected {
				info = Info{Key: st.Key, Version: st.Version, Persistent: true, Left: st.Left,
					Subscriptions: len(st.Subscriptions), InFlight: len(st.Flights)}
			}
			delete(loaded, st.Key)
			out = append(out, info)
		}
		if len(page) < sweepPage {
			break
		}
	}
	for _, info := range loaded {
		out = append(out, info)
	}
	return out, nil
}

// Loaded is the number of sessions in memory, which is that of connections.
func (r *Registry) Loaded() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.links)
}

func (l *Link) info() Info {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Info{Key: l.key, Version: l.version, Remote: l.remote, Connected: true, Persistent: l.persistent,
		Subscriptions: l.subs.len(), InFlight: l.inFlight, Behind: l.stream.behind || len(l.stream.ahead) > 0}
}
