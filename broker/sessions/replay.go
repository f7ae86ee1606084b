package sessions

import (
	"context"
	"slices"
	"time"
)

// mustReplayLocked says whether retained messages are still to be looked up, and there is room for them.
func (l *Link) mustReplayLocked() bool {
	if len(l.replays) == 0 || l.fullLocked() {
		return false
	}
	s := &l.queue // what it has comes first, so that it never has more than a page of them
	return l.replays[0].QoS == 0 || !s.behind && len(s.ahead) == 0 && !s.resuming && l.inFlight < l.window
}

// replay looks up the next retained messages for one of the session's new subscriptions. With QoS 1 and 2 they go to its
// queue; with QoS 0 they are sent at once.
//
// writing is held from before the session is looked at until it says how far the replay has come, so that nobody stores it
// as it was.
func (l *Link) replay(ctx context.Context) error {
	r := l.registry
	l.mu.Lock()
	p := l.replays[0]
	l.mu.Unlock()
	if reserved(p.Filter) {
		return l.replayCurrent(ctx, p)
	}
	if err := r.store.Room(ctx); err != nil {
		return err
	}
	before := r.store.Last()
	found, next, err := r.store.Retained(ctx, p.Filter, p.After, replayChunk)
	if err != nil {
		return err
	}
	a, steps, err := l.replayPage(ctx, p, found, next, before)
	if err != nil || steps == 0 || !l.persistent {
		return err
	}
	return l.settle(ctx, a, steps)
}

// replayPage deals with a page of what is retained, as of a position. steps is how many messages were put into the queue.
func (l *Link) replayPage(
	ctx context.Context, p Replay, found []Retained, next string, before uint64,
) (a Appended, steps int, err error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	if !slices.ContainsFunc(l.replays, func(x Replay) bool { return x.ID == p.ID }) || l.closed {
		l.mu.Unlock()
		return a, 0, nil
	}
	queued, seen, ok := l.sendReplayLocked(p, found, before)
	l.mu.Unlock()
	if !ok {
		return a, 0, nil // so much has changed that it is read again
	}
	l.replayTries = 0
	done := seen == len(found) && next == ""
	switch {
	case seen == len(found):
		p.After = next
	case seen > 0:
		p.After = found[seen-1].Message.Topic
	}
	switch {
	case len(queued) > 0 && l.persistent:
		queued[len(queued)-1].Origin = ReplayOrigin{Key: l.key, Replay: p, Done: done}
		if a, err = l.enqueue(queued, before); err != nil {
			return a, 0, err
		}
	case len(queued) > 0:
		l.keepReplay(queued, before)
	}
	l.mu.Lock()
	if done {
		l.replays = slices.DeleteFunc(l.replays, func(x Replay) bool { return x.ID == p.ID })
	} else {
		i := slices.IndexFunc(l.replays, func(x Replay) bool { return x.ID == p.ID })
		l.replays[i] = p
	}
	st := l.stateLocked()
	l.mu.Unlock()
	if done && len(queued) == 0 && l.persistent && p.QoS > 0 {
		_, err = l.registry.store.Save(ctx, st)
	}
	return a, len(queued), err
}

// maxReplayTries is how often a page is read again because so much has changed meanwhile that it is not known what. After
// that a client may see an older one behind a newer one, rather than nothing at all.
const maxReplayTries = 5

// replayChunk is how many retained messages are looked up at once.
const replayChunk = 32

func (p Replay) ids() []int {
	if p.SubID == 0 {
		return nil
	}
	return []int{p.SubID}
}

// sendReplayLocked sends what goes with QoS 0, until the wire is full, and gives what is to be put into the queue, until
// there is no room. seen is how many of those found are dealt with by that. What has changed since they were read comes
// live, and must not be followed by what was before; ok is false if it is not known what has.
func (l *Link) sendReplayLocked(p Replay, found []Retained, before uint64) (queued []Step, seen int, ok bool) {
	r := l.registry
	r.order.Lock()
	changed, ok := r.retaineds.since(before)
	r.order.Unlock()
	if !ok && l.replayTries < maxReplayTries {
		l.replayTries++
		return nil, 0, false
	}
	if p.After == "" && r.live != nil {
		for _, m := range r.live(p.Filter) {
			l.sendRetainedLocked(p, m)
		}
	}
	bytes, now := 0, time.Now().Truncate(time.Millisecond)
	for i, x := range found {
		if x.Pos > p.Until || changed[x.Message.Topic] || p.NoLocal && x.Message.From == l.key {
			continue
		}
		qos := min(x.Message.QoS, p.QoS)
		if qos > 0 {
			if bytes += x.Message.weight(); bytes > l.tail.bytes && len(queued) > 0 || len(queued) == l.tail.count {
				return queued, i, true
			}
			to := Target{Number: l.number, QoS: qos, Retain: true, IDs: p.ids()}
			m := *x.Message
			m.Time = now // in a queue it is new, however old
			queued = append(queued, Step{Message: &m, To: []Target{to}})
			continue
		}
		if l.closed || l.fullLocked() {
			return queued, i, true
		}
		l.sendRetainedLocked(p, x.Message)
	}
	return queued, len(found), true
}

// sendRetainedLocked sends a retained message with QoS 0.
func (l *Link) sendRetainedLocked(p Replay, m *Message) {
	if l.closed {
		return
	}
	var out Publish
	l.contentLocked(&out, m, true, p.ids())
	_ = l.writePublishLocked(out)
}

// keepReplay is enqueue for a session that ends with its connection. Its queue was empty a moment ago, and has room unless
// it has overflown since.
func (l *Link) keepReplay(queued []Step, before uint64) {
	r, full := l.registry, false
	r.order.Lock()
	changed, _ := r.retaineds.since(before)
	for _, s := range queued {
		if !full && !changed[s.Message.Topic] {
			full = !l.tail.push(tailEntry{qos: s.To[0].QoS, retain: true, ids: s.To[0].IDs, m: s.Message})
		}
	}
	r.order.Unlock()
	if full {
		r.metrics.dropped(dropVolatile, 1)
		l.disconnect(reasonQuotaExceeded)
		return
	}
	l.mu.Lock()
	l.queue.behind = true
	l.mu.Unlock()
}

// startReplayLocked has the retained messages of a subscription looked up (MQTT 5, 3.3.1.3). The subscription is in the
// index already: what is published from now on comes that way. Topics of the server's own have what they say now in their
// place: asked says whether the client has just subscribed.
func (l *Link) startReplayLocked(sub Subscription, until uint64, asked bool) {
	if asked { // otherwise there is none
		l.stopReplayLocked(sub.Filter)
	}
	l.lastReplay++
	p := Replay{ID: l.lastReplay, Filter: sub.Filter, QoS: sub.QoS, SubID: sub.ID, NoLocal: sub.NoLocal, Until: until}
	if reserved(sub.Filter) {
		p.QoS, p.Asked = 0, asked
	}
	l.replays = append(l.replays, p)
}

func (l *Link) stopReplayLocked(filter string) {
	l.replays = slices.DeleteFunc(l.replays, func(p Replay) bool { return p.Filter == filter })
}

// SetLive gives messages that the server itself keeps as retained ones in memory, as those of $SYS: those that match a
// filter. It is called once, before the first Connect.
func (r *Registry) SetLive(f func(filter string) []*Message) { r.live = f }
