package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/magpie-im/magpie/broker/sessions"
)

// message is what was published, once or, with QoS 1 and a cut, more often.
type message struct {
	n      int // also its payload, if that is not empty
	topic  string
	qos    byte
	retain bool
	empty  bool
	from   string // the publisher
	seq    int    // of its messages
	copies int    // how often it was sent
}

// subscription is one filter of a session.
type subscription struct {
	filter   string
	qos      byte
	noLocal  bool
	asSaid   bool // Retain As Published
	handling byte // of retained messages
	id       int
}

// due is one message that a session or group gets, or may get.
type due struct {
	m       *message
	qos     byte
	retain  bool
	ids     []int
	must    bool   // it has to come
	got     int    // how often it came, repetitions left out
	replay  string // the filter that it is replayed for
	settled int    // of groups: how often everything was quiet since it came
}

func (d *due) String() string {
	return fmt.Sprintf("message %d on %s (qos %d, from %s, retain %v, ids %v, must %v, got %d of %d, replay %q)",
		d.m.n, d.m.topic, d.qos, d.m.from, d.retain, d.ids, d.must, d.got, d.m.copies, d.replay)
}

// group is a shared subscription.
type group struct {
	inner string // its filter, without $share
	qos   byte
	dues  map[int]*due
	shaky bool // a member has ended a moment ago, maybe with a message of QoS 2
}

// oracle knows what each session has to get. It is guarded by model.mu.
type oracle struct {
	sessions map[string]*session
	groups   map[string]*group // by filter, with $share
	left     map[int]*due      // of groups that are gone, what members may have taken before
	retained map[string]*message
}

// session is one session, or the place for one as long as it is not alive.
type session struct {
	name    string
	version byte
	account string

	alive   bool
	stays   bool      // it outlives its connection
	expiry  uint32    // for how many seconds
	gone    time.Time // when its connection ended
	will    *message
	subs    map[string]*subscription
	dues    map[int]*due
	replays []*due
	held    map[uint16]int // QoS 2: ids that wait for their PUBREL, and the message of each
	seen    map[uint16]int // QoS 1: ids that may come again, and the message of each
	newest  map[string]int // by publisher: the highest seq that came live
	conn    *conn          // nil: not connected
	read    []string       // what came last, for people
}

func (o *oracle) begin(s *session) {
	s.alive = true
	s.subs, s.dues, s.replays = map[string]*subscription{}, map[int]*due{}, nil
	s.held, s.seen, s.newest = map[uint16]int{}, map[uint16]int{}, map[string]int{}
}

// end forgets what a session was.
func (o *oracle) end(s *session) {
	if !s.alive {
		return
	}
	for filter := range s.subs {
		if shared(filter) {
			o.quit(s, filter)
		}
	}
	s.alive, s.subs = false, nil
}

func shared(filter string) bool { return strings.HasPrefix(filter, "$share/") }

// quit takes a session out of a group. What it has taken of QoS 2 may go with it; with the last one everything goes.
func (o *oracle) quit(s *session, filter string) {
	g := o.groups[filter]
	g.shaky = true
	for _, d := range g.dues {
		if d.qos == 2 {
			d.must = false
		}
	}
	for _, other := range o.sessions {
		if other != s && other.subs[filter] != nil {
			return
		}
	}
	maps.Copy(o.left, g.dues)
	delete(o.groups, filter)
}

// published says who gets a message that is about to be sent for the first time.
func (o *oracle) published(m *message) {
	for _, s := range o.sessions {
		if s.alive {
			o.publishedTo(s, m)
		}
	}
	for _, g := range o.groups {
		if sessions.Matches(g.inner, m.topic) {
			qos := min(g.qos, m.qos)
			g.dues[m.n] = &due{m: m, qos: qos, must: qos == 1 || qos == 2 && !g.shaky}
		}
	}
	if !m.retain {
		return
	}
	for _, s := range o.sessions { // what was to be replayed is not any more, unless it has been
		for _, d := range s.replays {
			if d.m.topic == m.topic {
				d.must = false
			}
		}
	}
	if o.retained[m.topic] = m; m.empty {
		delete(o.retained, m.topic)
	}
}

func (o *oracle) publishedTo(s *session, m *message) {
	d := &due{m: m}
	found := false
	for _, sub := range s.subs {
		if shared(sub.filter) || !sessions.Matches(sub.filter, m.topic) || sub.noLocal && m.from == s.name {
			continue
		}
		found = true
		d.qos = max(d.qos, min(sub.qos, m.qos))
		d.retain = d.retain || m.retain && sub.asSaid
		if sub.id != 0 {
			d.ids = append(d.ids, sub.id)
		}
	}
	if found {
		d.must = d.qos > 0
		slices.Sort(d.ids)
		s.dues[m.n] = d
	}
}

