package things

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

// line is a raw connection of a user or a device. It acknowledges nothing by itself. Packets that nobody has asked for yet
// wait in the order in which they came.
type line struct {
	*wire.Client
	t       testing.TB
	name    string
	waiting []wire.Packet
	ids     uint16
}

type with func(*wire.Packet)

// kept has the session outlive the connection.
func kept(p *wire.Packet) {
	p.Connect.Clean = false
	p.Props = append(p.Props, wire.Num(wire.SessionExpiry, 3600))
}

// connect connects somebody with a session that ends with the connection, unless a change says otherwise.
func (h *home) connect(version byte, who, client string, changes ...with) *line {
	h.t.Helper()
	s := h.as(who, client)
	c, err := wire.Dial(s.Addr, version)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() }) // it may have been
	p := wire.Packet{Type: wire.CONNECT,
		Connect: wire.Connect{ClientID: client, User: s.User, Password: s.Password, Clean: true}}
	for _, change := range changes {
		change(&p)
	}
	l := &line{Client: c, t: h.t, name: who + "/" + client}
	l.send(p)
	if ack := l.expect(wire.CONNACK); ack.Reason != 0 {
		h.t.Fatalf("%s: CONNACK %#x", l.name, ack.Reason)
	}
	return l
}

// device connects the lamp, which takes commands.
func (h *home) device(version byte, changes ...with) *line {
	h.t.Helper()
	l := h.connect(version, h.lamp, h.lamp, changes...)
	l.must(1, "dev/me/cmd/+")
	return l
}

func (l *line) send(packets ...wire.Packet) {
	l.t.Helper()
	if err := l.Send(packets...); err != nil {
		l.t.Fatalf("%s: %v", l.name, err)
	}
}

// await gives the first packet for which ok holds; those before it go on waiting.
func (l *line) await(what string, ok func(wire.Packet) bool) wire.Packet {
	l.t.Helper()
	if i := slices.IndexFunc(l.waiting, ok); i >= 0 {
		p := l.waiting[i]
		l.waiting = slices.Delete(l.waiting, i, i+1)
		return p
	}
	for {
		p, err := l.Read(time.Now().Add(server.Deadline))
		if err != nil {
			l.t.Fatalf("%s waits for %s: %v; got before: %s", l.name, what, err, describe(l.waiting))
		}
		if ok(p) {
			return p
		}
		l.waiting = append(l.waiting, p)
	}
}

func describe(packets []wire.Packet) string {
	var all []string
	for _, p := range packets {
		all = append(all, fmt.Sprintf("%s %s %.200s", p.Type, p.Topic, p.Payload))
	}
	return strings.Join(all, "; ")
}

func (l *line) expect(typ wire.Type) wire.Packet {
	l.t.Helper()
	return l.await(typ.String(), func(p wire.Packet) bool { return p.Type == typ })
}

func (l *line) answer(typ wire.Type, id uint16) wire.Packet {
	l.t.Helper()
	return l.await(fmt.Sprint(typ, " ", id), func(p wire.Packet) bool { return p.Type == typ && p.ID == id })
}

// subscribe gives the codes of the SUBACK.
func (l *line) subscribe(qos byte, filters ...string) []byte {
	l.t.Helper()
	l.ids++
	sub := wire.Packet{Type: wire.SUBSCRIBE, ID: l.ids}
	for _, f := range filters {
		sub.Filters = append(sub.Filters, wire.Filter{Topic: f, Options: qos})
	}
	l.send(sub)
	return l.answer(wire.SUBACK, sub.ID).Codes
}

// must subscribes, and fails if that is refused.
func (l *line) must(qos byte, filters ...string) {
	l.t.Helper()
	if codes := l.subscribe(qos, filters...); slices.ContainsFunc(codes, func(c byte) bool { return c > 2 }) {
		l.t.Fatalf("%s may not subscribe to %q: % x", l.name, filters, codes)
	}
}

// publish publishes with QoS 1, and gives the PUBACK.
func (l *line) publish(topic, payload string, props ...wire.Property) wire.Packet {
	l.t.Helper()
	l.ids++
	l.send(wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: l.ids, Topic: topic, Payload: []byte(payload), Props: props})
	return l.answer(wire.PUBACK, l.ids)
}

// say publishes what has to be accepted.
func (l *line) say(topic string, payload any) {
	l.t.Helper()
	if ack := l.publish(topic, text(payload)); ack.Reason >= 0x80 {
		l.t.Fatalf("%s: PUBLISH %s %s: %#x %v", l.name, topic, text(payload), ack.Reason, ack.Props)
	}
}

