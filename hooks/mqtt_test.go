package hooks_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/e2e/wire"
)

// versions are the protocols that every client may speak.
var versions = map[string]byte{"3.1.1": wire.V311, "5": wire.V5}

// client is a wire.Client with the words of these tests.
type client struct {
	*wire.Client
	t *testing.T
}

func connect(t *testing.T, n *brokertest.Node, version byte, c wire.Connect, props ...wire.Property) *client {
	t.Helper()
	if c.Password == "" {
		c.Password = brokertest.Password
	}
	cl, ack, err := wire.Open(n.MQTT(), version, c, props...)
	if err != nil || ack.Reason != 0 {
		t.Fatalf("connect as %s: %v, reason %#x", c.User, err, ack.Reason)
	}
	t.Cleanup(func() { _ = cl.Close() })
	return &client{cl, t}
}

func (c *client) send(p wire.Packet) {
	c.t.Helper()
	if err := c.Send(p); err != nil {
		c.t.Fatalf("send %v: %v", p.Type, err)
	}
}

// read gives the next packet, which has to be of this type.
func (c *client) read(want wire.Type) wire.Packet {
	c.t.Helper()
	p, err := c.Read(time.Now().Add(brokertest.Deadline))
	if err != nil || p.Type != want {
		c.t.Fatalf("read %v (%+v), %v, want %v", p.Type, p, err, want)
	}
	return p
}

func (c *client) subscribe(filters ...wire.Filter) []byte {
	c.t.Helper()
	c.send(wire.Packet{Type: wire.SUBSCRIBE, ID: 65000, Filters: filters})
	ack := c.read(wire.SUBACK)
	return ack.Codes
}

// event reads a PUBLISH, acknowledges it, and gives its payload as JSON.
func (c *client) event() (topic string, fields map[string]any) {
	c.t.Helper()
	p := c.read(wire.PUBLISH)
	if p.QoS == 1 {
		c.send(wire.Packet{Type: wire.PUBACK, ID: p.ID})
	}
	if err := json.Unmarshal(p.Payload, &fields); err != nil {
		c.t.Fatalf("payload %q: %v", p.Payload, err)
	}
	return p.Topic, fields
}

// ended reads until the connection ends and gives the reason of the DISCONNECT, if there was one.
func (c *client) ended() (reason byte, told bool) {
	c.t.Helper()
	deadline := time.Now().Add(brokertest.Deadline)
	for {
		p, err := c.Read(deadline)
		switch {
		case errors.Is(err, wire.ErrTimeout):
			c.t.Fatal("the connection did not end")
		case err != nil:
			return reason, told
		case p.Type == wire.DISCONNECT:
			reason, told = p.Reason, true
		}
	}
}

func start(t *testing.T, change ...func(*broker.Config)) *brokertest.Node {
	t.Helper()
	n := brokertest.Start(t, change...)
	n.AddUsers("alice", "bob", "carol")
	n.Befriend("alice", "bob")
	return n
}

func TestRequestsAreAnsweredToTheSessionThatAsked(t *testing.T) {
	n := start(t)
	other := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "other", Clean: true})
	other.subscribe(wire.Filter{Topic: "im/u/me/rsp", Options: 1})

	t.Run("5, response topic and correlation data", func(t *testing.T) {
		c := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "five", Clean: true})
		c.subscribe(wire.Filter{Topic: "im/u/me/rsp", Options: 1})
		c.send(wire.Packet{
			Type: wire.PUBLISH, QoS: 1, ID: 1, Topic: "im/rpc/contact.list", Payload: []byte("{}"),
			Props: wire.Properties{wire.Str(wire.ResponseTopic, "im/u/alice/rsp"), wire.Str(wire.CorrelationData, "\x01\xff")},
		})
		p := c.readBoth(wire.PUBACK, wire.PUBLISH)
		if data, _ := p.Props.Get(wire.CorrelationData); data.Str != "\x01\xff" {
			t.Errorf("correlation data %q, want %q", data.Str, "\x01\xff")
		}
		if p.Topic != "im/u/me/rsp" || !strings.Contains(string(p.Payload), `"who":"bob"`) {
			t.Errorf("answer on %s: %s", p.Topic, p.Payload)
		}
	})
	t.Run("3.1.1, rid", func(t *testing.T) {
		c := connect(t, n, wire.V311, wire.Connect{User: "alice", ClientID: "three", Clean: true})
		c.subscribe(wire.Filter{Topic: "im/u/alice/#", Options: 0})
		c.send(wire.Packet{
			Type: wire.PUBLISH, QoS: 1, ID: 1, Topic: "im/rpc/unread.get", Payload: []byte(`{"rid":"r-1"}`)})
		p := c.readBoth(wire.PUBACK, wire.PUBLISH)
		var answer struct {
			Type string `json:"t"`
			RID  string `json:"rid"`
			OK   bool   `json:"ok"`
		}
		if err := json.Unmarshal(p.Payload, &answer); err != nil || answer.RID != "r-1" || !answer.OK || answer.Type != "rsp" {
			t.Errorf("answer %s, %v", p.Payload, err)
		}
	})
	t.Run("an answer may not go elsewhere", func(t *testing.T) {
		c := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "five", Clean: true})
		c.send(wire.Packet{
			Type: wire.PUBLISH, QoS: 1, ID: 1, Topic: "im/rpc/contact.list", Payload: []byte("{}"),
			Props: wire.Properties{wire.Str(wire.ResponseTopic, "im/u/bob/rsp")},
		})
		if ack := c.read(wire.PUBACK); ack.Reason != 0x87 {
			t.Errorf("reason %#x, want 0x87", ack.Reason)
		}
	})
	if p, err := other.Read(time.Now()); !errors.Is(err, wire.ErrTimeout) {
		t.Errorf("a session that did not ask read %+v, %v", p, err)
	}
}

