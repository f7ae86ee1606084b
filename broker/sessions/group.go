package sessions

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
)

// group is a shared subscription (MQTT 5, 4.8.2): sessions that share what matches one filter. It has a queue of its own in
// the store. A member that is connected and has room in its window takes from it; what a member has not acknowledged when
// its connection ends goes back, to whoever takes it next. Of QoS 2 a message is moved to the queue of the session that
// takes it, because it has to be completed there.
//
// Safe for concurrent use. A group's lock is taken after Link.mu, and nothing is called under it but its tail.
type group struct {
	registry *Registry
	name     string // the whole filter, with $share
	number   Number
	sessions int  // that subscribe, connected or not; guarded by shares.mu
	qos      byte // the highest of them; guarded by shares.mu
	routed   bool // it is in the index; guarded by shares.mu
	tail     tail

	mu      sync.Mutex
	members []*Link      // connected
	turn    int          // of members
	ahead   []groupEntry // to be taken next, sorted by position: what was read, and what was given back
	read    uint64       // the last position that was read
	reading bool         // somebody reads from the store
	gone    bool
	done    []uint64    // positions to be removed from the store
	timer   *time.Timer // will remove them; nil: there are none
}

// groupEntry is one message of a group.
type groupEntry struct {
	pos uint64
	qos byte
	m   *Message
}

// shares are the shared groups.
type shares struct {
	// mu is held while groups come and go, and while the store gives that its place.
	mu      sync.Mutex
	numbers numbers
	byName  map[string]*group // guarded by mu
}

// splitShare takes $share/{name}/{filter} apart (MQTT 5, 4.8.2); ok is false if filter is no shared one.
func splitShare(filter string) (inner string, ok bool) {
	rest, ok := strings.CutPrefix(filter, "$share/")
	if !ok {
		return "", false
	}
	_, inner, ok = strings.Cut(rest, "/")
	return inner, ok
}

// openGroup counts one more session of a group, unless it is known to be one of them already, and creates the group with
// the first one. It says whether it counted.
func (r *Registry) openGroup(ctx context.Context, sub Subscription, known bool) (counted bool, err error) {
	r.shares.mu.Lock()
	defer r.shares.mu.Unlock()
	g := r.shares.byName[sub.Filter]
	if g == nil {
		known = false // the group went while nobody was granted it
		n := r.shares.numbers.take()
		if n == 0 {
			return false, fmt.Errorf("group %.80q: no number is free: %w", sub.Filter, ErrUnavailable)
		}
		if _, err := r.store.SaveGroup(ctx, sub.Filter, n); err != nil {
			r.shares.numbers.free(n)
			return false, fmt.Errorf("save group: %w", err)
		}
		g = r.addGroupLocked(sub.Filter, n)
	}
	if !known {
		g.sessions++
	}
	if !g.routed || sub.QoS > g.qos {
		inner, _ := splitShare(sub.Filter)
		g.routed, g.qos = true, max(g.qos, sub.QoS)
		r.order.Lock()
		defer r.order.Unlock()
		r.routes.Subscribe(inner, subscriber(g.number, Subscription{QoS: g.qos}))
	}
	return !known, nil
}

// addGroupLocked makes a group that is in the store. shares.mu is held.
func (r *Registry) addGroupLocked(name string, n Number) *group {
	g := &group{registry: r, name: name, number: n, tail: tail{count: tailCount, bytes: tailBytes}}
	r.shares.byName[name] = g
	r.order.Lock()
	g.tail.start(r.store.Last())
	r.mu.Lock()
	r.groups[n] = g
	r.mu.Unlock()
	r.order.Unlock()
	return g
}

// closeGroup counts one session less. With the last one the group goes, and what waits in it.
func (r *Registry) closeGroup(ctx context.Context, name string) error {
	inner, _ := splitShare(name)
	r.shares.mu.Lock()
	defer r.shares.mu.Unlock()
	g := r.shares.byName[name]
	if g == nil {
		return nil
	}
	if g.sessions--; g.sessions > 0 {
		return nil
	}
	r.order.Lock()
	r.routes.Unsubscribe(inner, g.number)
	r.mu.Lock()
	delete(r.groups, g.number)
	r.mu.Unlock()
	r.order.Unlock()
	delete(r.shares.byName, name)
	g.mu.Lock()
	g.gone, g.ahead = true, nil
	g.mu.Unlock()
	_, err := r.store.DropGroup(ctx, name, g.number)
	r.shares.numbers.free(g.number)
	if err != nil {
		return fmt.Errorf("drop group: %w", err)
	}
	return nil
}

