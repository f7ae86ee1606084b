package e2e

import (
	"fmt"
	"slices"
	"testing"

	"github.com/magpie-im/magpie/e2e/wire"
)

// Packet ids of the two directions have nothing to do with each other (MQTT 5, 2.2.1), and a server that keeps both in
// one table loses messages.
func TestAClientMayUseTheIdsThatTheServerHasInFlight(t *testing.T) {
	long(t)
	const n = 10
	for version, v := range versions {
		for qos := byte(1); qos <= 2; qos++ {
			t.Run(fmt.Sprintf("%s QoS %d", version, qos), func(t *testing.T) {
				s := twoFriends(t)
				alice := listen(t, s, "alice", "laptop", wire.V5, 1)
				bob := connect(t, s, "bob", "phone", v)
				if codes := bob.subscribe(qos, "im/u/me/in"); codes[0] != qos {
					t.Fatalf("SUBACK % x", codes)
				}
				var flying []wire.Packet
				for i := range n {
					alice.say("bob", fmt.Sprintf("for bob %d", i))
					flying = append(flying, bob.expect(wire.PUBLISH))
				}
				var want []string
				for i, p := range flying {
					text := fmt.Sprintf("from bob %d", i)
					useID(t, bob, p.ID, byte(1+i%2), text)
					want = append(want, text)
				}
				for _, text := range want {
					for {
						if e := alice.message(); e.From == "bob" {
							if e.Text() != text {
								t.Fatalf("alice gets %q, want %q", e.Text(), text)
							}
							break
						}
					}
				}
				bob.cut()
				bob = connect(t, s, "bob", "phone", v)
				checkAgain(t, bob, flying)
			})
		}
	}
}

// useID does everything with a packet id that a client can do.
func useID(t *testing.T, bob *peer, id uint16, qos byte, text string) {
	t.Helper()
	bob.send(publish("im/to/alice/send", text, qos, id))
	if qos == 1 {
		bob.answer(wire.PUBACK, id)
	} else {
		bob.answer(wire.PUBREC, id)
		bob.send(wire.Packet{Type: wire.PUBREL, ID: id})
		bob.answer(wire.PUBCOMP, id)
	}
	bob.send(wire.Packet{Type: wire.SUBSCRIBE, ID: id, Filters: []wire.Filter{{Topic: "im/u/me/rsp", Options: 1}}})
	if codes := bob.answer(wire.SUBACK, id).Codes; !slices.Equal(codes, []byte{1}) {
		t.Fatalf("SUBSCRIBE with id %d: % x", id, codes)
	}
	bob.send(wire.Packet{Type: wire.UNSUBSCRIBE, ID: id, Filters: []wire.Filter{{Topic: "im/u/me/rsp"}}})
	bob.answer(wire.UNSUBACK, id)
}

// checkAgain sees that what was in flight comes again, all of it, in its order and under its ids.
func checkAgain(t *testing.T, bob *peer, flying []wire.Packet) {
	t.Helper()
	for _, want := range flying {
		got := bob.expect(wire.PUBLISH)
		if !got.Dup || got.ID != want.ID || parse(t, got).USN != parse(t, want).USN {
			t.Fatalf("came again: DUP %t, id %d, %s\nwant id %d, %s", got.Dup, got.ID, got.Payload, want.ID, want.Payload)
		}
	}
}
