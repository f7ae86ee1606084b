package e2e

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

// canary is in everything that carol must not see, and forged in everything that she must not be able to write.
const (
	canary = "between alice and bob only"
	forged = "written by carol"
)

// attack is a server on which alice and bob talk, and carol, who knows only bob, wants to know and say more.
type attack struct {
	t                 *testing.T
	s                 *server.Server
	alice, bob, carol *peer
}

func prepare(t *testing.T, version byte) *attack {
	t.Helper()
	s := twoFriends(t)
	s.Befriend("bob", "carol")
	return &attack{t, s, listen(t, s, "alice", "laptop", wire.V311, 1), listen(t, s, "bob", "phone", wire.V5, 1),
		listen(t, s, "carol", "intruder", version, 1)}
}

// failed sees that the attack did not succeed: alice and bob still talk, have seen nothing of carol's, and she has seen
// nothing of theirs. What bob says to carol after all that is the proof that everything before it has been looked at.
func (a *attack) failed() {
	a.t.Helper()
	a.alice.say("bob", canary)
	a.bob.say("alice", canary)
	a.bob.say("carol", "the end")
	a.until(a.alice, canary, forged)
	a.until(a.bob, "the end", forged)
	a.until(a.carol, "the end", canary)
	for _, text := range texts(a.t, a.s, "alice", "d.alice.bob") {
		if strings.Contains(text, forged) {
			a.t.Errorf("in the conversation stands %q", text)
		}
	}
}

// until reads up to the last packet that contains a text, and fails if any contains what it must not.
func (a *attack) until(p *peer, text, never string) {
	a.t.Helper()
	for found := false; !found; {
		packet := p.expect(wire.PUBLISH)
		if packet.QoS == 1 {
			p.send(wire.Packet{Type: wire.PUBACK, ID: packet.ID})
		}
		if bytes.Contains(packet.Payload, []byte(never)) {
			a.t.Errorf("%s got %s on %s", p.name, packet.Payload, packet.Topic)
		}
		found = bytes.Contains(packet.Payload, []byte(text))
	}
	p.ping()
	for _, packet := range p.waiting {
		if bytes.Contains(packet.Payload, []byte(never)) {
			a.t.Errorf("%s got %s on %s", p.name, packet.Payload, packet.Topic)
		}
	}
}

func TestNobodyCanSubscribeToWhatIsNotHis(t *testing.T) {
	long(t)
	filters := []string{
		"#", "+", "+/#", "/#", "im", "im/#", "im/+", "im/+/+/+", "im/u/#", "im/u/+", "im/u/+/in", "im/u/+/#", "im/+/alice/in",
		"im/+/alice/#", "+/u/alice/in", "+/+/+/in", "im/u/alice", "im/u/alice/in", "im/u/alice/#", "im/u/alice/+",
		"im/u/alice/rsp", "im/u/alice/eph", "im/u/bob/in", "im/u/me", "im/u/../alice/in", "im/u/me#", "im/u/carol#",
		"im/u/carol", "im/u//in", "im/u/Alice/in", "IM/u/alice/in", "/im/u/alice/in", "im//u/alice/in", "im/u/mealice/in",
		"$share/g/im/u/alice/in", "$share/g/im/u/+/in", "$share/g/im/u/me/in", "$share/g/im/u/carol/in", "$share/g/#",
		"$share//im/u/alice/in", "$share/g", "$share", "$share/im/u/alice/in", "$queue/im/u/alice/in",
		"$exclusive/im/u/alice/in", "im/c/d.alice.bob/live", "im/c/d.alice.bob/#", "im/c/+/live", "im/c/+/send", "im/c/#", "im/to/bob/send",
		"im/to/+/send", "im/rpc/#", "im/rpc/sync", "im/p/alice", "im/p/#", "im/p/+/bob", "$SYS/#", "$SYS/broker/clients/total", "$SYS/+/+",
		"dev/other/#", "dev/other/state", "dev/other/cmd/+", "$share/g/dev/#", "m/#", "$aws/#", "$delayed/1/im/u/alice/in",
		"$home/#", "$home/+/#", "$home/h.x/#", "$share/g/$home/h.x/#", "$+/#",
	}
	for version, v := range versions {
		t.Run(version, func(t *testing.T) {
			a := prepare(t, v)
			for _, f := range filters {
				a.carol.expectRefusal(f)
			}
			// In one packet with one that is granted, each is judged by itself.
			codes := a.carol.subscribe(1, "im/u/alice/in", "im/u/carol/eph", "im/u/bob/in")
			if len(codes) != 3 || codes[0] < 0x80 || codes[1] != 1 || codes[2] < 0x80 {
				t.Errorf("SUBACK % x, want only the second granted", codes)
			}
			a.failed()
		})
	}
}

