package sessions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// subscriptions are the filters of one session, those with and those without wildcards apart and sorted.
type subscriptions struct {
	exact, wild []subscription
	last        uint64 // order of the newest
	bytes       int    // of all filters and spellings
	respelled   int    // filters of what comes from the queue that are written otherwise
}

// maxFilterBytes bounds the filters of one session, as written and as meant: all of them are stored anew with each change.
const maxFilterBytes = 64 << 10

func (s Subscription) size() int { return len(s.Filter) + len(s.Spelling) }

// respells is 1 if deliveries from the queue have to be written otherwise.
func (s Subscription) respells() int {
	if s.Spelling == s.Filter || !queues(s.Filter) {
		return 0
	}
	return 1
}

// reserved says whether the topics of a filter are the server's own: what it says there goes to those who are connected
// (Registry.Route), or is a source of its own.
func reserved(filter string) bool { return strings.HasPrefix(filter, "im/") || perViewer(filter) }

type subscription struct {
	Subscription
	order uint64 // in which they were made: the newest decides how a topic is spelled
}

func byFilter(s subscription, filter string) int { return cmp.Compare(s.Filter, filter) }

func (s *subscriptions) listOf(filter string) *[]subscription {
	if hasWildcard(filter) {
		return &s.wild
	}
	return &s.exact
}

// put adds a subscription, or replaces the one with the same filter.
func (s *subscriptions) put(sub Subscription) {
	sub.Spelling = cmp.Or(sub.Spelling, sub.Filter)
	list := s.listOf(sub.Filter)
	s.last++
	i, found := slices.BinarySearchFunc(*list, sub.Filter, byFilter)
	s.bytes += sub.size()
	s.respelled += sub.respells()
	if found {
		s.bytes -= (*list)[i].size()
		s.respelled -= (*list)[i].respells()
		(*list)[i] = subscription{sub, s.last}
	} else {
		*list = slices.Insert(*list, i, subscription{sub, s.last})
	}
}

// remove takes a filter out. It says whether it was there.
func (s *subscriptions) remove(filter string) bool {
	list := s.listOf(filter)
	i, found := slices.BinarySearchFunc(*list, filter, byFilter)
	if found {
		s.bytes -= (*list)[i].size()
		s.respelled -= (*list)[i].respells()
		*list = slices.Delete(*list, i, i+1)
	}
	return found
}

func (s *subscriptions) has(filter string) bool {
	_, found := slices.BinarySearchFunc(*s.listOf(filter), filter, byFilter)
	return found
}

func (s *subscriptions) len() int { return len(s.exact) + len(s.wild) }

// all gives them in the order in which they were made.
func (s *subscriptions) all() []Subscription {
	list := slices.Concat(s.exact, s.wild)
	slices.SortFunc(list, func(a, b subscription) int { return cmp.Compare(a.order, b.order) })
	out := make([]Subscription, len(list))
	for i, sub := range list {
		out[i] = sub.Subscription
	}
	return out
}

// route is how a session gets what is published to one topic.
type route struct {
	ok     bool   // some subscription matches
	topic  string // as the newest one of them spelled it
	qos    byte   // the highest of them
	retain bool   // the retain flag is passed on
	ids    []int  // of all of them
}

// route gives the one delivery for all subscriptions that match a topic (MQTT 5, 3.3.4).
func (s *subscriptions) route(topic string) route {
	var r route
	newest := subscription{}
	add := func(sub subscription) {
		r.ok = true
		r.qos = max(r.qos, sub.QoS)
		r.retain = r.retain || sub.RetainAsPublished
		if sub.ID != 0 {
			r.ids = append(r.ids, sub.ID)
		}
		if sub.order > newest.order {
			newest = sub
		}
	}
	if i, found := slices.BinarySearchFunc(s.exact, topic, byFilter); found {
		add(s.exact[i])
	}
	for _, sub := range s.wild {
		if matches(sub.Filter, topic) {
			add(sub)
		}
	}
	if r.ok {
		r.topic = Respell(topic, newest.Filter, newest.Spelling)
	}
	return r
}

// Respell gives a canonical topic as a client expects it that wrote spelling for filter. The two differ in one level at
// most ("me" for its name), and spelling may lack the level that says for whom the topic is: the second one of what is said
// of things, the last one otherwise.
func Respell(topic, filter, spelling string) string {
	if filter == spelling {
		return topic
	}
	if perViewer(filter) {
		topic, filter = anyones(topic), anyones(filter)
	}
	start := 0 // of the level in topic
	for {
		f, restF, moreF := strings.Cut(filter, "/")
		s, restS, moreS := strings.Cut(spelling, "/")
		end := strings.IndexByte(topic[start:], '/')
		if end < 0 {
			end = len(topic)
		} else {
			end += start
		}
		if f != s && f == topic[start:end] {
			return topic[:start] + s + topic[end:]
		}
		if !moreF || !moreS || end == len(topic) {
			if moreF && !moreS {
				return topic[:end]
			}
			return topic
		}
		filter, spelling, start = restF, restS, end+1
	}
}