// readBoth reads two packets, which may come in either order, acknowledges the PUBLISH and gives it.
func (c *client) readBoth(a, b wire.Type) (published wire.Packet) {
	c.t.Helper()
	want := map[wire.Type]bool{a: true, b: true}
	for len(want) > 0 {
		p, err := c.Read(time.Now().Add(brokertest.Deadline))
		if err != nil || !want[p.Type] {
			c.t.Fatalf("read %+v, %v, want one of %v", p, err, want)
		}
		delete(want, p.Type)
		if p.Type == wire.PUBLISH {
			published = p
			if p.QoS == 1 {
				c.send(wire.Packet{Type: wire.PUBACK, ID: p.ID})
			}
		}
	}
	return published
}

func TestAnAckEventPrecedesThePuback(t *testing.T) {
	n := start(t)
	c := connect(t, n, wire.V311, wire.Connect{User: "alice", ClientID: "c", Clean: true})
	c.subscribe(wire.Filter{Topic: "im/u/me/rsp", Options: 1})
	c.send(wire.Packet{
		Type: wire.PUBLISH, QoS: 1, ID: 7, Topic: "im/to/bob/send", Payload: []byte(`{"k":"text","body":{"text":"hi"},"mid":"m1"}`)})
	_, event := c.event()
	if event["t"] != "ack" || event["ok"] != true || event["mid"] != "m1" || event["pid"] != 7.0 || event["seq"] != 1.0 {
		t.Errorf("event %v, want the ack of m1 in packet 7", event)
	}
	if ack := c.read(wire.PUBACK); ack.ID != 7 {
		t.Errorf("PUBACK for %d, want 7", ack.ID)
	}
}