// A filter for all of one's contacts is granted to everybody, and gives nothing of others.
func TestAllContactsAreOnesOwn(t *testing.T) {
	long(t)
	for version, v := range versions {
		t.Run(version, func(t *testing.T) {
			a := prepare(t, v)
			if codes := a.carol.subscribe(0, "im/p/+"); len(codes) != 1 || codes[0] != 0 {
				t.Fatalf("SUBACK % x, want it granted", codes)
			}
			a.carol.ping() // what is there now would have come before
			for _, packet := range a.carol.waiting {
				if strings.HasPrefix(packet.Topic, "im/p/") && packet.Topic != "im/p/bob" {
					t.Errorf("carol, whose only contact is bob, got %s on %s", packet.Payload, packet.Topic)
				}
			}
			a.failed()
		})
	}
}

// expectRefusal subscribes and wants a code that says no; for an invalid filter the connection may end instead, and
// then is made again.
func (p *peer) expectRefusal(filter string) {
	p.t.Helper()
	codes := p.subscribe(1, filter)
	if len(codes) != 1 || codes[0] < 0x80 {
		p.t.Errorf("SUBSCRIBE %q: SUBACK % x, want a refusal", filter, codes)
	}
	if p.Version() == wire.V311 && len(codes) == 1 && codes[0] != 0x80 {
		p.t.Errorf("SUBSCRIBE %q: SUBACK % x, and 3.1.1 knows only 80", filter, codes)
	}
}

func TestNobodyCanPublishWhatIsNotHis(t *testing.T) {
	long(t)
	topics := []string{
		"im/u/alice/in", "im/u/alice/rsp", "im/u/alice/eph", "im/u/bob/in", "im/u/carol/in", "im/u/me/in", "im/u/me/rsp",
		"im/c/d.alice.bob/send", "im/c/d.bob.alice/send", "im/c/d.alice.bob/read", "im/c/d.alice.bob/recv",
		"im/c/d.alice.bob/typing", "im/c/d.alice.bob/op", "im/c/d.alice.bob/sig", "im/c/d.alice.bob/live",
		"im/c/d.alice.alice/send", "im/c/d.alice.carol/send", "im/c//send", "im/to/alice/send", "im/to/alice/in", "im/to//send", "im/to/me/send",
		"im/p/alice", "im/rpc/history/x", "im/rpc/", "im/rpc", "$SYS/x", "$share/g/im/u/alice/in", "im", "/", "x",
		"$home/h.x/y", "$delayed/1/$home/h.x/y", "dev/alice/state", "im/u/alice", "im/to/Bob/send", "im/to/bob/send/", "/im/to/bob/send",
	}
	for version, v := range versions {
		for qos := range byte(3) {
			t.Run(fmt.Sprintf("%s QoS %d", version, qos), func(t *testing.T) {
				a := prepare(t, v)
				for _, topic := range topics {
					a.carol.tryPublish(topic, qos)
				}
				a.failed()
			})
		}
	}
}

// tryPublish publishes what must be refused.
func (p *peer) tryPublish(topic string, qos byte, props ...wire.Property) {
	p.t.Helper()
	id := p.id()
	p.send(publish(topic, forged, qos, id, props...))
	if qos == 0 {
		return
	}
	typ := wire.PUBACK
	if qos == 2 {
		typ = wire.PUBREC
	}
	ack := p.answer(typ, id)
	if p.Version() == wire.V5 && ack.Reason < 0x80 {
		p.t.Errorf("PUBLISH to %q: %s %#x, want a refusal", topic, typ, ack.Reason)
	}
	if qos == 2 && p.Version() == wire.V311 {
		p.send(wire.Packet{Type: wire.PUBREL, ID: id})
		p.answer(wire.PUBCOMP, id)
	}
}

