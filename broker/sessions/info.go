package sessions

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

// Info is what an administrator sees of a session.
type Info struct {
	Key           Key
	Version       byte
	Connected     bool
	Remote        string    // of the connection
	Since         time.Time // of the connection
	Left          time.Time // of the last connection; zero while connected
	Persistent    bool
	Expiry        time.Duration // after its connection; -1: never
	Subscriptions int
	InFlight      int             // sent on this connection and not acknowledged
	Behind        bool            // connected: there is more for it than it has been sent
	Token         accounts.Digest // that it was opened with; zero: the password
	Name          string          // what its owner calls it
	Invisible     bool

	// Of free topics; what is in flight counts too.
	Queued      int       // messages in its queue
	QueuedBytes int64     // of these
	Oldest      time.Time // of these; zero: there is none
}

// Detail is all that an administrator sees of a session.
type Detail struct {
	Info
	Filters []Subscription
	Will    *Will // nil: none; Due is zero while the session is connected
}

// lookTime bounds the time that one call of Sessions spends on looking at queues.
const lookTime = 2 * time.Second

// Sessions gives up to limit sessions after a key, ordered by account and client id; an empty account means all accounts.
// There may be fewer, because looking at their queues took long. more says that there may be others after the last one.
func (r *Registry) Sessions(
	ctx context.Context, account accounts.Name, after Key, limit int,
) (page []Info, more bool, err error) {
	stored, err := r.store.Sessions(ctx, account, after, limit)
	if err != nil {
		return nil, false, fmt.Errorf("list sessions: %w", err)
	}
	more = len(stored) == limit
	until := Key{}
	if more {
		until = stored[limit-1].Key
	}
	volatile := r.volatileSessions(account, after, until, limit)
	more = more || len(volatile) == limit
	start := time.Now()
	for len(page) < limit && len(stored)+len(volatile) > 0 {
		if len(page) > 0 && time.Since(start) > lookTime {
			return page, true, nil
		}
		if len(stored) == 0 || len(volatile) > 0 && volatile[0].key.compare(stored[0].Key) < 0 {
			page = append(page, volatile[0].info())
			volatile = volatile[1:]
			continue
		}
		info, err := r.storedInfo(ctx, stored[0])
		if err != nil {
			return nil, false, fmt.Errorf("list sessions: %w", err)
		}
		page = append(page, info)
		if len(volatile) > 0 && volatile[0].key == stored[0].Key { // it became another one meanwhile
			volatile = volatile[1:]
		}
		stored = stored[1:]
	}
	return page, more || len(stored)+len(volatile) > 0, nil
}

// Heads gives all sessions of an account without what is in their queues, in the order of client ids: it looks at none.
func (r *Registry) Heads(ctx context.Context, account accounts.Name) ([]Info, error) {
	var all []Info
	now := time.Now()
	for after := (Key{}); ; {
		page, err := r.store.Sessions(ctx, account, after, sweepPage)
		if err != nil {
			return nil, fmt.Errorf("sessions of %s: %w", account, err)
		}
		for _, st := range page {
			after = st.Key
			if info, _ := r.head(st); info.Connected || !r.over(st, now) {
				all = append(all, info)
			}
		}
		if len(page) < sweepPage {
			break
		}
	}
	for _, l := range r.linksOf(account) {
		if !l.persistent {
			all = append(all, l.info())
		}
	}
	slices.SortFunc(all, func(a, b Info) int { return a.Key.compare(b.Key) })
	return slices.CompactFunc(all, func(a, b Info) bool { return a.Key == b.Key }), nil
}

// storedInfo is that of a session that is stored, connected or not.
func (r *Registry) storedInfo(ctx context.Context, st State) (Info, error) {
	info, acked := r.head(st)
	var err error
	info.Queued, info.QueuedBytes, info.Oldest, err = r.store.QueueSize(ctx, st.Number, acked)
	return info, err
}

// head is storedInfo without the queue, and how far the session has come in that.
func (r *Registry) head(st State) (info Info, acked uint64) {
	info = Info{
		Key: st.Key, Version: st.Version, Left: r.leftAt(st), Subscriptions: len(st.Subscriptions),
		Token: st.Token, Name: st.Name, Invisible: st.Invisible,
	}
	acked = st.Queue.Acked
	r.mu.RLock()
	l := r.links[st.Key]
	r.mu.RUnlock()
	if l != nil {
		info, acked = l.info(), l.acked()
	}
	info.Persistent, info.Expiry = true, expiryOf(st.ExpirySeconds)
	return info, acked
}

// leftAt is when the last connection of a stored session ended, as far as is known.
func (r *Registry) leftAt(st State) time.Time {
	if st.Left.IsZero() { // a process that crashed had it
		return r.unsaved.leftAt(st.Key, r.born)
	}
	return st.Left
}

