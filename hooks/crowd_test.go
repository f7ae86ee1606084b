package hooks_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/e2e/wire"
)

// large makes a channel of carol, which is large from the start, that others have joined.
func large(t *testing.T, n *brokertest.Node, who ...accounts.Name) chat.Conversation {
	t.Helper()
	title := "city"
	c, _, commit, err := n.Chat().CreateRoom(t.Context(), "carol", chat.KindChannel, chat.RoomPatch{Title: &title}, nil, nil)
	for _, name := range who {
		if err == nil {
			_, _, commit, err = n.Chat().JoinRoom(t.Context(), name, c, "", "", nil)
		}
	}
	if err == nil {
		err = commit.Wait(t.Context())
	}
	if err != nil {
		t.Fatalf("make a channel: %v", err)
	}
	return c
}

// say publishes a text with QoS 1 and reads its ack, after what else there is.
func (c *client) say(to chat.Conversation, text string) {
	c.t.Helper()
	c.send(wire.Packet{Type: wire.PUBLISH, QoS: 1, ID: 7, Topic: "im/c/" + string(to) + "/send", Payload: []byte(text)})
	c.read(wire.PUBACK)
}

// heard reads an event of the client's stream that is in no stream.
func (c *client) heard(topic string) string {
	c.t.Helper()
	p := c.read(wire.PUBLISH)
	if p.Topic != topic || p.QoS != 0 || p.Retain {
		c.t.Errorf("%s on %s with QoS %d, retained %v, want on %s with 0", p.Payload, p.Topic, p.QoS, p.Retain, topic)
	}
	var e struct {
		T, C                       string
		USN                        *uint64
		Seq, Head, Unread, Mention uint64
		Body                       struct{ Text string }
		Total, AsOf                *uint64
	}
	if err := json.Unmarshal(p.Payload, &e); err != nil || e.USN == nil || *e.USN != 0 || e.Total != nil || e.AsOf != nil {
		c.t.Fatalf("event %s, %v, want one with usn 0 and without numbers", p.Payload, err)
	}
	if e.T == "head" {
		return fmt.Sprintf("head city %d unread %d", e.Head, e.Unread)
	}
	return fmt.Sprintf("%s city %d %s", e.T, e.Seq, e.Body.Text)
}

func (c *client) wantHeard(topic, want string) {
	c.t.Helper()
	if got := c.heard(topic); got != want {
		c.t.Errorf("heard %q, want %q", got, want)
	}
}

func TestALargeConversationIsHeardLive(t *testing.T) {
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			n := start(t)
			city := large(t, n, "alice", "bob")
			carol := connect(t, n, version, wire.Connect{User: "carol", ClientID: "c", Clean: true})
			carol.say(city, "before")
			props := keep(version)
			alice := connect(t, n, version, wire.Connect{User: "alice", ClientID: "a"}, props...)
			alice.subscribe(wire.Filter{Topic: "im/u/me/in", Options: 1})
			alice.wantHeard("im/u/me/in", "head city 1 unread 1")
			bob := connect(t, n, version, wire.Connect{User: "bob", ClientID: "b", Clean: true})
			bob.subscribe(wire.Filter{Topic: "im/u/bob/#", Options: 2})
			bob.wantHeard("im/u/bob/in", "head city 1 unread 1")
			carol.say(city, "hello")
			alice.wantHeard("im/u/me/in", "msg city 2 hello")
			bob.wantHeard("im/u/bob/in", "msg city 2 hello")

			alice.send(wire.Packet{Type: wire.DISCONNECT})
			alice.ended()
			carol.say(city, "away")
			alice = connect(t, n, version, wire.Connect{User: "alice", ClientID: "a"}, props...)
			alice.wantHeard("im/u/me/in", "head city 3 unread 3")
			if _, err := n.Chat().LeaveRoom(t.Context(), "alice", city, nil); err != nil {
				t.Fatal(err)
			}
			bob.wantHeard("im/u/bob/in", "msg city 3 away")
			carol.say(city, "without alice")
			bob.wantHeard("im/u/bob/in", "msg city 4 without alice")
			if _, e := alice.event(); e["t"] != "conv" || e["st"] != "left" {
				t.Errorf("event %v, want that alice has left", e)
			}
			alice.send(wire.Packet{Type: wire.PINGREQ})
			alice.read(wire.PINGRESP)
		})
	}
}

