package e2e

import (
	"fmt"
	"testing"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/journal"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

// defaultWindow is how many messages the server has in flight to one client unless told otherwise (protocol.md section
// 8).
const defaultWindow = 64

// backlog is how many messages wait.
var backlog = brokertest.Scale(20_000, 1)

// drain is a client that reads a backlog and keeps book of it.
type drain struct {
	*peer
	qos      byte
	window   int      // more in flight is a fault
	flying   []uint16 // ids whose exchange is not over, in the order of their PUBLISH
	last     uint64   // usn
	messages int
	want     func(i int) string // text of the i-th message
}

// take handles one PUBLISH and leaves it unacknowledged.
func (d *drain) take(p wire.Packet) journal.Event {
	d.t.Helper()
	if p.Type != wire.PUBLISH || p.QoS != d.qos || p.ID == 0 {
		d.t.Fatalf("%s: got %s, QoS %d, id %d, want a PUBLISH with QoS %d", d.name, p.Type, p.QoS, p.ID, d.qos)
	}
	d.flying = append(d.flying, p.ID)
	if len(d.flying) > d.window {
		d.t.Fatalf("%s: %d in flight, want %d at most", d.name, len(d.flying), d.window)
	}
	e := parse(d.t, p)
	if d.last != 0 && e.USN != d.last+1 {
		d.t.Fatalf("%s: usn %d after %d", d.name, e.USN, d.last)
	}
	d.last = e.USN
	if e.T != "msg" {
		return e
	}
	if want := d.want(d.messages); e.Text() != want {
		d.t.Fatalf("%s: message %d is %q, want %q", d.name, d.messages, e.Text(), want)
	}
	d.messages++
	return e
}

// finish completes the oldest n exchanges. With QoS 2 all of them are released before the first is completed.
func (d *drain) finish(n int) {
	d.t.Helper()
	ids := d.flying[:n]
	var first []wire.Packet
	for _, id := range ids {
		if d.qos == 1 {
			first = append(first, wire.Packet{Type: wire.PUBACK, ID: id})
		} else {
			first = append(first, wire.Packet{Type: wire.PUBREC, ID: id})
		}
	}
	d.send(first...)
	if d.qos == 2 {
		var last []wire.Packet
		for _, id := range ids {
			d.answer(wire.PUBREL, id)
			last = append(last, wire.Packet{Type: wire.PUBCOMP, ID: id})
		}
		d.send(last...)
	}
	d.flying = d.flying[n:]
}

// all reads until so many messages have come, and acknowledges only when the window is full, so that a server that
// sends more than the window is found out.
func (d *drain) all(messages int) {
	d.t.Helper()
	for d.messages < messages {
		if len(d.flying) == d.window {
			d.finish((d.window + 1) / 2)
		}
		d.take(d.next())
	}
}

func TestTwentyThousandMessagesWaitForAnOfflineSession(t *testing.T) {
	long(t)
	text := func(i int) string { return fmt.Sprintf("message %d of many", i) }
	s := twoFriends(t)
	type reader struct {
		version, qos byte
		name         string
		act          func(t *testing.T, d *drain, again func(changes ...with) *drain)
	}
	var readers []reader
	for version, v := range versions {
		for qos := byte(1); qos <= 2; qos++ {
			readers = append(readers,
				reader{v, qos, fmt.Sprintf("%s QoS %d", version, qos), func(_ *testing.T, d *drain, _ func(...with) *drain) {}},
				reader{v, qos, fmt.Sprintf("%s QoS %d cut again and again", version, qos), cutAgainAndAgain},
			)
			if v == wire.V5 {
				readers = append(readers, reader{v, qos, fmt.Sprintf("%s QoS %d Receive Maximum 1", version, qos), oneAtATime})
			}
		}
	}
	for _, r := range readers {
		listen(t, s, "bob", r.name, r.version, r.qos).cut()
	}
	sendMany(t, s, backlog, text)

	for _, r := range readers {
		t.Run(r.name, func(t *testing.T) {
			back := func(changes ...with) *drain {
				p := connect(t, s, "bob", r.name, r.version, changes...)
				if !p.present {
					t.Fatal("the session was forgotten")
				}
				return &drain{peer: p, qos: r.qos, window: defaultWindow, want: text}
			}
			d := back()
			again := func(changes ...with) *drain {
				d.ping() // what was acknowledged has arrived
				d.cut()
				next := back(changes...)
				next.last, next.messages = d.last, d.messages
				d = next
				return next
			}
			r.act(t, d, again)
			d.all(backlog)
			d.finish(len(d.flying))
			d.ping()
			for _, p := range d.waiting {
				t.Errorf("after the last message came %s %d %s", p.Type, p.ID, p.Payload)
			}
		})
	}
}

// sendMany publishes as alice with many messages under way, as fast as the server takes them.
func sendMany(t *testing.T, s *server.Server, n int, text func(i int) string) {
	t.Helper()
	const window = 500
	alice := connect(t, s, "alice", "sender", wire.V311, short)
	var batch []wire.Packet
	acked := uint16(0)
	for i := range n {
		id := uint16(i%60000) + 1
		batch = append(batch, publish("im/to/bob/send", text(i), 1, id))
		if len(batch) == window || i == n-1 {
			alice.send(batch...)
			for _, p := range batch {
				if ack := alice.expect(wire.PUBACK); ack.ID != p.ID {
					t.Fatalf("PUBACK %d after %d, want %d: acks come in the order of the messages", ack.ID, acked, p.ID)
				}
				acked = p.ID
			}
			batch = batch[:0]
		}
	}
}

// cutAgainAndAgain takes a window, acknowledges nothing, cuts and returns: the same comes again, with DUP and under the
// same ids, and no more than the window.
func cutAgainAndAgain(t *testing.T, d *drain, again func(changes ...with) *drain) {
	var ids []uint16
	for round := range 3 {
		last, messages := d.last, d.messages
		for i := range defaultWindow {
			p := d.next()
			d.take(p)
			if want := round > 0; p.Dup != want {
				t.Fatalf("round %d, packet %d: DUP %t, want %t", round, i, p.Dup, want)
			}
			if round == 0 {
				ids = append(ids, p.ID)
			} else if p.ID != ids[i] {
				t.Fatalf("round %d, packet %d comes again with id %d, want %d", round, i, p.ID, ids[i])
			}
		}
		d.ping()
		if len(d.waiting) > 0 {
			t.Fatalf("round %d: %s %d came on top of a full window", round, d.waiting[0].Type, d.waiting[0].ID)
		}
		d.last, d.messages = last, messages // all of it comes again
		d = again()
	}
	for range defaultWindow {
		if p := d.next(); !p.Dup {
			t.Fatalf("packet %d came again without DUP", p.ID)
		} else {
			d.take(p)
		}
	}
	d.finish(defaultWindow)
}

// oneAtATime drains with a Receive Maximum of 1: all of it with QoS 1, and a part with QoS 2, which takes the disk
// twice for each message.
func oneAtATime(_ *testing.T, d *drain, again func(changes ...with) *drain) {
	part := map[byte]int{1: backlog, 2: min(backlog, 3000)}[d.qos]
	d = again(receiveMaximum(1))
	d.window = 1
	d.all(part)
	d.finish(len(d.flying))
	again()
}
