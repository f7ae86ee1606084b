package e2e

import (
	"net"
	"strings"
	"syscall"
	"testing"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

// stall makes a client with a small receive buffer, that nobody reads from.
func stall(t *testing.T, s *server.Server, user, id string, version, qos byte) *peer {
	t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) {
			err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
		}); e != nil {
			return e
		}
		return err
	}}
	c, err := wire.DialFrom(dialer, s.MQTT(), version)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	p := &peer{Client: c, t: t, name: user + "/" + id}
	p.send(wire.Packet{Type: wire.CONNECT, Connect: wire.Connect{ClientID: id, User: user, Password: s.Token(user)},
		Props: wire.Properties{wire.Num(wire.SessionExpiry, 3600)}})
	p.expect(wire.CONNACK)
	p.subscribe(qos, "im/u/me/in")
	return p
}

func TestASubscriberThatStopsReadingHoldsNobodyUp(t *testing.T) {
	long(t)
	const messages, size = 600, 60_000 // several times what socket buffers hold
	if brokertest.Scale(messages, 1) < messages {
		t.Skip("the test server does not bear so much, and less would prove nothing")
	}
	for version, v := range versions {
		t.Run(version, func(t *testing.T) {
			// The server must not get out of it by giving the stalled client up.
			s := twoFriends(t, server.Env("MAGPIE_LIMITS_WRITE_TIMEOUT=10m"))
			stall(t, s, "bob", "stalled", v, 1)
			stall(t, s, "bob", "stalled with QoS 0", v, 0)
			desk := listen(t, s, "bob", "desk", v, 1)
			alice := connect(t, s, "alice", "laptop", v)

			body := strings.Repeat("x", size)
			message := func(i int) string {
				return full(map[string]any{"k": "x.big", "body": map[string]any{"n": i, "x": body}})
			}
			for i := range messages {
				id := alice.id()
				alice.send(publish("im/to/bob/send", message(i), 1, id))
				alice.answer(wire.PUBACK, id)
				if got := desk.message().Seq; got != uint64(i)+1 {
					t.Fatalf("bob's desk gets seq %d, want %d", got, i+1)
				}
			}

			back := connect(t, s, "bob", "stalled", v)
			if !back.present {
				t.Error("the stalled session was forgotten")
			}
			next := uint64(1)
			for next <= messages {
				e := back.message()
				if e.Seq != next {
					t.Fatalf("the stalled session gets seq %d, want %d", e.Seq, next)
				}
				next++
			}
		})
	}
}