// Grant is one filter of a SUBSCRIBE and its code in the SUBACK. A Code of 0x80 or more refuses it; otherwise it is the
// granted QoS, the same as in the Subscription.
type Grant struct {
	Subscription
	Code byte
}

// Subscribe adds or replaces subscriptions, and answers with a SUBACK once they are durable. The first one that covers the
// stream's topic starts the stream at its head. An error means that the link is disconnected or the context over.
func (l *Link) Subscribe(ctx context.Context, id uint16, grants []Grant) error {
	if err := l.place(ctx); err != nil {
		return err
	}
	a := answer{kind: answerSubscribe, id: id, codes: make([]byte, len(grants))}
	granted := make([]Subscription, 0, len(grants))
	known := make(map[string]bool, len(grants)) // filters, and whether they were there before
	for i, g := range grants {
		if g.Code < firstFailure && l.tooMany(g.Subscription, granted) {
			g.Code = l.tooManyCode()
		}
		if a.codes[i] = g.Code; g.Code < firstFailure {
			granted = append(granted, g.Subscription)
		}
	}
	head, err := l.headFor(ctx, granted)
	if err == nil {
		err = l.openGroups(ctx, granted, known)
	}
	if err != nil {
		return l.cannotStore(ctx, "subscribe", err)
	}
	return l.change(ctx, a, len(granted) > 0, func() {
		for _, s := range granted {
			l.subs.put(s)
			if l.registry.hasAudience(s.Filter) {
				there := known[s.Filter] && l.seatLocked(s.Filter) != nil // one that was taken away is a new subscription
				l.sitDownLocked(s, s.replays(there), false)
				continue
			}
			until, retained := l.registry.routeLocked(l, s)
			if asked := s.replays(known[s.Filter]); retained && (asked || perViewer(s.Filter)) {
				l.startReplayLocked(s, until, true)
				l.replays[len(l.replays)-1].Mute = !asked // Current is to know, all the same, that somebody subscribes
			}
		}
		if l.coverLocked() {
			l.stream.startAt(head)
		}
	})
}

// tooMany says whether a subscription would be one more, or larger, than a session may have.
func (l *Link) tooMany(sub Subscription, more []Subscription) bool {
	bytes := l.subs.bytes + sub.size()
	list := *l.subs.listOf(sub.Filter)
	i, found := slices.BinarySearchFunc(list, sub.Filter, byFilter)
	if found {
		bytes -= list[i].size()
	}
	for _, m := range more {
		bytes += m.size()
	}
	most := l.registry.cfg.Subscriptions
	return bytes > maxFilterBytes || most > 0 && l.subs.len()+len(more) >= most && !found
}

func (l *Link) tooManyCode() byte {
	if l.version < 5 {
		return reasonFailed3
	}
	return reasonQuotaExceeded
}

// headFor gives the head of the stream if more subscriptions would start it. Only the reader changes subscriptions, so
// that they are the same when it comes back with the lock.
func (l *Link) headFor(ctx context.Context, more []Subscription) (uint64, error) {
	topic := l.stream.source.Topic()
	starts := slices.ContainsFunc(more, func(s Subscription) bool { return matches(s.Filter, topic) })
	if !starts || l.stream.route.ok {
		return math.MaxUint64, nil
	}
	return l.stream.source.Head(ctx)
}

// openGroups finds out which filters are known, and counts the session in the groups that it joins.
func (l *Link) openGroups(ctx context.Context, granted []Subscription, known map[string]bool) error {
	var opened []string
	for _, s := range granted {
		_, again := known[s.Filter]
		if !again {
			known[s.Filter] = l.subs.has(s.Filter)
		}
		if _, shared := splitShare(s.Filter); !shared {
			continue
		}
		counted, err := l.registry.openGroup(ctx, s, again || known[s.Filter])
		if counted {
			opened = append(opened, s.Filter)
		}
		if err == nil {
			continue
		}
		for _, name := range opened {
			err = errors.Join(err, l.registry.closeGroup(ctx, name))
		}
		return err
	}
	return nil
}

// replays says whether a SUBSCRIBE asks for retained messages (MQTT 5, 3.8.3.1). known means that the session had the
// filter before.
func (s Subscription) replays(known bool) bool {
	return s.RetainHandling == 0 || s.RetainHandling == 1 && !known
}

// routeLocked puts a subscription of a link into the index. retained says whether what is retained is for it, and until is
// the last position that does not come to it by that.
func (r *Registry) routeLocked(l *Link, s Subscription) (until uint64, retained bool) {
	who := subscriber(l.number, s)
	if _, shared := splitShare(s.Filter); shared {
		l.joinLocked(s)
		return 0, false
	}
	current := r.routeLiveLocked(l, s)
	if !queues(s.Filter) {
		return 0, current
	}
	r.order.Lock()
	defer r.order.Unlock()
	r.routes.Subscribe(s.Filter, who)
	return r.store.Last(), current || !reserved(s.Filter)
}