func TestDeliveriesCarryTheSpellingSubscribedLast(t *testing.T) {
	n := start(t)
	alice := connect(t, n, wire.V311, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	bob := connect(t, n, wire.V311, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	for i, spelling := range []string{"im/u/me/in", "im/u/bob/in"} {
		if codes := bob.subscribe(wire.Filter{Topic: spelling, Options: 1}); codes[0] != 1 {
			t.Fatalf("subscribe to %s: %#x", spelling, codes)
		}
		alice.send(wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: uint16(i + 1), Topic: "im/to/bob/send", Payload: []byte("hi")})
		alice.read(wire.PUBACK)
		if topic, event := bob.event(); topic != spelling || event["seq"] != float64(i+1) {
			t.Errorf("delivered %v on %s, want seq %d on %s", event, topic, i+1, spelling)
		}
	}
}

func TestTypingReachesTheOthersAndIsNeverStored(t *testing.T) {
	n := start(t)
	alice := connect(t, n, wire.V311, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	bob := connect(t, n, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	bob.subscribe(wire.Filter{Topic: "im/u/me/+", Options: 1})
	alice.send(wire.Packet{Type: wire.PUBLISH, Topic: "im/c/d.alice.bob/typing", Payload: []byte("1")})
	topic, event := bob.event()
	if topic != "im/u/me/eph" || event["t"] != "typing" || event["who"] != "alice" || event["on"] != true {
		t.Errorf("read %v on %s, want alice typing on im/u/me/eph", event, topic)
	}
	page, err := n.Chat().Sync(t.Context(), "bob", 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range page.Events {
		if e.Type == "typing" {
			t.Errorf("typing is in the stream: %+v", e)
		}
	}
}

func TestAWillIsPublishedOnlyWithoutAGoodbye(t *testing.T) {
	n := start(t)
	will := func(text string) wire.Connect {
		return wire.Connect{User: "alice", ClientID: "w", Clean: true,
			Will: &wire.Will{Topic: "im/to/bob/send", Payload: []byte(text), QoS: 1}}
	}
	bob := connect(t, n, wire.V311, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	bob.subscribe(wire.Filter{Topic: "im/u/me/in", Options: 1})

	polite := connect(t, n, wire.V5, will("not this"))
	polite.send(wire.Packet{Type: wire.DISCONNECT})
	polite.ended()
	// MQTT 5, 3.14.2.1: 0x04 asks for the will, here in the form that mochi does not decode.
	asked := connect(t, n, wire.V5, will("asked for"))
	if err := asked.SendRaw([]byte{0xE0, 0x01, 0x04}); err != nil {
		t.Fatal(err)
	}
	asked.ended()
	cut := connect(t, n, wire.V311, will("cut"))
	if err := cut.Close(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"asked for", "cut"} {
		_, event := bob.event()
		body, _ := event["body"].(map[string]any)
		if event["from"] != "alice" || body["text"] != want {
			t.Errorf("read %v, want %q from alice", event, want)
		}
	}
}

func TestOnlyAPlainGoodbyeWithholdsTheWill(t *testing.T) {
	n := start(t, func(c *broker.Config) {
		c.ACL = append(c.ACL, broker.ACLConfig{Topic: "t/#", Who: "all", Allow: []string{"pub", "sub"}})
	})
	watcher := connect(t, n, wire.V5, wire.Connect{User: "bob", ClientID: "w", Clean: true})
	watcher.subscribe(wire.Filter{Topic: "t/#", Options: 0})
	for topic, goodbye := range map[string]string{
		"t/0": "\xe0\x00", "t/1": "\xe0\x01\x04", "t/2": "\xe0\x01\x80", "t/3": "\xe0\x02\x98\x00", "t/4": "\xe0\x01\x8e",
	} {
		c := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "c", Clean: true,
			Will: &wire.Will{Topic: topic, Payload: []byte("x")}})
		if err := c.SendRaw([]byte(goodbye)); err != nil {
			t.Fatal(err)
		}
		c.ended()
		if topic == "t/0" {
			continue
		}
		if p := watcher.read(wire.PUBLISH); p.Topic != topic {
			t.Errorf("after % x came %s, want %s", goodbye, p.Topic, topic)
		}
	}
}

func TestAWillIsCheckedAtConnect(t *testing.T) {
	t.Parallel()
	n := start(t)
	for _, topic := range []string{"im/u/bob/in", "im/rpc/history", "elsewhere"} {
		for name, version := range versions {
			t.Run(fmt.Sprintf("%s, %s", topic, name), func(t *testing.T) {
				_, ack, err := wire.Open(n.MQTT(), version, wire.Connect{User: "alice", Password: brokertest.Password,
					ClientID: "w", Clean: true, Will: &wire.Will{Topic: topic, Payload: []byte("x")}})
				if err != nil || ack.Reason == 0 {
					t.Errorf("CONNACK %#x, %v, want a refusal", ack.Reason, err)
				}
			})
		}
	}
}

func TestAStopTellsEveryClient(t *testing.T) {
	t.Parallel()
	n := start(t)
	five := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true})
	three := connect(t, n, wire.V311, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	n.Stop()
	if reason, told := five.ended(); !told || reason != 0x8B {
		t.Errorf("a client of MQTT 5 was told %#x (%v), want 0x8B", reason, told)
	}
	if _, told := three.ended(); told {
		t.Error("a client of MQTT 3.1.1 was sent a DISCONNECT, which it does not know")
	}
}

func TestADisabledAccountIsDisconnected(t *testing.T) {
	t.Parallel()
	n := start(t)
	c := connect(t, n, wire.V5, wire.Connect{User: "carol", ClientID: "c", Clean: true})
	if err := n.Disable(t, "carol"); err != nil {
		t.Fatal(err)
	}
	if reason, told := c.ended(); !told || reason != 0x98 {
		t.Errorf("told %#x (%v), want 0x98", reason, told)
	}
	_, ack, err := wire.Open(n.MQTT(), wire.V5, wire.Connect{User: "carol", Password: brokertest.Password, ClientID: "c"})
	if err != nil || ack.Reason == 0 {
		t.Errorf("CONNACK %#x, %v, want a refusal", ack.Reason, err)
	}
}

func TestATokenIsAPassword(t *testing.T) {
	t.Parallel()
	n := start(t)
	token, _, err := n.Accounts().Login(t.Context(), "alice", brokertest.Password, "test", n.Loopback())
	if err != nil {
		t.Fatal(err)
	}
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			connect(t, n, version, wire.Connect{User: "alice", Password: token, ClientID: "t", Clean: true})
		})
	}
	if err := n.Accounts().Revoke(t.Context(), "alice", accounts.DigestOf(token)); err != nil {
		t.Fatal(err)
	}
	_, ack, err := wire.Open(n.MQTT(), wire.V5, wire.Connect{User: "alice", Password: token, ClientID: "t"})
	if err != nil || ack.Reason != 0x86 {
		t.Errorf("CONNACK %#x, %v with a revoked token, want 0x86", ack.Reason, err)
	}
}

