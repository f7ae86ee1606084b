package journal

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// broker is a server of free topics without faults, small enough to be seen through, and the journal of its clients.
type broker struct {
	acts     []Act
	boot     int32
	clients  []*guest
	retained map[string]*news
	turn     int // of the members of groups
	match    traffic
}

// news is a message on its way.
type news struct {
	Act
	from *guest
}

// guest is a client and what the server knows of it.
type guest struct {
	session string
	version byte
	keeps   bool
	will    *Act
	silent  bool // does not answer
	here    bool
	exists  bool // the session
	conn    int32
	n       int32
	pid     uint16
	filters []Act // of SUBSCRIBE
	waiting []Act // deliveries
	flying  []Act // without an answer
	left    *news // the will of the connection
}

func newBroker() *broker {
	return &broker{boot: 1, retained: map[string]*news{}, match: traffic{matched: map[pair]bool{}}}
}

func (b *broker) guest(session string, version byte, keeps bool) *guest {
	g := &guest{session: session, version: version, keeps: keeps}
	b.clients = append(b.clients, g)
	return g
}

func (b *broker) write(g *guest, a Act) {
	a.Session, a.Conn = g.session, g.conn
	b.acts = append(b.acts, a)
}

func (b *broker) connect(g *guest) {
	if g.here { // a takeover
		g.conn++
		b.connecting(g)
		b.end(g, true)
	} else {
		g.conn++
		b.connecting(g)
	}
	present := g.exists && g.keeps
	b.write(g, Act{Do: Connected, Present: present, Boot: b.boot})
	g.here, g.exists = true, true
	if !present {
		g.filters, g.waiting, g.flying = nil, nil, nil
	}
	again := g.flying
	g.flying = nil
	for _, a := range again {
		a.Dup, a.Known = true, a.QoS == 2
		b.hand(g, a)
	}
	b.flush(g)
}

// connecting writes the CONNECT, with a will.
func (b *broker) connecting(g *guest) {
	a := Act{Do: Connect, Version: g.version, Clean: !g.keeps, Keeps: g.keeps, Boot: b.boot}
	var left *news
	if g.will != nil {
		g.n++
		a.Topic, a.QoS, a.Retain, a.Delay, a.N, a.Sum = g.will.Topic, g.will.QoS, g.will.Retain, g.will.Delay, g.n, 7
		left = &news{Act{Topic: a.Topic, QoS: a.QoS, Retain: a.Retain, Delay: a.Delay, From: g.session, N: a.N, Sum: a.Sum}, g}
	}
	b.write(g, a)
	if before := g.left; before != nil && g.here && before.Delay == 0 {
		b.spread(before)
	}
	g.left = left
}

// end ends a connection; after a break its will is published.
func (b *broker) end(g *guest, taken bool) {
	g.here = false
	if !g.keeps {
		g.exists, g.filters, g.waiting, g.flying = false, nil, nil, nil
	}
	if left := g.left; !taken && left != nil && left.Delay == 0 {
		g.left = nil
		b.spread(left)
	}
}

func (b *broker) cut(g *guest) {
	b.write(g, Act{Do: Cut})
	b.end(g, false)
}

func (b *broker) leave(g *guest) {
	b.write(g, Act{Do: Left})
	g.left = nil
	b.end(g, false)
}

// kill takes everybody's connection away, publishes the wills and has everybody come back.
func (b *broker) kill() {
	b.acts = append(b.acts, Act{Do: Killed})
	b.boot++
	var here []*guest
	for _, g := range b.clients {
		if g.here {
			here = append(here, g)
			g.here = false
			b.write(g, Act{Do: Ended})
		}
	}
	for _, g := range here {
		b.end(g, false)
	}
	for _, g := range here {
		b.connect(g)
	}
}

func (b *broker) subscribe(g *guest, filter string, options byte) {
	a := Act{Do: Subscribe, Topic: filter, QoS: options & optionQoS, Options: options}
	b.write(g, a)
	g.filters = slices.DeleteFunc(g.filters, func(f Act) bool { return f.Topic == filter })
	code := a.QoS
	if strings.HasPrefix(g.session, "mallory/") {
		code = 0x87
	}
	b.write(g, Act{Do: Subscribed, Topic: filter, QoS: code})
	if code > 2 {
		return
	}
	g.filters = append(g.filters, a)
	for _, topic := range []string{"r/0", "r/1", "w/frail"} {
		if m := b.retained[topic]; m != nil && b.match.matches(filter, topic) {
			b.hand(g, Act{Topic: topic, From: m.from.session, N: m.N, Sum: m.Sum, Retain: true, QoS: min(m.QoS, a.QoS)})
		}
	}
}

func (b *broker) unsubscribe(g *guest, filter string) {
	b.write(g, Act{Do: Unsubscribe, Topic: filter})
	g.filters = slices.DeleteFunc(g.filters, func(f Act) bool { return f.Topic == filter })
	b.write(g, Act{Do: Unsubscribed, Topic: filter})
}