// routeLiveLocked puts a subscription of a link into the index of what is told at once, if that is where it belongs. current
// says whether its topics say something now.
func (r *Registry) routeLiveLocked(l *Link, s Subscription) (current bool) {
	if !reserved(s.Filter) {
		return false
	}
	r.lives.Subscribe(s.Filter, subscriber(l.number, s))
	return r.says(s.Filter)
}

// unroute takes a filter of a session, which is no shared one, out of the index.
func (r *Registry) unroute(n Number, filter string) {
	if reserved(filter) {
		r.lives.Unsubscribe(filter, n)
	}
	if !queues(filter) {
		return
	}
	r.order.Lock()
	defer r.order.Unlock()
	r.routes.Unsubscribe(filter, n)
}

// joinLocked makes the link a member of a shared group, or one with other options.
func (l *Link) joinLocked(s Subscription) {
	g := l.registry.groupOf(s.Filter)
	if g == nil {
		return
	}
	if i := slices.IndexFunc(l.groups, func(m membership) bool { return m.group == g }); i >= 0 {
		l.groups[i].sub = s
		return
	}
	l.groups = append(l.groups, membership{g, s})
	g.join(l)
}

// quitLocked takes the link out of a shared group. What it has in flight stays with it.
func (l *Link) quitLocked(filter string) {
	i := slices.IndexFunc(l.groups, func(m membership) bool { return m.group.name == filter })
	if i < 0 {
		return
	}
	l.groups[i].group.leave(l)
	l.groups = slices.Delete(l.groups, i, i+1)
}

// Unsubscribe takes filters out, and answers with an UNSUBACK once that is durable. When none is left that covers the
// stream's topic, the stream's cursor is given up. An error means that the link is disconnected or the context over.
func (l *Link) Unsubscribe(ctx context.Context, id uint16, filters []string) error {
	if err := l.place(ctx); err != nil {
		return err
	}
	a := answer{kind: answerUnsubscribe, id: id, codes: make([]byte, len(filters))}
	gone := make([]string, 0, len(filters))
	for i, f := range filters {
		if !l.subs.has(f) || slices.Contains(gone, f) {
			a.codes[i] = reasonNoSubscription
			continue
		}
		gone = append(gone, f)
	}
	return l.change(ctx, a, len(gone) > 0, func() {
		for _, f := range gone {
			l.subs.remove(f)
			if s := l.seatLocked(f); s != nil {
				l.standUpLocked(s)
			}
			l.stopReplayLocked(f)
			l.background.missed.forget(f)
			l.shed.forget(f)
			l.quitLocked(f)
		}
		l.coverLocked()
	}, gone...)
}

// change applies a change of subscriptions, takes what is gone out of the index, stores the session and puts the answer into
// the FIFO.
func (l *Link) change(ctx context.Context, a answer, changes bool, apply func(), gone ...string) error {
	if changes {
		commit, err := l.saveChanged(ctx, apply)
		for _, f := range gone {
			if _, shared := splitShare(f); shared {
				err = errors.Join(err, l.registry.closeGroup(ctx, f))
			} else {
				l.registry.unroute(l.number, f)
			}
		}
		if err != nil {
			return l.cannotStore(ctx, "save subscriptions", err)
		}
		a.commit = commit
	}
	l.answer(a)
	return nil
}

// saveChanged changes the session and stores it, with no other write of the session in between.
func (l *Link) saveChanged(ctx context.Context, apply func()) (Commit, error) {
	l.writing.Lock()
	defer l.writing.Unlock()
	return l.saveLocked(ctx, apply)
}

// saveLocked is saveChanged for who holds writing.
func (l *Link) saveLocked(ctx context.Context, apply func()) (Commit, error) {
	l.mu.Lock()
	apply()
	st := l.stateLocked()
	l.mu.Unlock()
	if !l.persistent {
		return nil, nil
	}
	c, err := l.registry.store.Save(ctx, st)
	if err == nil {
		l.mu.Lock()
		l.stream.saved, l.queue.saved = st.Acked, st.Queue.Acked
		l.mu.Unlock()
	}
	return c, err
}

// cannotStore disconnects because the store does not serve.
func (l *Link) cannotStore(ctx context.Context, step string, err error) error {
	if ctx.Err() == nil {
		l.registry.log.Warn("session not served", "step", step, "account", l.key.Account, "client", l.key.Client, "err", err)
	}
	l.disconnect(reasonBusy)
	return fmt.Errorf("%s: %w", step, err)
}

// coverLocked finds out how the session gets its stream after a change of its subscriptions, and gives the stream up if
// it does not any more. It says whether the stream has to be started.
func (l *Link) coverLocked() (starts bool) {
	s := &l.stream
	s.route = l.subs.route(s.source.Topic())
	switch {
	case s.on && !s.route.ok:
		l.giveUpLocked()
	case !s.on && s.route.ok:
		return true
	}
	return false
}
