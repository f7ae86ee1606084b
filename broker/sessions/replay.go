package sessions

import (
	"context"
	"slices"
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
func (l *Link) replay(ctx context.Context) error {
	l.mu.Lock()
	p := l.replays[0]
	l.mu.Unlock()
	found, next, err := l.registry.store.Retained(ctx, p.Filter, p.After, replayChunk)
	if err != nil {
		return err
	}
	if p.After == "" && l.registry.live != nil {
		for _, m := range l.registry.live(p.Filter) {
			l.sendZero(m, true, p.ids())
		}
	}
	steps, seen := l.sendReplay(p, found)
	done := seen == len(found) && next == ""
	switch {
	case seen == len(found):
		p.After = next
	case seen > 0:
		p.After = found[seen-1].Message.Topic
	}
	if err := l.storeReplay(ctx, steps, p, done); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// It may have been replaced or taken out meanwhile.
	if i := slices.IndexFunc(l.replays, func(x Replay) bool { return x.ID == p.ID }); i >= 0 {
		if done {
			l.replays = slices.Delete(l.replays, i, i+1)
		} else {
			l.replays[i] = p
		}
	}
	return nil
}

// replayChunk is how many retained messages are looked up at once.
const replayChunk = 32

func (p Replay) ids() []int {
	if p.SubID == 0 {
		return nil
	}
	return []int{p.SubID}
}

// sendReplay sends what goes with QoS 0, until the wire is full, and gives what is to be put into the queue. seen is how
// many of those found are dealt with by that.
func (l *Link) sendReplay(p Replay, found []Retained) (steps []Step, seen int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, x := range found {
		if x.Pos > p.Until || p.NoLocal && x.Message.From == l.key {
			continue
		}
		qos := min(x.Message.QoS, p.QoS)
		if qos > 0 {
			to := Target{Number: l.number, QoS: qos, Retain: true, IDs: p.ids()}
			steps = append(steps, Step{Message: x.Message, To: []Target{to}})
			continue
		}
		if l.closed || l.fullLocked() {
			return steps, i
		}
		var out Publish
		l.contentLocked(&out, x.Message, true, p.ids())
		_ = l.writePublishLocked(out)
	}
	return steps, len(found)
}

// storeReplay puts retained messages into the session's queue, and remembers how far the replay has come.
func (l *Link) storeReplay(ctx context.Context, steps []Step, p Replay, done bool) error {
	if len(steps) > 0 && !l.persistent {
		for _, s := range steps {
			e := tailEntry{qos: s.To[0].QoS, retain: true, ids: s.To[0].IDs, m: s.Message}
			if !l.tail.push(e) {
				l.registry.metrics.dropped(dropVolatile, 1)
				l.disconnect(reasonQuotaExceeded)
				return nil
			}
		}
		l.mu.Lock()
		l.queue.behind = true
		l.mu.Unlock()
		return nil
	}
	if len(steps) > 0 {
		steps[len(steps)-1].Origin = ReplayOrigin{Key: l.key, Replay: p, Done: done}
		a, err := l.enqueue(ctx, steps)
		if err != nil {
			return err
		}
		return l.settle(ctx, a, len(steps))
	}
	if !done || !l.persistent || p.QoS == 0 {
		return nil
	}
	_, err := l.saveChanged(ctx, func() {
		l.replays = slices.DeleteFunc(l.replays, func(x Replay) bool { return x.ID == p.ID })
	})
	return err
}

// startReplayLocked has the retained messages of a subscription looked up (MQTT 5, 3.3.1.3). The subscription is in the
// index already: what is published from now on comes that way.
func (l *Link) startReplayLocked(sub Subscription, until uint64) {
	l.stopReplayLocked(sub.Filter)
	l.lastReplay++
	l.replays = append(l.replays, Replay{
		ID: l.lastReplay, Filter: sub.Filter, QoS: sub.QoS, SubID: sub.ID, NoLocal: sub.NoLocal, Until: until,
	})
}

func (l *Link) stopReplayLocked(filter string) {
	l.replays = slices.DeleteFunc(l.replays, func(p Replay) bool { return p.Filter == filter })
}

// SetLive gives messages that the server itself keeps as retained ones in memory, as those of $SYS: those that match a
// filter. It is called once, before the first Connect.
func (r *Registry) SetLive(f func(filter string) []*Message) { r.live = f }