func (b *broker) publish(g *guest, topic string, qos byte, retain bool) {
	g.n++
	m := &news{Act{Topic: topic, QoS: qos, Retain: retain, From: g.session, N: g.n, Sum: uint32(g.n)}, g}
	b.write(g, Act{Do: Sent, Topic: topic, QoS: qos, Retain: retain, N: m.N, Sum: m.Sum, PID: uint16(g.n)})
	mallory := strings.HasPrefix(g.session, "mallory/")
	if !mallory {
		b.spread(m)
	}
	switch {
	case qos == 0:
	case mallory && g.version == 5:
		b.write(g, Act{Do: Refused, N: m.N, Reason: 0x87})
	default:
		b.write(g, Act{Do: Acked, N: m.N})
	}
}

// spread delivers a message to everybody who is to get it.
func (b *broker) spread(m *news) {
	if m.Retain {
		b.retained[m.Topic] = m
	}
	groups := map[string][]*guest{}
	for _, g := range b.clients {
		best, found, asIs := byte(0), false, false
		for _, f := range g.filters {
			if rest, shared := strings.CutPrefix(f.Topic, "$share/"); shared {
				if _, filter, _ := strings.Cut(rest, "/"); b.match.matches(filter, m.Topic) {
					groups[f.Topic] = append(groups[f.Topic], g)
				}
				continue
			}
			own := f.Options&optionNoLocal != 0 && m.from == g
			if b.match.matches(f.Topic, m.Topic) && !own {
				best, found, asIs = max(best, f.QoS), true, asIs || f.Options&optionAsIs != 0
			}
		}
		if found {
			g.waiting = append(g.waiting, Act{Topic: m.Topic, From: m.from.session, N: m.N, Sum: m.Sum, QoS: min(best, m.QoS),
				Retain: asIs && m.Retain})
			b.flush(g)
		}
	}
	for filter, members := range groups {
		b.turn++
		g := members[b.turn%len(members)]
		qos := g.filters[slices.IndexFunc(g.filters, func(f Act) bool { return f.Topic == filter })].QoS
		g.waiting = append(g.waiting, Act{Topic: m.Topic, From: m.from.session, N: m.N, Sum: m.Sum, QoS: min(qos, m.QoS)})
		b.flush(g)
	}
}

// flush sends what waits for a client that is there.
func (b *broker) flush(g *guest) {
	if !g.here {
		g.waiting = slices.DeleteFunc(g.waiting, func(a Act) bool { return a.QoS == 0 })
		return
	}
	waiting := g.waiting
	g.waiting = nil
	for _, a := range waiting {
		b.hand(g, a)
	}
}

func (b *broker) hand(g *guest, a Act) {
	if a.Do = Got; a.QoS > 0 && a.PID == 0 {
		g.pid++
		a.PID = g.pid
	}
	b.write(g, a)
	switch {
	case a.QoS == 0:
	case g.silent:
		g.flying = append(g.flying, a)
	case slices.ContainsFunc(g.filters, func(f Act) bool { return strings.HasPrefix(f.Topic, "$share/") }):
		b.write(g, Act{Do: Answered, From: a.From, N: a.N})
	}
}

// fair is a journal with everything in it that the checker knows, and without a fault.
func fair() []Act {
	b := newBroker()
	b.acts = append(b.acts, Act{Do: Denied, Session: "mallory", Topic: "#"})
	sensor, meter := b.guest("alice/sensor", 5, true), b.guest("bob/meter", 4, true)
	archive, mirror, wall := b.guest("alice/archive", 5, true), b.guest("bob/mirror", 4, true), b.guest("bob/wall", 5, true)
	mute, fickle, peek := b.guest("bob/mute", 4, true), b.guest("carol/fickle", 5, true), b.guest("carol/peek", 4, false)
	clerk1, clerk2 := b.guest("alice/clerk1", 5, true), b.guest("bob/clerk2", 4, true)
	worker1, worker2 := b.guest("alice/worker1", 5, true), b.guest("bob/worker2", 5, true)
	frail, calm := b.guest("carol/frail", 5, true), b.guest("carol/calm", 5, true)
	evil, old := b.guest("mallory/evil", 5, true), b.guest("mallory/old", 4, true)
	frail.will = &Act{Topic: "w/frail", QoS: 2, Retain: true}
	calm.will = &Act{Topic: "w/calm", QoS: 1, Delay: 3600}
	mute.silent = true
	for _, g := range b.clients {
		b.connect(g)
	}
	for g, f := range map[*guest]Act{archive: {Topic: "#", QoS: 2}, mirror: {Topic: "#", QoS: 1}, wall: {Topic: "#"},
		mute: {Topic: "a/+", QoS: 2}, peek: {Topic: "#", QoS: 2}, sensor: {Topic: "a/0", QoS: 1 | optionNoLocal},
		clerk1: {Topic: "$share/clerks/k/+", QoS: 2}, clerk2: {Topic: "$share/clerks/k/+", QoS: 2},
		worker1: {Topic: "$share/workers/j/+", QoS: 1}, worker2: {Topic: "$share/workers/j/+", QoS: 1},
		evil: {Topic: "a/#", QoS: 1}, old: {Topic: "#", QoS: 1}} {
		b.subscribe(g, f.Topic, f.QoS)
	}
	b.subscribe(fickle, "a/#", 1)
	b.subscribe(fickle, "a/0", 2)
	b.subscribe(fickle, "r/+", 1|optionAsIs)
	for i := range 240 {
		g := []*guest{sensor, meter, frail}[i%3]
		topic := []string{"a/0", "r/0", "a/1", "j/0", "r/1", "k/0"}[i/3%6]
		b.publish(g, topic, []byte{1, 0, 2, 1}[i/36%4], topic[0] == 'r')
		if i%4 == 0 {
			b.step(i/4, sensor, archive, mirror, mute, fickle, peek, frail, calm, evil, old, worker1)
		}
	}
	visitor := b.guest("carol/visitor", 5, false)
	b.connect(visitor)
	b.subscribe(visitor, "#", 2)
	for _, g := range b.clients {
		b.acts = append(b.acts, Act{Do: Drained, Session: g.session})
	}
	return b.acts
}

