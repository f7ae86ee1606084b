package model

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/wire"
)

// model is one run.
type model struct {
	t          *testing.T
	node       *brokertest.Node
	rand       *rand.Rand // of the goroutine of the test
	readers    sync.WaitGroup
	publishers []*publisher
	subIDs     int
	packetID   uint16
	rounds     int

	mu         sync.Mutex // guards all below, and the oracle
	addr       string
	restarting bool
	oracle     *oracle
	changed    chan struct{} // closed and made anew when something has changed
	failed     error
	trace      []string
	read       []string // what the session got last that got something wrong
	messages   int
	deliveries int
	empties    map[string]int // by topic: the message without a payload
	keeps      int
	clearable  []string // topics whose retained message can be taken out
}

// deadline is how long everything may take that has to happen.
const deadline = 30 * time.Second

func (m *model) changedLocked() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *model) failLocked(format string, args ...any) {
	if m.failed == nil {
		m.failed = fmt.Errorf(format, args...)
		m.changedLocked()
	}
}

func (m *model) fail(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failLocked(format, args...)
}

// note writes what was done into the trace that is printed when a run fails.
func (m *model) note(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.trace = append(m.trace, fmt.Sprintf(format, args...))
}

// broken says whether the run has failed.
func (m *model) broken() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failed != nil
}

// await polls, with model.mu held, until ok gives nil.
func (m *model) await(what string, ok func() error) {
	limit := time.NewTimer(deadline)
	defer limit.Stop()
	for {
		m.mu.Lock()
		err, changed, failed := ok(), m.changed, m.failed
		m.mu.Unlock()
		if err == nil || failed != nil {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			m.fail("no %s: %v", what, err)
		}
	}
}

// dial connects, also while the node is being restarted.
func (m *model) dial(version byte, c wire.Connect, props wire.Properties) (*wire.Client, wire.Packet, string) {
	for {
		m.await("node", func() error {
			if m.restarting {
				return errors.New("it is restarting")
			}
			return nil
		})
		m.mu.Lock()
		addr := m.addr
		m.mu.Unlock()
		client, ack, err := wire.Open(addr, version, c, props...)
		m.mu.Lock()
		again := m.restarting || m.addr != addr
		if err == nil && ack.Reason != 0 {
			err = errors.Join(fmt.Errorf("CONNACK with %#x", ack.Reason), client.Close())
		}
		if err != nil && !again {
			m.failLocked("connect %s: %v", c.ClientID, err)
			client, again = &wire.Client{}, false
		}
		m.mu.Unlock()
		if err == nil || !again {
			return client, ack, addr
		}
	}
}

func (m *model) numberLocked(x *message) {
	m.messages++
	x.n, x.copies = m.messages, 1
	if x.empty {
		m.empties[x.topic] = x.n
	}
}

func (x *message) payload() []byte {
	if x.empty {
		return nil
	}
	return strconv.AppendInt(nil, int64(x.n), 10)
}

// how is what a session connects with.
type how struct {
	clean  bool
	expiry uint32
	window int
	will   bool
}

const forever = 3600

// connect connects a session, new or not, and takes over the connection that it has.
func (m *model) connect(s *session, h how) {
	o := m.oracle
	var props wire.Properties
	if s.version == wire.V5 {
		props = append(props, wire.Num(wire.SessionExpiry, h.expiry))
	} else if h.expiry = forever; h.clean {
		h.expiry = 0
	}
	if s.version == wire.V5 && h.window < 64 {
		props = append(props, wire.Num(wire.ReceiveMaximum, uint32(h.window)))
	} else {
		h.window = 64
	}
	c := wire.Connect{ClientID: s.name, User: s.account, Password: brokertest.Password, Clean: h.clean}
	m.note("connect %s %+v", s.name, h)
	m.mu.Lock()
	if s.conn != nil {
		m.lostLocked(s)
	}
	if h.clean {
		o.end(s)
	}
	was, before, gone := s.alive, time.Now(), s.gone
	if s.will = nil; h.will {
		will := &message{topic: "w/" + s.name, qos: byte(m.rand.IntN(3)), from: "the will of " + s.name}
		m.numberLocked(will)
		will.seq = will.n
		s.will = will
		c.Will = &wire.Will{Topic: will.topic, QoS: will.qos, Payload: will.payload()}
	}
	m.mu.Unlock()
	client, ack, addr := m.dial(s.version, c, props)
	m.mu.Lock()
	if m.failed != nil {
		m.mu.Unlock()
		return
	}
	life := time.Duration(s.expiry) * time.Second
	switch {
	case ack.Present && !was:
		m.failLocked("%s: a session is present that cannot be", s.name)
	case !ack.Present && was && time.Since(gone) < life:
		m.failLocked("%s: no session is present, %v after the end of a connection, of %v", s.name, time.Since(gone), life)
	case ack.Present && before.Sub(gone) > life+5*time.Second:
		m.failLocked("%s: a session is present %v after the end of a connection, of %v", s.name, before.Sub(gone), life)
	}
	if !ack.Present {
		o.end(s)
		o.begin(s)
	}
	s.expiry, s.stays = h.expiry, h.expiry > 0
	s.conn = m.newConn(client, s.name, addr, s, nil, h.window)
	m.mu.Unlock()
	if !ack.Present {
		m.subscribe(s, &subscription{filter: "q/" + s.name, qos: 1})
	}
}

