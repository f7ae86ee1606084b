package model

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/wire"
)

// TestSessionsGetWhatTheModelSays runs random rounds. MAGPIE_TEST_SEED chooses the run, MAGPIE_TEST_ROUNDS how many rounds
// it has.
func TestSessionsGetWhatTheModelSays(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	seed := uint64(time.Now().UnixNano())
	if s, err := strconv.ParseUint(os.Getenv("MAGPIE_TEST_SEED"), 10, 64); err == nil {
		seed = s
	}
	rounds := 200
	if brokertest.Small() {
		rounds = 5
	}
	if n, err := strconv.Atoi(os.Getenv("MAGPIE_TEST_ROUNDS")); err == nil {
		rounds = n
	}
	t.Logf("MAGPIE_TEST_SEED=%d", seed)
	m := start(t, seed)
	began := time.Now()
	for m.rounds = 1; m.rounds <= rounds && !m.broken(); m.rounds++ {
		m.quiet()
		m.storm()
		m.settle()
	}
	m.stop()
	if m.failed != nil {
		t.Fatalf("seed %d: %s", seed, m.report())
	}
	t.Logf("%d rounds, %d messages, %d deliveries in %v", rounds, m.messages, m.deliveries, time.Since(began).Round(time.Second))
}

func start(t *testing.T, seed uint64) *model {
	t.Helper()
	node := brokertest.Start(t, func(cfg *broker.Config) {
		cfg.ACL = []broker.ACLConfig{{Topic: "#", Who: "all", Allow: []string{"pub", "sub"}}}
		cfg.Accounts.HashMemory, cfg.Accounts.HashPasses = 8<<10, 1
	})
	node.AddUsers("alice", "bob")
	m := &model{
		t: t, node: node, rand: rand.New(rand.NewPCG(seed, 4)), addr: node.MQTT(),
		changed: make(chan struct{}), empties: map[string]int{},
		oracle: &oracle{sessions: map[string]*session{}, groups: map[string]*group{}, left: map[int]*due{},
			retained: map[string]*message{}},
	}
	for i := range 7 {
		s := &session{name: fmt.Sprint("s", i), version: byte(4 + i%2), account: []string{"alice", "bob"}[i/2%2]}
		m.oracle.sessions[s.name] = s
	}
	for i := range 3 {
		p := &publisher{m: m, name: fmt.Sprint("p", i), version: byte(4 + i%2), account: "bob"}
		p.connect()
		m.publishers = append(m.publishers, p)
	}
	watcher := &session{name: "watcher", version: wire.V5, account: "alice"}
	m.oracle.sessions[watcher.name] = watcher
	m.connect(watcher, how{expiry: forever, window: 64})
	m.subscribe(watcher, &subscription{filter: "w/#", qos: 2})
	return m
}

// stop ends all connections and waits for their readers.
func (m *model) stop() {
	m.mu.Lock()
	var conns []*conn
	for _, s := range m.oracle.sessions {
		if s.conn != nil {
			conns = append(conns, s.conn)
		}
	}
	for _, p := range m.publishers {
		conns = append(conns, p.conn)
	}
	for _, c := range conns {
		c.dead = true
	}
	m.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
	}
	m.node.Stop() // ends what was taken over
	m.readers.Wait()
}

// some gives a session.
func (m *model) some() *session {
	names := slices.Sorted(maps.Keys(m.oracle.sessions))
	return m.oracle.sessions[names[m.rand.IntN(len(names))]]
}

// someOrdinary gives a session that may do everything.
func (m *model) someOrdinary() *session {
	for {
		if s := m.some(); s.name != "watcher" {
			return s
		}
	}
}

// how gives a way to connect.
func (m *model) how(s *session) how {
	h := how{window: 64, expiry: forever, will: m.rand.IntN(3) == 0}
	if m.rand.IntN(3) == 0 {
		h.window = 1 + m.rand.IntN(20)
	}
	switch m.rand.IntN(12) {
	case 0:
		h.clean = true
	case 1:
		h.clean, h.expiry = true, 0
	case 2:
		h.expiry = 0
	case 3:
		h.expiry = 1
	}
	if s.name == "watcher" {
		h.clean, h.expiry, h.will = false, forever, false
	}
	return h
}

// quiet changes who subscribes to what, while nobody publishes.
func (m *model) quiet() {
	for range 4 + m.rand.IntN(8) {
		if m.broken() {
			return
		}
		s := m.someOrdinary()
		if s.conn == nil {
			m.connect(s, m.how(s))
			continue
		}
		switch m.rand.IntN(12) {
		case 0:
			m.connect(s, m.how(s))
		case 1:
			m.leave(s)
		case 2, 3:
			m.quit(s)
		case 4, 5:
			m.share(s)
		case 6, 7:
			topic := fmt.Sprintf("t/%c/%s", 'a'+m.rand.IntN(3), s.name)
			m.publishSelf(s, &message{topic: topic, qos: byte(1 + m.rand.IntN(2)), retain: m.rand.IntN(4) == 0})
		default:
			m.subscribe(s, m.someSubscription())
		}
	}
}

var filters = []string{"t/#", "t/+/p0", "t/a/+", "t/a/p0", "t/b/p1", "+/c/p2", "t/a", "t/+/+", "t/k/#", "t/a/#", "t/b/p1/#"}