// step lets something happen.
func (b *broker) step(i int, sensor, archive, mirror, mute, fickle, peek, frail, calm, evil, old, worker1 *guest) {
	switch i {
	case 5:
		b.publish(evil, "a/0", 1, false)
		b.publish(old, "a/0", 1, false)
	case 8:
		b.cut(mirror)
		b.leave(worker1)
	case 14:
		b.connect(worker1)
		b.cut(frail)
		b.connect(frail)
	case 20:
		b.leave(frail)
		b.connect(frail)
		b.unsubscribe(fickle, "a/#")
		b.unsubscribe(fickle, "a/0")
	case 26:
		b.kill()
		b.subscribe(peek, "#", 2)
	case 28:
		b.connect(mirror)
	case 32:
		b.connect(frail) // takes over
		b.cut(archive)
		b.connect(archive)
		b.cut(calm)
		b.connect(calm)
		b.cut(sensor)
		b.connect(sensor)
	case 34:
		b.cut(mute)
		mute.silent = false
		b.connect(mute)
	case 36:
		b.cut(frail)
		b.connect(frail)
	case 40:
		b.cut(peek)
		b.connect(peek)
		b.subscribe(peek, "#", 2)
	}
}

func TestFairTrafficHasNoFaults(t *testing.T) {
	if faults := CheckTraffic(fair()); len(faults) > 0 {
		t.Errorf("got\n%s", Summary(faults))
	}
}

func TestDoctoredTrafficIsCaught(t *testing.T) {
	for _, d := range TrafficDoctors {
		t.Run(d.Name, func(t *testing.T) {
			acts, err := d.Apply(fair())
			if err != nil {
				t.Fatal(err)
			}
			faults := CheckTraffic(acts)
			if !slices.ContainsFunc(faults, func(f Fault) bool { return f.Rule == d.Want }) {
				t.Errorf("no fault of rule %q, but\n%s", d.Want, Summary(faults))
			}
		})
	}
}

func TestTrafficIsReadAsItWasWritten(t *testing.T) {
	var j Traffic
	want := fair()
	for _, a := range want {
		j.Write(a)
	}
	file := filepath.Join(t.TempDir(), "journal")
	if err := j.Save(file); err != nil {
		t.Fatal(err)
	}
	got, err := OpenTraffic(file)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %d lines, %v, want %d", len(got), err, len(want))
	}
}

// What a QoS 0 subscriber missed may come when it is sent again; without that it comes in the wrong order.
func TestWhatIsSentAgainMayComeLate(t *testing.T) {
	journal := func(again ...Act) []Act {
		acts := []Act{
			{Do: Connect, Session: "a/pub", Conn: 1, Version: 5, Boot: 1}, {Do: Connected, Session: "a/pub", Conn: 1, Boot: 1},
			{Do: Connect, Session: "a/sub", Conn: 1, Version: 5, Boot: 1}, {Do: Connected, Session: "a/sub", Conn: 1, Boot: 1},
			{Do: Subscribe, Session: "a/sub", Conn: 1, Topic: "t"}, {Do: Subscribed, Session: "a/sub", Conn: 1, Topic: "t"},
			{Do: Sent, Session: "a/pub", Conn: 1, Topic: "t", QoS: 1, N: 1, Sum: 1},
			{Do: Sent, Session: "a/pub", Conn: 1, Topic: "t", QoS: 1, N: 2, Sum: 2},
			{Do: Got, Session: "a/sub", Conn: 1, Topic: "t", From: "a/pub", N: 2, Sum: 2},
		}
		return append(append(acts, again...), Act{Do: Got, Session: "a/sub", Conn: 1, Topic: "t", From: "a/pub", N: 1, Sum: 1})
	}
	if faults := CheckTraffic(journal()); len(faults) != 1 || faults[0].Rule != Reordered {
		t.Errorf("sent once: got %s, want %s", Summary(faults), Reordered)
	}
	again := Act{Do: Sent, Session: "a/pub", Conn: 1, Topic: "t", QoS: 1, N: 1, Sum: 1, Dup: true}
	if faults := CheckTraffic(journal(again)); len(faults) > 0 {
		t.Errorf("sent again: got %s, want no faults", Summary(faults))
	}
}