// groupOf gives a group that somebody subscribes to.
func (r *Registry) groupOf(name string) *group {
	r.shares.mu.Lock()
	defer r.shares.mu.Unlock()
	return r.shares.byName[name]
}

// loadGroups finds the groups that are stored, before the sessions that subscribe to them.
func (r *Registry) loadGroups(ctx context.Context) error {
	stored, err := r.store.Groups(ctx)
	if err != nil {
		return fmt.Errorf("load groups: %w", err)
	}
	r.shares.mu.Lock()
	defer r.shares.mu.Unlock()
	for name, n := range stored {
		r.shares.numbers.use(n)
		r.addGroupLocked(name, n)
	}
	return nil
}

// dropEmptyGroups forgets the groups whose sessions ended with a crash.
func (r *Registry) dropEmptyGroups(ctx context.Context) error {
	r.shares.mu.Lock()
	var empty []string
	for name, g := range r.shares.byName {
		if g.sessions == 0 {
			g.sessions = 1
			empty = append(empty, name)
		}
	}
	r.shares.mu.Unlock()
	for _, name := range empty {
		if err := r.closeGroup(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// push puts a message at the end. The registry's order is held.
func (g *group) push(e groupEntry) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.members) == 0 { // it is read from the store when somebody comes
		g.tail.start(e.pos)
		return
	}
	g.tail.push(tailEntry{pos: e.pos, needs: e.pos, qos: e.qos, m: e.m})
}

// join makes a link a member, which may take from now on.
func (g *group) join(l *Link) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !slices.Contains(g.members, l) {
		g.members = append(g.members, l)
	}
}

func (g *group) leave(l *Link) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.members, l); i >= 0 {
		g.members = slices.Delete(g.members, i, i+1)
	}
}

// take gives the next message. If there is none in memory, somebody goes and looks.
func (g *group) take() (groupEntry, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.ahead) == 0 {
		g.pullLocked()
	}
	if len(g.ahead) == 0 {
		return groupEntry{}, false
	}
	e := g.ahead[0]
	g.ahead[0] = groupEntry{}
	if g.ahead = g.ahead[1:]; len(g.ahead) == 0 {
		g.ahead = nil
	}
	return e, true
}

func (g *group) pullLocked() {
	if g.gone {
		return
	}
	if !g.tail.covers(g.read) {
		if !g.reading {
			g.reading = true
			g.registry.background.Go(g.fill)
		}
		return
	}
	ds := g.tail.pull(g.read, g.registry.durable.Load(), chunk, aheadBytes, nil)
	g.appendLocked(ds)
}

func (g *group) appendLocked(ds []Delivery) {
	for _, d := range ds {
		g.ahead = append(g.ahead, groupEntry{pos: d.Pos, qos: d.QoS, m: d.Message})
		g.read = d.Pos
	}
}

// fill reads from the store, and offers what it found.
func (g *group) fill() {
	g.mu.Lock()
	read := g.read
	g.mu.Unlock()
	durable := g.registry.durable.Load()
	ctx, cancel := context.WithTimeout(g.registry.running, endTimeout)
	defer cancel()
	ds, err := g.registry.readQueue(ctx, g.number, read, chunk)
	if err != nil && g.registry.running.Err() == nil {
		g.registry.log.Warn("shared group not served", "group", g.name, "err", err)
		time.AfterFunc(willRetry, g.kick)
	}
	g.mu.Lock()
	g.reading = false
	again := len(ds) > 0 || err == nil && g.tail.skip(&g.read, durable)
	g.appendLocked(ds)
	g.mu.Unlock()
	if again {
		g.kick()
	}
}

// giveBack takes what a member had and did not acknowledge.
func (g *group) giveBack(entries []groupEntry) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.gone {
		return
	}
	g.ahead = append(g.ahead, entries...)
	slices.SortFunc(g.ahead, func(a, b groupEntry) int {
		if a.pos < b.pos {
			return -1
		}
		return 1
	})
}

// finish takes a message out that a member is done with, a moment later.
func (g *group) finish(pos uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done = append(g.done, pos)
	switch {
	case len(g.done) == maxRows:
		g.registry.background.Go(g.remove)
	case g.timer == nil:
		g.timer = time.AfterFunc(advanceEvery, g.remove)
	}
}

// remove takes what is done out of the store. If that fails, it may come again after a crash.
func (g *group) remove() {
	g.mu.Lock()
	done := g.done
	g.done = nil
	if g.timer != nil {
		g.timer.Stop()
		g.timer = nil
	}
	g.mu.Unlock()
	if len(done) == 0 {
		return
	}
	slices.Sort(done)
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	if err := g.registry.store.Remove(ctx, g.number, done); err != nil && !errors.Is(err, ErrUnavailable) {
		g.registry.log.Warn("shared messages not removed", "group", g.name, "err", err)
	}
}