func TestABurstOverTheRateIsReadSlowlyAndNotRefused(t *testing.T) {
	n := start(t, func(c *broker.Config) { c.Limits.PublishRate, c.Limits.PublishBurst = 200, 10 })
	c := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "c", Clean: true})
	const sent = 60
	for id := uint16(1); id <= sent; id++ {
		c.send(wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: id, Topic: "im/to/bob/send", Payload: []byte("hi")})
	}
	for id := uint16(1); id <= sent; id++ {
		if ack := c.read(wire.PUBACK); ack.ID != id || ack.Reason != 0 {
			t.Fatalf("PUBACK %d with %#x, want %d with success", ack.ID, ack.Reason, id)
		}
	}
}

func TestConnackTellsWhatThereIs(t *testing.T) {
	t.Parallel()
	n := start(t)
	_, ack, err := wire.Open(n.MQTT(), wire.V5, wire.Connect{User: "alice", Password: brokertest.Password, Clean: true})
	if err != nil {
		t.Fatal(err)
	}
	want := map[byte]uint32{
		wire.ReceiveMaximum: 1024, wire.MaximumPacketSize: 1 << 20, wire.TopicAliasMaximum: 32,
		wire.RetainAvailable: 1, wire.SharedAvailable: 1,
	}
	for id, value := range want {
		if p, ok := ack.Props.Get(id); !ok || p.Num != value {
			t.Errorf("property %d is %d (there: %v), want %d", id, p.Num, ok, value)
		}
	}
	if p, ok := ack.Props.Get(wire.AssignedClientID); !ok || p.Str == "" {
		t.Error("no client id was assigned")
	}
}

// A client that asks for much, reads nothing and goes leaves a reader that waits for room among the answers, answers that
// wait for the client, and nobody who would read from the dead socket.
func TestAConnectionEndsWhenTheSocketOfAClientThatReadsNothingDies(t *testing.T) {
	t.Parallel()
	n := start(t, func(c *broker.Config) {
		c.Limits.Inbound = 8
		c.Limits.WriteTimeout = broker.Duration(time.Second)
	})
	body, err := json.Marshal(map[string]string{"x": strings.Repeat("x", 60<<10)})
	if err != nil {
		t.Fatal(err)
	}
	for range 6 {
		_, commit, err := n.Chat().Send(t.Context(), "alice", chat.Target{User: "bob"}, chat.Content{Kind: "x.y", Body: body}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := commit.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c := connect(t, n, wire.V311, wire.Connect{User: "alice", ClientID: "x", Clean: true})
	c.subscribe(wire.Filter{Topic: "im/u/me/rsp", Options: 0})
	for range 60 {
		c.send(wire.Packet{Type: wire.PUBLISH, Topic: "im/rpc/history", Payload: []byte(`{"c":"d.alice.bob"}`)})
	}
	if err := c.Conn().SetWriteDeadline(time.Now().Add(brokertest.Deadline)); err != nil {
		t.Fatal(err)
	}
	for id := uint16(1); id < 60_000; id++ { // until the server reads no more, and then ends the connection
		read := wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: id, Topic: "im/c/d.alice.bob/read", Payload: []byte("1")}
		if c.Send(read) != nil {
			break
		}
	}
	for deadline := time.Now().Add(brokertest.Deadline); n.Connections() > 0; {
		if time.Now().After(deadline) {
			t.Fatalf("%d connections are left", n.Connections())
		}
		time.Sleep(10 * time.Millisecond)
	}
}