// lostLocked says that the connection of a session ends now, without a DISCONNECT.
func (m *model) lostLocked(s *session) {
	s.conn.dead = true
	s.conn, s.gone = nil, time.Now()
	if s.will != nil {
		m.oracle.published(s.will)
		s.will = nil
	}
	if !s.stays {
		m.oracle.end(s)
	}
}

// cut ends the connection of a session, if it has one.
func (m *model) cut(s *session) {
	m.mu.Lock()
	c := s.conn
	if c != nil {
		m.lostLocked(s)
	}
	m.mu.Unlock()
	if c != nil {
		m.note("cut %s", s.name)
		_ = c.Close()
	}
}

// leave ends the connection of a session with a DISCONNECT, and takes its will back by that.
func (m *model) leave(s *session) {
	m.mu.Lock()
	c := s.conn
	if c != nil {
		s.will = nil
		m.lostLocked(s)
	}
	m.mu.Unlock()
	if c != nil {
		m.note("disconnect %s", s.name)
		_ = c.Send(wire.Packet{Type: wire.DISCONNECT})
		m.await("end of the connection of "+s.name, func() error { // or a restart would be faster than the packet
			if !c.finished {
				return errors.New("it is open")
			}
			return nil
		})
	}
}

func (m *model) nextPacketID() uint16 {
	m.packetID = m.packetID%1000 + 1
	return m.packetID
}

func (m *model) subscribe(s *session, sub *subscription) {
	options := sub.qos
	var props wire.Properties
	if s.version == wire.V5 {
		options |= bit(sub.noLocal, 0x04) | bit(sub.asSaid, 0x08) | sub.handling<<4
		if sub.id != 0 {
			props = append(props, wire.Num(wire.SubscriptionID, uint32(sub.id)))
		}
	} else {
		sub.noLocal, sub.asSaid, sub.handling, sub.id = false, false, 0, 0
	}
	m.note("subscribe %s %+v", s.name, *sub)
	m.mu.Lock()
	m.oracle.subscribed(s, sub)
	c := s.conn
	m.mu.Unlock()
	a := c.request(wire.Packet{Type: wire.SUBSCRIBE, ID: m.nextPacketID(), Props: props,
		Filters: []wire.Filter{{Topic: sub.filter, Options: options}}})
	if a.Type == wire.SUBACK && (len(a.Codes) != 1 || a.Codes[0] != sub.qos) {
		m.fail("%s: SUBACK for %s: % x", s.name, sub.filter, a.Codes)
	}
}

func bit(on bool, b byte) byte {
	if on {
		return b
	}
	return 0
}

func (m *model) unsubscribe(s *session, filter string) {
	m.note("unsubscribe %s %s", s.name, filter)
	a := s.conn.request(wire.Packet{Type: wire.UNSUBSCRIBE, ID: m.nextPacketID(), Filters: []wire.Filter{{Topic: filter}}})
	if s.version == wire.V5 && a.Type == wire.UNSUBACK && (len(a.Codes) != 1 || a.Codes[0] != 0) {
		m.fail("%s: UNSUBACK for %s: % x", s.name, filter, a.Codes)
	}
	m.mu.Lock()
	m.oracle.unsubscribed(s, filter)
	m.mu.Unlock()
}

// publishSelf has a session publish, and waits until that is acknowledged.
func (m *model) publishSelf(s *session, x *message) {
	m.note("publish %s %s %d", s.name, x.topic, x.qos)
	m.mu.Lock()
	m.numberLocked(x)
	x.from, x.seq = s.name, x.n
	m.oracle.published(x)
	c := s.conn
	m.mu.Unlock()
	id := m.nextPacketID()
	a := c.request(wire.Packet{Type: wire.PUBLISH, ID: id, QoS: x.qos, Topic: x.topic, Retain: x.retain, Payload: x.payload()})
	if x.qos == 2 && a.Type == wire.PUBREC {
		a = c.request(wire.Packet{Type: wire.PUBREL, ID: id})
	}
	if a.Reason >= 0x80 {
		m.fail("%s: reason %#x for message %d", s.name, a.Reason, x.n)
	}
}

// restart stops the node and starts it again, on the same store.
func (m *model) restart() {
	m.note("restart")
	m.mu.Lock()
	m.restarting = true
	for _, s := range m.oracle.sessions {
		if s.conn != nil {
			m.lostLocked(s)
		}
	}
	for _, p := range m.publishers {
		p.conn.dead = true
	}
	m.mu.Unlock()
	m.node.Restart()
	m.mu.Lock()
	m.restarting, m.addr = false, m.node.MQTT()
	m.changedLocked()
	m.mu.Unlock()
}

// report gives what a failed run is to be judged by.
func (m *model) report() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fmt.Sprintf("%v\nround %d; what was done last:\n  %s\nwhat it got last:\n  %s",
		m.failed, m.rounds, strings.Join(m.trace[max(0, len(m.trace)-100):], "\n  "), strings.Join(m.read, "\n  "))
}