// kick offers what there is to the members in turn, one at a time, until nobody takes any more.
func (g *group) kick() {
	for g.eachInTurn(func(l *Link) bool { return l.offer(g) }) {
	}
}

// sendZero sends a message of QoS 0 to the next member that can take it.
func (g *group) sendZero(m *Message) {
	if !g.eachInTurn(func(l *Link) bool { return l.sendShared(g, m) }) {
		g.registry.metrics.dropped(dropShed, 1)
	}
}

// eachInTurn calls f for the members, beginning behind the one that it was true for the last time, until it is true.
func (g *group) eachInTurn(f func(*Link) bool) bool {
	for i := 1; ; i++ {
		l, at, members := g.member(i)
		if i > members {
			return false
		}
		if f(l) {
			g.mu.Lock()
			g.turn = at
			g.mu.Unlock()
			return true
		}
	}
}

// member gives the member that comes i places behind the last one that took something.
func (g *group) member(i int) (l *Link, at, members int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	members = len(g.members)
	if members == 0 {
		return nil, 0, 0
	}
	at = (g.turn + i) % members
	return g.members[at], at, members
}

// membership is a link's part in a group.
type membership struct {
	group *group
	sub   Subscription
}

// sharedFlight is a message of a group that is in flight to a link.
type sharedFlight struct {
	Flight
	entry    groupEntry
	group    *group
	released bool // QoS 2: its PUBREL was sent
}

// move is a message of QoS 2 that is to be moved from a group to the session's own queue.
type move struct {
	group *group
	entry groupEntry
	sub   Subscription
}

// offer sends the next message of a group, if this link has room for it.
func (l *Link) offer(g *group) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.groups, func(m membership) bool { return m.group == g })
	if i < 0 || !l.started || l.closed || l.fullLocked() {
		return false
	}
	sent := l.sendOfGroupLocked(l.groups[i])
	l.pumpLocked()
	return sent
}

// sendShared sends a message of QoS 0 of a group. It says whether it was sent.
func (l *Link) sendShared(g *group, m *Message) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.groups, func(m membership) bool { return m.group == g })
	if i < 0 || !l.started || l.closed || l.fullLocked() {
		return false
	}
	return l.publishSharedLocked(l.groups[i].sub, m, Publish{}) == nil
}

// sendSharedLocked sends the next message of one of the session's groups. It says whether there was one.
func (l *Link) sendSharedLocked() bool {
	for range l.groups {
		l.groupTurn = (l.groupTurn + 1) % len(l.groups)
		if l.sendOfGroupLocked(l.groups[l.groupTurn]) {
			return true
		}
	}
	return false
}

func (l *Link) sendOfGroupLocked(m membership) bool {
	if l.inFlight+len(l.moves) >= l.window || !l.idFreeLocked() || l.stream.resuming || l.queue.resuming {
		return false
	}
	e, ok := m.group.take()
	if !ok {
		return false
	}
	if !e.m.Expires.IsZero() && !e.m.Expires.After(time.Now()) {
		l.registry.metrics.dropped(dropExpired, 1)
		m.group.finish(e.pos)
		return true
	}
	qos := min(e.qos, m.sub.QoS)
	switch {
	case qos == 0:
		_ = l.publishSharedLocked(m.sub, e.m, Publish{})
		m.group.finish(e.pos)
		return true
	case qos == 2 && l.persistent:
		l.moves = append(l.moves, move{m.group, e, m.sub})
		return true
	}
	f := &sharedFlight{Flight: Flight{ID: l.newIDLocked(), QoS: qos, Stage: StageSent}, entry: e, group: m.group}
	if l.shared == nil {
		l.shared = make(map[uint16]*sharedFlight)
	}
	l.shared[f.ID] = f
	l.countLocked(1)
	if errors.Is(l.publishSharedLocked(m.sub, e.m, Publish{ID: f.ID, QoS: qos}), ErrPacketSize) {
		l.finishSharedLocked(f.ID)
	}
	return true
}

func (l *Link) publishSharedLocked(sub Subscription, m *Message, p Publish) error {
	var ids []int
	if sub.ID != 0 {
		ids = []int{sub.ID}
	}
	l.contentLocked(&p, m, m.Retain && sub.RetainAsPublished, ids)
	if p.QoS > 0 {
		l.registry.metrics.queued(m.Time, l.since)
	}
	return l.writePublishLocked(p)
}

// finishSharedLocked ends a flight: the message is out of the group. A PUBACK or PUBREC that refuses does the same (MQTT 5,
// 4.8.2).
func (l *Link) finishSharedLocked(id uint16) {
	f := l.shared[id]
	delete(l.shared, id)
	l.countLocked(-1)
	f.group.finish(f.entry.pos)
}