// Session gives all about one session, or ErrNoSession.
func (r *Registry) Session(ctx context.Context, k Key) (Detail, error) {
	d, err := r.session(ctx, k)
	if err != nil {
		return Detail{}, fmt.Errorf("session %s %.80q: %w", k.Account, k.Client, err)
	}
	return d, nil
}

func (r *Registry) session(ctx context.Context, k Key) (d Detail, err error) {
	r.mu.RLock()
	l := r.links[k]
	r.mu.RUnlock()
	st, stored, err := r.find(ctx, k)
	switch {
	case err != nil:
		return d, err
	case l == nil && !stored:
		return d, ErrNoSession
	case l != nil && !l.persistent:
		d.Info = l.info()
	default:
		if d.Info, err = r.storedInfo(ctx, st.State); err != nil {
			return d, err
		}
	}
	switch {
	case l == nil:
		d.Filters, d.Will = st.Subscriptions, r.pendingWill(k)
	case l.will != nil: // whose Due is set by End, at any time
		d.Will = &Will{Key: k, Version: l.will.Version, Publish: l.will.Publish, DelaySeconds: l.will.DelaySeconds}
		fallthrough
	default:
		d.Filters = l.filters()
	}
	return d, nil
}

func (r *Registry) pendingWill(k Key) *Will {
	r.wills.mu.Lock()
	defer r.wills.mu.Unlock()
	if w := r.wills.byKey[k]; w != nil {
		return &w.Will
	}
	return nil
}

// volatileSessions gives the first sessions after after, and up to until if that is not zero, that end with their connection.
func (r *Registry) volatileSessions(account accounts.Name, after, until Key, limit int) []*Link {
	var first lastFirst
	add := func(l *Link) {
		switch {
		case l.persistent || l.key.compare(after) <= 0 || until != Key{} && l.key.compare(until) > 0:
		case len(first) < limit:
			heap.Push(&first, l)
		case limit > 0 && l.key.compare(first[0].key) < 0:
			first[0] = l
			heap.Fix(&first, 0)
		}
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if account != "" {
		if a := r.accounts[account]; a != nil {
			for _, l := range a.links {
				add(l)
			}
		}
	} else {
		for _, l := range r.links {
			add(l)
		}
	}
	slices.SortFunc(first, func(a, b *Link) int { return a.key.compare(b.key) })
	return first
}

// lastFirst is a heap with the last key on top.
type lastFirst []*Link

func (h lastFirst) Len() int           { return len(h) }
func (h lastFirst) Less(i, j int) bool { return h[i].key.compare(h[j].key) > 0 }
func (h lastFirst) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *lastFirst) Push(x any)        { *h = append(*h, x.(*Link)) }
func (h *lastFirst) Pop() any          { panic("nothing is taken out") }

func (k Key) compare(other Key) int {
	return cmp.Or(cmp.Compare(k.Account, other.Account), cmp.Compare(k.Client, other.Client))
}

// info is what a link knows of its session. The queue is that of one that ends with its connection; otherwise the store
// has it.
func (l *Link) info() Info {
	l.mu.Lock()
	defer l.mu.Unlock()
	waiting, bytes, oldest := l.tail.waiting()
	i := Info{
		Key: l.key, Version: l.version, Remote: l.remote, Since: l.since, Connected: true, Persistent: l.persistent,
		Expiry: expiryOf(l.expiry), Subscriptions: l.subs.len(), InFlight: l.inFlight,
		Token: l.token, Name: l.name, Invisible: l.invisible,
		Behind: l.stream.behind || len(l.stream.ahead) > 0 || len(l.queue.ahead) > 0 || waiting > 0,
	}
	if l.persistent {
		return i
	}
	i.Queued, i.QueuedBytes, i.Oldest = waiting, bytes, oldest
	for n := range l.queue.ahead {
		d := &l.queue.ahead[n]
		i.Queued++
		i.QueuedBytes += int64(d.size())
		if n == 0 {
			i.Oldest = d.Message.Time
		}
	}
	return i
}

// acked is how far the session has come in its queue.
func (l *Link) acked() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queue.acked
}

func (l *Link) filters() []Subscription {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.subs.all()
}

// waiting is how many entries there are, how large they are, and the time of the first.
func (q *tail) waiting() (count int, bytes int64, oldest time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.entries.len() > 0 {
		oldest = q.entries.front().m.Time
	}
	return q.entries.len(), int64(q.size), oldest
}

// expiryOf gives a session expiry as a time; -1: never.
func expiryOf(seconds uint32) time.Duration {
	if seconds == forever {
		return -1
	}
	return time.Duration(seconds) * time.Second
}
