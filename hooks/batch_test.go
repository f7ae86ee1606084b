package hooks_test

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/e2e/wire"
)

// batch is what comes on a stream with the option batch=1.
type batch struct {
	Type   string           `json:"t"`
	USN    uint64           `json:"usn"`
	Events []map[string]any `json:"events"`
}

// events gives the events of a packet.
func events(t *testing.T, payload []byte) []map[string]any {
	t.Helper()
	var b batch
	if err := json.Unmarshal(payload, &b); err != nil {
		t.Fatalf("payload %.200q: %v", payload, err)
	}
	if b.Type != "batch" {
		var one map[string]any
		if err := json.Unmarshal(payload, &one); err != nil {
			t.Fatal(err)
		}
		return []map[string]any{one}
	}
	if len(b.Events) < 2 || len(b.Events) > 64 || len(payload) > 64<<10 {
		t.Errorf("a batch of %d events, %d bytes", len(b.Events), len(payload))
	}
	if last := b.Events[len(b.Events)-1]["usn"]; last != float64(b.USN) {
		t.Errorf("a batch of usn %d ends at %v", b.USN, last)
	}
	return b.Events
}

// A session that was away is sent what it missed in few packets; its acks say that all of it was received, also over a restart.
func TestWhatWasMissedComesInBatches(t *testing.T) {
	t.Parallel()
	for name, version := range versions {
		for qos := byte(1); qos <= 2; qos++ {
			if testing.Short() && (qos == 2) != (version == wire.V311) {
				continue
			}
			t.Run(fmt.Sprintf("%s, qos %d", name, qos), func(t *testing.T) {
				n := brokertest.Start(t)
				n.AddUsers("alice", "bob")
				n.Befriend("alice", "bob")
				c := wire.Connect{User: "bob?batch=1", ClientID: "phone"}
				var props []wire.Property
				if version == wire.V5 {
					props = append(props, wire.Num(wire.SessionExpiry, 3600))
				}
				bob := connect(t, n, version, c, props...)
				bob.subscribe(wire.Filter{Topic: "im/u/me/in", Options: qos})
				_ = bob.Close()
				many := brokertest.Scale(200, 60)
				var last chat.Commit
				for i := range many {
					words := fmt.Sprint(i)
					if i >= many*3/4 {
						words += strings.Repeat(" <x>", 500)
					}
					body, err := json.Marshal(map[string]string{"text": words})
					if err != nil {
						t.Fatal(err)
					}
					_, commit, err := n.Chat().Send(t.Context(), "alice", chat.Target{User: "bob"}, chat.Content{Body: body}, nil)
					if err != nil {
						t.Fatal(err)
					}
					last = commit
				}
				if err := last.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				bob = connect(t, n, version, c, props...)
				first, _ := bob.next()
				n.Restart()
				bob = connect(t, n, version, c, props...)
				packets, released, usn := 0, 0, 0.0
				for seq := 1; seq <= many; packets++ {
					p, n := bob.next()
					released += n
					if packets == 0 && (p.ID != first.ID || !p.Dup || len(events(t, p.Payload)) != len(events(t, first.Payload))) {
						t.Errorf("the first packet comes again as %d, dup %t", p.ID, p.Dup)
					}
					for _, e := range events(t, p.Payload) {
						if usn != 0 && e["usn"] != usn+1 {
							t.Fatalf("usn %v after %v", e["usn"], usn)
						}
						usn = e["usn"].(float64)
						if e["t"] == "msg" {
							if e["seq"] != float64(seq) {
								t.Fatalf("seq %v, want %d", e["seq"], seq)
							}
							seq++
						}
					}
					bob.finish(p)
				}
				for qos == 2 && released < packets {
					bob.send(wire.Packet{Type: wire.PUBCOMP, ID: bob.read(wire.PUBREL).ID})
					released++
				}
				if packets > 10 {
					t.Errorf("%d events came in %d packets", many, packets)
				}
				wantReceived(t, n, uint64(many))
			})
		}
	}
}

// wantReceived waits until bob is known to have received so many of alice's messages.
func wantReceived(t *testing.T, n *brokertest.Node, seq uint64) {
	t.Helper()
	got := uint64(0)
	for deadline := time.Now().Add(brokertest.Deadline); got != seq && time.Now().Before(deadline); runtime.Gosched() {
		events, _, err := n.Chat().Events(t.Context(), "alice", 0, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			got = max(got, e.Recv)
		}
	}
	if got != seq {
		t.Errorf("bob has received up to %d, want %d", got, seq)
	}
}

// next gives the next PUBLISH, and answers each PUBREL on the way.
func (c *client) next() (publish wire.Packet, released int) {
	c.t.Helper()
	for {
		p, err := c.Read(time.Now().Add(brokertest.Deadline))
		switch {
		case err != nil:
			c.t.Fatalf("read: %v", err)
		case p.Type == wire.PUBREL:
			c.send(wire.Packet{Type: wire.PUBCOMP, ID: p.ID})
			released++
		case p.Type == wire.PUBLISH:
			return p, released
		}
	}
}

// finish answers a PUBLISH of QoS 1 or 2.
func (c *client) finish(p wire.Packet) {
	c.t.Helper()
	if p.QoS == 1 {
		c.send(wire.Packet{Type: wire.PUBACK, ID: p.ID})
		return
	}
	c.send(wire.Packet{Type: wire.PUBREC, ID: p.ID})
}