func TestATopicAliasIsJudgedByWhatItStandsFor(t *testing.T) {
	long(t)
	a := prepare(t, wire.V5)
	alias := wire.Num(wire.TopicAlias, 1)
	id := a.carol.id()
	a.carol.send(publish("im/to/bob/send", "hello", 1, id, alias))
	if ack := a.carol.answer(wire.PUBACK, id); ack.Reason != 0 {
		t.Fatalf("PUBACK %#x", ack.Reason)
	}
	id = a.carol.id()
	a.carol.send(publish("", "hello again", 1, id, alias))
	if ack := a.carol.answer(wire.PUBACK, id); ack.Reason != 0 {
		t.Fatalf("PUBACK %#x by alias", ack.Reason)
	}
	for _, topic := range []string{"im/u/alice/in", "im/c/d.alice.bob/send", "im/to/alice/send"} {
		a.carol.tryPublish(topic, 1, alias) // now it stands for this
		a.carol.tryPublish("", 1, alias)
		a.carol.tryPublish("", 2, alias)
	}
	a.failed()
}

func TestAnAliasThatIsNotAllowedEndsOnlyItsOwnConnection(t *testing.T) {
	long(t)
	a := prepare(t, wire.V5)
	for _, p := range []wire.Packet{
		publish("im/to/bob/send", forged, 1, 9, wire.Num(wire.TopicAlias, 0)),
		publish("im/to/bob/send", forged, 1, 9, wire.Num(wire.TopicAlias, 65535)),
		publish("", forged, 1, 9, wire.Num(wire.TopicAlias, 2)),
		publish("", forged, 1, 9),
	} {
		carol := connect(t, a.s, "carol", "clumsy", wire.V5, short)
		carol.send(p)
		if reason, said := carol.gone(); !said || reason < 0x80 {
			t.Errorf("PUBLISH %q with %v: DISCONNECT %#x (%t), want a reason", p.Topic, p.Props, reason, said)
		}
	}
	a.failed()
}

func TestAWillHasNoMoreRightsThanItsClient(t *testing.T) {
	long(t)
	for version, v := range versions {
		t.Run(version, func(t *testing.T) {
			a := prepare(t, v)
			for _, topic := range []string{"im/u/alice/in", "im/u/carol/in", "$SYS/x", "x", "im/rpc/contact.accept", "#"} {
				p := dial(t, a.s, "carol", "will", v, short, will(wire.Will{Topic: topic, Payload: []byte(forged), QoS: 1}))
				if ack, err := p.receive(); err == nil && (ack.Type != wire.CONNACK || ack.Reason == 0) {
					t.Errorf("a will for %q was accepted: %+v", topic, ack)
				}
			}
			for qos := range byte(3) {
				for _, topic := range []string{"im/to/alice/send", "im/c/d.alice.bob/send", "im/c/d.alice.bob/read"} {
					w := will(wire.Will{Topic: topic, Payload: []byte(forged), QoS: qos})
					connect(t, a.s, "carol", "will", v, short, w).cut()
				}
			}
			// A will that she may have is published, so those before it have been dealt with.
			w := will(wire.Will{Topic: "im/to/bob/send", Payload: []byte("farewell"), QoS: 1})
			connect(t, a.s, "carol", "will", v, short, w).cut()
			if got := a.bob.message().Text(); got != "farewell" {
				t.Errorf("bob gets %q, want the will", got)
			}
			a.failed()
		})
	}
}