func TestATerminalHearsALargeConversationAsText(t *testing.T) {
	n := start(t)
	city := large(t, n, "alice")
	alice := connect(t, n, wire.V5, wire.Connect{User: "alice", ClientID: "a", Clean: true},
		wire.Property{ID: wire.UserProperty, Name: "fmt", Str: "text"})
	alice.subscribe(wire.Filter{Topic: "im/u/me/in"})
	carol := connect(t, n, wire.V5, wire.Connect{User: "carol", ClientID: "c", Clean: true})
	carol.say(city, "hello\nalice")
	if p := alice.read(wire.PUBLISH); string(p.Payload) != "carol@city: hello ⏎ alice" {
		t.Errorf("heard %q, want a line", p.Payload)
	}
}

// club makes a group of alice and bob, who are contacts, and lets carol join it.
func club(t *testing.T, n *brokertest.Node) chat.Conversation {
	t.Helper()
	title, open := "club", chat.JoinOpen
	patch := chat.RoomPatch{Title: &title, Join: &open}
	c, _, _, err := n.Chat().CreateRoom(t.Context(), "alice", chat.KindGroup, patch, []accounts.Name{"bob"}, nil)
	var commit chat.Commit
	if err == nil {
		_, _, commit, err = n.Chat().JoinRoom(t.Context(), "carol", c, "", "", nil)
	}
	if err == nil {
		err = commit.Wait(t.Context())
	}
	if err != nil {
		t.Fatalf("make a group: %v", err)
	}
	return c
}

func TestAGroupHearsWhoTypesAndTheSenderWhoHasRead(t *testing.T) {
	t.Parallel()
	for name, version := range versions {
		t.Run(name, func(t *testing.T) {
			n := start(t)
			c := club(t, n)
			alice := connect(t, n, version, wire.Connect{User: "alice", ClientID: "a", Clean: true})
			carol := connect(t, n, version, wire.Connect{User: "carol", ClientID: "c", Clean: true})
			bob := connect(t, n, version, wire.Connect{User: "bob", ClientID: "b", Clean: true})
			for _, x := range []*client{alice, carol} {
				x.subscribe(wire.Filter{Topic: "im/u/me/eph"})
			}
			typing := "im/c/" + string(c) + "/typing"
			bob.publish(typing, "1")
			bob.publish(typing, "0")
			for _, x := range []*client{alice, carol} {
				for _, on := range []bool{true, false} {
					if topic, e := x.event(); topic != "im/u/me/eph" || e["t"] != "typing" || e["who"] != "bob" || e["on"] != on {
						t.Errorf("%v on %s, want that bob types %v", e, topic, on)
					}
				}
			}
			alice.say(c, "hello")
			alice.subscribe(wire.Filter{Topic: "im/u/me/in", Options: 1})
			bob.publish("im/c/"+string(c)+"/read", `{"seq":3,"private":true}`)
			if _, e := alice.event(); e["t"] != "rcpt" || e["seq"] != 3.0 || e["recv_n"] != 1.0 || e["read_n"] != 0.0 || e["of"] != 2.0 {
				t.Errorf("receipt %v, want that 1 of 2 has received it", e)
			}
			carol.publish("im/c/"+string(c)+"/read", "3")
			if _, e := alice.event(); e["t"] != "rcpt" || e["recv_n"] != 2.0 || e["read_n"] != 1.0 {
				t.Errorf("receipt %v, want that 2 have received and 1 has read it", e)
			}
			bob.publish("im/c/"+string(c)+"/read", `{"seq":"x"}`)
		})
	}
}