// sharedPubrecLocked is Pubrec for a message of a group, which only a session that ends with its connection gets this way.
func (l *Link) sharedPubrecLocked(id uint16, reason byte) {
	f := l.shared[id]
	switch {
	case f.QoS != 2:
	case reason >= firstFailure:
		l.registry.metrics.dropped(dropRefused, 1)
		l.finishSharedLocked(id)
	case f.Stage == StageReleased:
		if f.released {
			l.ackLocked(Ack{Kind: Pubrel, ID: id})
		}
	case !l.closed:
		f.Stage = StageReleased
		l.running.Add(1)
		go l.releaseShared(f)
	}
}

// releaseShared sends the PUBREL of a message that it has taken out of its group for good: after a crash, nobody else gets
// what this client has received (MQTT 5, 4.8.2).
func (l *Link) releaseShared(f *sharedFlight) {
	defer l.running.Done()
	ctx, cancel := context.WithTimeout(l.registry.running, endTimeout)
	defer cancel()
	step := Step{Message: f.entry.m, Origin: MoveOrigin{f.group.number, f.entry.pos}}
	a, err := l.registry.store.Append(Bounds{}, step)
	if err == nil {
		err = wait(ctx, a.Commit)
	}
	if err != nil {
		_ = l.cannotStore(ctx, "take out of shared group", err)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f.released = true
	l.ackLocked(Ack{Kind: Pubrel, ID: f.ID})
}

// storeMoves moves what was taken of QoS 2 to the session's own queue.
func (l *Link) storeMoves(ctx context.Context) error {
	l.mu.Lock()
	moves := l.moves
	l.mu.Unlock()
	steps := make([]Step, len(moves))
	for i, m := range moves {
		to := Target{Number: l.number, QoS: 2, Retain: m.entry.m.Retain && m.sub.RetainAsPublished}
		if m.sub.ID != 0 {
			to.IDs = []int{m.sub.ID}
		}
		steps[i] = Step{Message: m.entry.m, To: []Target{to}, Origin: MoveOrigin{m.group.number, m.entry.pos}}
	}
	if err := l.registry.store.Room(ctx); err != nil {
		return err
	}
	a, err := l.enqueue(steps, noMatter)
	if err != nil {
		return err
	}
	l.mu.Lock() // from here on they are no longer the group's
	l.moves = l.moves[len(moves):]
	l.mu.Unlock()
	return l.settle(ctx, a, len(steps))
}

// enqueue puts messages into the session's own queue, whatever its bounds. Those whose topic has got another retained message
// after a position are left to be delivered as they are, behind it: they go nowhere.
func (l *Link) enqueue(steps []Step, before uint64) (Appended, error) {
	r := l.registry
	r.order.Lock()
	defer r.order.Unlock()
	changed, _ := r.retaineds.since(before)
	for i := range steps {
		if changed[steps[i].Message.Topic] {
			steps[i].To = nil
		}
	}
	a, err := r.store.Append(Bounds{}, steps...)
	if err != nil {
		return a, err
	}
	for i, s := range steps {
		if len(s.To) == 0 {
			continue
		}
		pos := a.First + uint64(i)
		l.tail.push(tailEntry{pos: pos, needs: pos, qos: s.To[0].QoS, retain: s.To[0].Retain, ids: s.To[0].IDs, m: s.Message})
	}
	return a, nil
}

// noMatter is a position after which nothing changes.
const noMatter = math.MaxUint64

// settle waits until what was enqueued may be sent.
func (l *Link) settle(ctx context.Context, a Appended, steps int) error {
	if err := wait(ctx, a.Commit); err != nil {
		return err
	}
	l.registry.durableTo(a.First + uint64(steps) - 1)
	l.mu.Lock()
	l.queue.behind = true
	l.mu.Unlock()
	return nil
}

// leaveGroups gives back what the link has taken and not finished, when its connection has ended. Nothing else uses l.
func (l *Link) leaveGroups() {
	back := make(map[*group][]groupEntry)
	for _, m := range l.groups {
		m.group.leave(l)
		back[m.group] = nil
	}
	for _, f := range l.shared {
		if f.QoS == 1 {
			back[f.group] = append(back[f.group], f.entry)
		} else {
			f.group.finish(f.entry.pos) // it may be completed nowhere else (MQTT 5, 4.8.2)
		}
	}
	for _, m := range l.moves {
		back[m.group] = append(back[m.group], m.entry)
	}
	l.shared, l.moves = nil, nil
	for g, entries := range back {
		g.giveBack(entries)
		g.kick()
	}
}