// subscribed puts a subscription in, and says what is replayed.
func (o *oracle) subscribed(s *session, sub *subscription) {
	_, known := s.subs[sub.filter]
	s.subs[sub.filter] = sub
	if shared(sub.filter) {
		if o.groups[sub.filter] == nil {
			inner := strings.SplitN(sub.filter, "/", 3)[2]
			o.groups[sub.filter] = &group{inner: inner, qos: sub.qos, dues: map[int]*due{}}
		}
		return
	}
	if sub.handling == 2 || sub.handling == 1 && known {
		return
	}
	s.endReplay(sub.filter)
	for _, m := range o.retained {
		if !sessions.Matches(sub.filter, m.topic) || sub.noLocal && m.from == s.name {
			continue
		}
		d := &due{m: m, qos: min(m.qos, sub.qos), retain: true, replay: sub.filter}
		if d.must = d.qos > 0; sub.id != 0 {
			d.ids = []int{sub.id}
		}
		s.replays = append(s.replays, d)
	}
}

// endReplay says that what a filter has not replayed yet need not come. Of two replays that look the same it is not known
// which has come; it counts as the one that has to.
func (s *session) endReplay(filter string) {
	for _, d := range s.replays {
		if d.replay != filter {
			continue
		}
		d.must = false
		for _, other := range s.replays {
			if d.got > 0 && other.must && other.got == 0 && other.replay != filter && other.m == d.m && other.qos == d.qos &&
				slices.Equal(other.ids, d.ids) {
				d.got, other.got = 0, d.got
			}
		}
	}
}

func (o *oracle) unsubscribed(s *session, filter string) {
	delete(s.subs, filter)
	s.endReplay(filter)
	if shared(filter) {
		o.quit(s, filter)
	}
}

// delivery is a PUBLISH as a session got it.
type delivery struct {
	n      int
	topic  string
	qos    byte
	retain bool
	dup    bool
	ids    []int
}

// got judges a delivery. Repetitions of one that goes on have been left out.
func (o *oracle) got(s *session, d delivery) error {
	var replayed *due
	for _, r := range s.replays {
		if r.got == 0 && r.m.n == d.n && d.retain && r.qos == d.qos && slices.Equal(r.ids, d.ids) &&
			(replayed == nil || r.must) {
			replayed = r
		}
	}
	if replayed != nil {
		replayed.got++
		return nil
	}
	want := s.dues[d.n]
	if want == nil {
		return o.gotShared(s, d)
	}
	switch {
	case want.qos != d.qos || want.retain != d.retain || want.m.topic != d.topic || !slices.Equal(want.ids, d.ids):
		return fmt.Errorf("got %+v, want %v", d, want)
	case want.got == want.m.copies:
		return fmt.Errorf("got %+v again: %v", d, want)
	}
	if want.got++; d.qos == 0 || want.got > 1 {
		return nil
	}
	if newest := s.newest[want.m.from]; newest > want.m.seq {
		return fmt.Errorf("got %+v, number %d of %s, after its number %d", d, want.m.seq, want.m.from, newest)
	}
	s.newest[want.m.from] = want.m.seq
	return nil
}

// gotShared judges a delivery that is not for the session alone.
func (o *oracle) gotShared(s *session, d delivery) error {
	want := o.left[d.n]
	for filter, g := range o.groups {
		if x := g.dues[d.n]; x != nil && (s.subs[filter] != nil || x.qos == 2) {
			want = x
		}
	}
	switch {
	case want == nil:
		return fmt.Errorf("got %+v, which is not for it; retained there: %+v; replays: %v", d, o.retained[d.topic], s.replays)
	case want.qos != d.qos || want.m.topic != d.topic:
		return fmt.Errorf("got %+v, want %v", d, want)
	case want.qos == 2 && want.got == want.m.copies:
		return fmt.Errorf("got %+v again: %v", d, want)
	}
	want.got++
	return nil
}

// missing gives something that has to come and has not; nil: nothing.
func (o *oracle) missing() error {
	for _, name := range slices.Sorted(maps.Keys(o.sessions)) {
		s := o.sessions[name]
		if !s.alive {
			continue
		}
		for _, d := range s.replays {
			if d.must && d.got == 0 {
				return fmt.Errorf("%s misses %v", name, d)
			}
		}
		for _, d := range s.dues {
			if d.must && d.got == 0 {
				return fmt.Errorf("%s misses %v", name, d)
			}
		}
		for id, n := range s.held {
			return fmt.Errorf("%s misses the PUBREL of id %d, message %d", name, id, n)
		}
	}
	for filter, g := range o.groups {
		for _, d := range g.dues {
			if d.must && d.got == 0 {
				return fmt.Errorf("%s misses %v", filter, d)
			}
		}
	}
	return nil
}

// settle is called when everything that came has been acknowledged for certain: nothing of it may come again. What was given
// back to a group may still be on its way to another member.
func (o *oracle) settle() {
	for _, s := range o.sessions {
		maps.DeleteFunc(s.dues, func(_ int, d *due) bool { return d.got > 0 })
		s.replays = slices.DeleteFunc(s.replays, func(d *due) bool { return d.got > 0 })
		clear(s.seen)
	}
	for _, g := range o.groups {
		g.shaky = false
		maps.DeleteFunc(g.dues, func(_ int, d *due) bool {
			if d.got > 0 {
				d.settled++
			}
			return d.settled > 1
		})
	}
}