func (m *model) someSubscription() *subscription {
	sub := &subscription{
		filter: filters[m.rand.IntN(len(filters))], qos: byte(m.rand.IntN(3)),
		noLocal: m.rand.IntN(4) == 0, asSaid: m.rand.IntN(2) == 0, handling: byte(m.rand.IntN(4) % 3),
	}
	if m.rand.IntN(2) == 0 {
		m.subIDs++
		sub.id = m.subIDs
	}
	return sub
}

// share has a session join a group. One that may expire at any moment does not.
func (m *model) share(s *session) {
	g := m.rand.IntN(3) // no message is for two of them, so that it is known from which it came
	filter := []string{"$share/one/x/0", "$share/one/x/1/#", "$share/two/+/2"}[g]
	if s.expiry != 1 && s.subs[filter] == nil {
		m.subscribe(s, &subscription{filter: filter, qos: byte(1 + g%2)})
	}
}

// quit has a session give up one of its filters.
func (m *model) quit(s *session) {
	list := slices.Sorted(maps.Keys(s.subs))
	if filter := list[m.rand.IntN(len(list))]; filter != "q/"+s.name {
		m.unsubscribe(s, filter)
	}
}

// storm publishes while everything happens to connections.
func (m *model) storm() {
	var publishing sync.WaitGroup
	published := make(chan struct{})
	for i, p := range m.publishers {
		random := rand.New(rand.NewPCG(m.rand.Uint64(), 5))
		publishing.Go(func() { m.publish(p, i, random, 10+random.IntN(60)) })
	}
	go func() {
		publishing.Wait()
		m.mu.Lock()
		close(published)
		m.changedLocked()
		m.mu.Unlock()
	}()
	restarts := m.rand.IntN(12) == 0
	for over := false; !over && !m.broken(); {
		at := m.now() + m.rand.IntN(12)
		m.await("publishing", func() error {
			select {
			case <-published:
				over = true
			default:
				if m.messages < at {
					return fmt.Errorf("%d messages, not %d", m.messages, at)
				}
			}
			return nil
		})
		if restarts && m.rand.IntN(8) == 0 {
			restarts = false
			m.restart()
			continue
		}
		m.trouble(m.some())
	}
	publishing.Wait()
}

func (m *model) now() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.messages
}

// trouble does something to a connection.
func (m *model) trouble(s *session) {
	m.mu.Lock()
	c := s.conn
	m.mu.Unlock()
	switch k := m.rand.IntN(10); {
	case c == nil && k < 4, c != nil && k == 0: // a takeover, if there is one
		m.connect(s, m.how(s))
	case c != nil && k < 3:
		m.cut(s)
	case c != nil && k < 7:
		m.mu.Lock()
		if err := c.hold(!c.holding); err != nil {
			m.failLocked("%s: %v", s.name, err)
		}
		m.mu.Unlock()
	}
}

// publish is what one publisher does in a storm.
func (m *model) publish(p *publisher, i int, random *rand.Rand, n int) {
	for range n {
		if m.broken() {
			return
		}
		x := &message{topic: fmt.Sprintf("t/%c/p%d", 'a'+random.IntN(3), i), qos: byte(random.IntN(3))}
		switch k := random.IntN(40); {
		case k < 12:
			x.topic = fmt.Sprint("x/", random.IntN(3))
		case k < 14 && i == 0:
			m.keepOrClear(x, random)
		case k < 24:
			// One of QoS 0 may be lost, and one of QoS 1 that is sent again comes behind one of QoS 2 that is not: it has to be
			// known what is retained in the end.
			x.retain, x.qos = true, 1+x.topic[2]%2
		case k == 24:
			p.cut()
		}
		p.publish(x)
	}
	p.await(0)
}

// keepOrClear makes a message one that is retained for a topic of its own, or one that takes such a message out.
func (m *model) keepOrClear(x *message, random *rand.Rand) {
	x.qos, x.retain = byte(1+random.IntN(2)), true
	if x.empty = len(m.clearable) > 20; x.empty {
		x.topic, m.clearable = m.clearable[0], m.clearable[1:]
		return
	}
	m.keeps++
	x.topic = fmt.Sprint("t/k/", m.keeps)
	m.clearable = append(m.clearable, x.topic)
}

// settle connects every session, reads until nothing is missing, and sees to it that nothing more comes.
func (m *model) settle() {
	for _, name := range slices.Sorted(maps.Keys(m.oracle.sessions)) {
		s := m.oracle.sessions[name]
		if m.broken() {
			return
		}
		if s.conn == nil && s.alive {
			m.connect(s, how{expiry: forever, window: 64})
		}
		if s.conn != nil {
			m.mu.Lock()
			if err := s.conn.hold(false); err != nil {
				m.failLocked("%s: %v", s.name, err)
			}
			m.mu.Unlock()
		}
	}
	m.await("quiet", m.oracle.missing)
	for _, s := range m.oracle.sessions { // what was to come before, has come when this has
		if s.conn != nil && !m.broken() {
			m.publishers[0].publish(&message{topic: "q/" + s.name, qos: 1})
		}
	}
	m.publishers[0].await(0)
	m.await("the last messages", m.oracle.missing)
	for _, s := range m.oracle.sessions {
		if s.conn != nil && !m.broken() {
			s.conn.ping()
		}
	}
	m.mu.Lock()
	m.oracle.settle()
	m.mu.Unlock()
}