func TestARequestIsAnsweredToNobodyElse(t *testing.T) {
	long(t)
	a := prepare(t, wire.V5)
	second := listen(t, a.s, "carol", "second", wire.V311, 1)
	for _, topic := range []string{"im/u/alice/rsp", "im/u/alice/in", "im/u/bob/rsp", "im/to/bob/send", "x"} {
		id := a.carol.id()
		request := fmt.Sprintf(`{"usn":0,"x":%q}`, forged)
		a.carol.send(publish("im/rpc/sync", request, 1, id, wire.Str(wire.ResponseTopic, topic),
			wire.Str(wire.CorrelationData, forged)))
		a.carol.answer(wire.PUBACK, id)
	}
	for _, method := range []string{"history", "conv.list", "sync", "unread.get", "contact.list"} {
		id := a.carol.id()
		a.carol.send(publish("im/rpc/"+method, `{"c":"d.alice.bob","usn":0}`, 1, id,
			wire.Str(wire.ResponseTopic, "im/u/me/rsp"), wire.Str(wire.CorrelationData, method)))
		answer := a.carol.await("the answer to "+method, func(p wire.Packet) bool {
			correlation, _ := p.Props.Get(wire.CorrelationData)
			return p.Type == wire.PUBLISH && p.Topic == "im/u/me/rsp" && correlation.Str == method
		})
		if bytes.Contains(answer.Payload, []byte("alice")) {
			t.Errorf("%s tells carol %s", method, answer.Payload)
		}
	}
	a.failed()
	second.ping()
	for _, p := range second.waiting {
		if strings.HasSuffix(p.Topic, "/rsp") {
			t.Errorf("another session of hers got %s on %s", p.Payload, p.Topic)
		}
	}
}

func TestAClientIdIsNoKeyToSomebodyElsesSession(t *testing.T) {
	long(t)
	for version, v := range versions {
		t.Run(version, func(t *testing.T) {
			a := prepare(t, v)
			a.alice.cut()
			a.bob.say("alice", canary)
			for _, id := range []string{
				"laptop", "alice/laptop", "alice\x00laptop", "alice:laptop", "../alice/laptop", "alice laptop",
			} {
				p := dial(t, a.s, "carol", id, v)
				ack, err := p.receive()
				if err == nil && ack.Reason == 0 && ack.Present {
					t.Errorf("carol found a session as %q", id)
				}
				if err == nil && ack.Reason == 0 {
					p.ping()
					for _, packet := range p.waiting {
						t.Errorf("carol gets %s %s as %q", packet.Type, packet.Payload, id)
					}
				}
			}
			a.alice = connect(t, a.s, "alice", "laptop", wire.V311)
			if !a.alice.present {
				t.Error("alice's session is gone")
			}
			if got := a.alice.message().Text(); got != canary {
				t.Errorf("alice gets %q, want %q", got, canary)
			}
			a.failed()
		})
	}
}

func TestNobodyGetsInWithoutHisOwnSecret(t *testing.T) {
	long(t)
	// Failed attempts are limited, and here there are many.
	s := twoFriends(t, server.Env("MAGPIE_LIMITS_LOGIN_FAILURES=0"))
	listen(t, s, "alice", "laptop", wire.V5, 1)
	user := func(name string) with { return func(p *wire.Packet) { p.Connect.User = name } }
	for version, v := range versions {
		for name, changes := range map[string][]with{
			"carol's token":     {password(s.Token("carol"))},
			"no password":       {password("")},
			"a wrong password":  {password("guess")},
			"her own name":      {password("alice")},
			"another spelling":  {user("Alice"), password(s.Token("carol"))},
			"an unknown option": {user("alice?x=y")},
			"an option too far": {user("carol?user=alice"), password(s.Token("carol"))},
			"a path":            {user("../alice")},
			"a device":          {user("dev:alice")},
			"no name":           {user("")},
			"a zero":            {user("alice\x00")},
		} {
			t.Run(version+" "+name, func(t *testing.T) {
				p := dial(t, s, "alice", "laptop", v, changes...)
				if ack, err := p.receive(); err == nil && (ack.Type != wire.CONNACK || ack.Reason == 0) {
					t.Errorf("got in: %+v", ack)
				}
			})
		}
	}
	if p := connect(t, s, "alice", "laptop", wire.V5); !p.present {
		t.Error("alice's session is gone")
	}
}
