package e2e

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

// seen is what presence.get says of somebody, and what is told on im/p.
type seen struct {
	T       string `json:"t"`
	Who     string `json:"who"`
	On      *bool  `json:"on"`
	State   string `json:"state"`
	Devices int    `json:"dev"`
	Seen    int64  `json:"seen"`
}

func (s seen) on() bool  { return s.On != nil && *s.On }
func (s seen) off() bool { return s.On != nil && !*s.On }

// asks calls presence.get for one user.
func asks(t *testing.T, s *server.Server, user, who string) seen {
	t.Helper()
	var out struct {
		Presence []seen `json:"presence"`
	}
	s.Call(user, "presence.get", map[string]any{"who": []string{who}}, &out)
	if len(out.Presence) != 1 || out.Presence[0].Who != who {
		t.Fatalf("presence.get gave %+v, want one of %s", out.Presence, who)
	}
	return out.Presence[0]
}

// present opens a connection of a user.
func present(t *testing.T, s *server.Server, version byte, user, id string) *wire.Client {
	t.Helper()
	c, ack, err := wire.Open(s.MQTT(), version, wire.Connect{ClientID: id, User: user, Password: s.Token(user), Clean: true})
	if err != nil || ack.Reason != 0 {
		t.Fatalf("connect as %s: %v, reason %#x", user, err, ack.Reason)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// watchContacts subscribes to all contacts and gives how the first of them is.
func watchContacts(t *testing.T, c *wire.Client) seen {
	t.Helper()
	subscribe := wire.Packet{Type: wire.SUBSCRIBE, ID: 1, Filters: []wire.Filter{{Topic: "im/p/+"}}}
	if err := c.Send(subscribe); err != nil {
		t.Fatal(err)
	}
	if p, err := c.Read(time.Now().Add(server.Deadline)); err != nil || p.Type != wire.SUBACK || p.Codes[0] != 0 {
		t.Fatalf("read %+v, %v, want SUBACK 0", p, err)
	}
	return shown(t, c)
}

func shown(t *testing.T, c *wire.Client) (x seen) {
	t.Helper()
	p, err := c.Read(time.Now().Add(server.Deadline))
	if err != nil || p.Type != wire.PUBLISH || p.Topic != "im/p/"+field(t, p, "who") {
		t.Fatalf("read %+v, %v, want a presence", p, err)
	}
	if err := json.Unmarshal(p.Payload, &x); err != nil || x.T != "presence" {
		t.Fatalf("presence %s, %v", p.Payload, err)
	}
	return x
}

func field(t *testing.T, p wire.Packet, name string) string {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal(p.Payload, &fields); err != nil {
		t.Fatalf("payload %q: %v", p.Payload, err)
	}
	text, _ := fields[name].(string)
	return text
}

// Right after a kill -9 nobody is there who has not come again, and those who were there were seen last about then.
func TestNobodyIsThereAfterAKill(t *testing.T) {
	s := server.Start(t)
	s.AddUsers("alice", "bob")
	s.Befriend("alice", "bob")
	came := time.Now()
	for round, version := range []byte{wire.V311, wire.V5} {
		bob := present(t, s, version, "bob", "b")
		watchContacts(t, bob)
		present(t, s, version, "alice", "a")
		if x := shown(t, bob); !x.on() {
			t.Fatalf("round %d: shown %+v, want alice there", round, x)
		}
		// The note that alice is there shares a batch with what comes then, or is before it.
		s.Call("alice", "contact.set", map[string]any{"who": "bob", "remark": string(rune('a' + round))}, nil)
		s.Kill()
		killed := time.Now()
		s.Start()

		x := asks(t, s, "bob", "alice")
		at := time.UnixMilli(x.Seen)
		// The last beat may be older than the connection, but not than the time at which it came.
		if !x.off() || at.Before(came.Add(-time.Second)) || at.After(killed.Add(time.Second)) {
			t.Errorf("round %d: after the kill alice is %+v, seen %v, want between %v and %v", round, x, at, came, killed)
		}
		if x := watchContacts(t, present(t, s, version, "bob", "b")); !x.off() || x.Seen != at.UnixMilli() {
			t.Errorf("round %d: watched after the kill: %+v, want as asked", round, x)
		}
		came = killed
	}
}

// A connection that takes over from another one of its session is not seen as a change, and neither is one that comes back.
func TestATakeoverIsNotSeen(t *testing.T) {
	s := server.Start(t, server.Env("MAGPIE_PRESENCE_GRACE=1m"))
	s.AddUsers("alice", "bob")
	s.Befriend("alice", "bob")
	bob := present(t, s, wire.V5, "bob", "b")
	watchContacts(t, bob)
	for i := range 20 {
		c := present(t, s, []byte{wire.V311, wire.V5}[i%2], "alice", "a")
		if i%3 == 0 {
			_ = c.Close()
		}
		if x := asks(t, s, "bob", "alice"); !x.on() || x.Devices != 1 {
			t.Fatalf("connection %d: alice is %+v, want there once", i, x)
		}
	}
	if x := shown(t, bob); !x.on() {
		t.Errorf("shown %+v, want alice there", x)
	}
	if err := bob.Send(wire.Packet{Type: wire.PINGREQ}); err != nil {
		t.Fatal(err)
	}
	if p, err := bob.Read(time.Now().Add(server.Deadline)); err != nil || p.Type != wire.PINGRESP {
		t.Errorf("read %+v, %v, want nothing more", p, err)
	}
}