// told waits for a PUBLISH on a topic for which ok holds, acknowledges it, and gives what it says.
func (l *line) told(topic string, ok func(m) bool) m {
	l.t.Helper()
	p := l.await("a document on "+topic, func(p wire.Packet) bool {
		return p.Type == wire.PUBLISH && p.Topic == topic && (ok == nil || ok(parse(l.t, p.Payload)))
	})
	l.ack(p)
	return parse(l.t, p.Payload)
}

func (l *line) ack(p wire.Packet) {
	l.t.Helper()
	if p.QoS == 1 {
		l.send(wire.Packet{Type: wire.PUBACK, ID: p.ID})
	}
}

// command waits for the next command, which it does not acknowledge.
func (l *line) command() (wire.Packet, m) {
	l.t.Helper()
	p := l.await("a command", func(p wire.Packet) bool {
		return p.Type == wire.PUBLISH && strings.HasPrefix(p.Topic, "dev/me/cmd/")
	})
	if p.QoS != 1 || p.Retain {
		l.t.Errorf("%s: a command with QoS %d, retain %v", l.name, p.QoS, p.Retain)
	}
	doc := parse(l.t, p.Payload)
	if p.Topic != fmt.Sprint("dev/me/cmd/", doc["cid"]) {
		l.t.Errorf("%s: command %v on %s", l.name, doc["cid"], p.Topic)
	}
	return p, doc
}

// says has a device say what became of a command.
func (l *line) says(cid any, state string) {
	l.t.Helper()
	l.say(fmt.Sprintf("dev/me/cmd/%v/ack", cid), m{"s": state})
}

// leave closes the connection without a word.
func (l *line) leave() {
	l.t.Helper()
	if err := l.Close(); err != nil {
		l.t.Error(err)
	}
}

// steps follows what an app is told of commands.
type steps struct {
	*line
	lamp string
	seen map[string][]string // states by cid, each once
	last map[string]m
}

// watch connects alice, who is told each step of the lamp's commands, also of those that happen while she is away.
func (h *home) watch(version byte) *steps {
	h.t.Helper()
	s := &steps{h.connect(version, "alice", app(version), kept), h.lamp, map[string][]string{}, map[string]m{}}
	s.must(1, s.topic("status/+"))
	return s
}

// topic is one of the lamp's.
func (s *steps) topic(path string) string { return "dev/" + s.lamp + "/" + path }

// back connects her again.
func (s *steps) back(h *home) {
	h.t.Helper()
	s.line = h.connect(s.Version(), "alice", app(s.Version()), kept)
}

func app(version byte) string { return fmt.Sprint("app-", version) }

var calls atomic.Int64

// call has her give the lamp a command, and gives its cid.
func (s *steps) call(call m) string {
	s.t.Helper()
	if call["mid"] == nil {
		call["mid"] = fmt.Sprint("call ", calls.Add(1))
	}
	s.say(s.topic("call"), call)
	for {
		doc := s.step()
		if doc["mid"] == call["mid"] {
			return doc["cid"].(string)
		}
	}
}

// step reads the next step of any command.
func (s *steps) step() m {
	s.t.Helper()
	p := s.await("a step of a command", func(p wire.Packet) bool {
		return p.Type == wire.PUBLISH && strings.HasPrefix(p.Topic, s.topic("status/"))
	})
	s.ack(p)
	doc := parse(s.t, p.Payload)
	cid, state := fmt.Sprint(doc["cid"]), fmt.Sprint(doc["s"])
	if p.Topic != s.topic("status/"+cid) {
		s.t.Errorf("a step of %s on %s", cid, p.Topic)
	}
	if all := s.seen[cid]; len(all) == 0 || all[len(all)-1] != state {
		s.seen[cid] = append(all, state)
	}
	s.last[cid] = doc
	return doc
}

// until reads steps until a command has come to a state, and gives what was said of it then.
func (s *steps) until(cid, state string) m {
	s.t.Helper()
	for !slices.Contains(s.seen[cid], state) {
		s.step()
	}
	return s.last[cid]
}

// want fails if a command has gone through other states.
func (s *steps) want(cid, states string) {
	s.t.Helper()
	if got := strings.Join(s.seen[cid], " "); got != states {
		s.t.Errorf("command %s went through %s, want %s", cid, got, states)
	}
}
