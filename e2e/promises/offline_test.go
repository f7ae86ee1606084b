package promises

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/device"
	"github.com/magpie-im/magpie/e2e/people"
	"github.com/magpie-im/magpie/e2e/wire"
)

// mosquitto is the client that the people of this package use where one of somebody else makes a difference.
func mosquitto(version byte) clients.Client {
	if version == wire.V5 {
		return clients.Mosquitto5
	}
	return clients.Mosquitto3
}

// plainSession is what mosquitto_sub -c connects with.
func plainSession(town *town, who *people.Person, id string) clients.Session {
	return clients.Session{Addr: town.MQTT(), User: who.Name, Password: who.Token, ClientID: id}
}

// reads gives the events that a client of somebody else gets, until there were so many messages.
func reads(ctx context.Context, t *testing.T, l *clients.Listener, messages int) (all []event) {
	t.Helper()
	for messages > 0 {
		m, err := l.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		e := parse(t, m.Payload)
		if all = append(all, e); e.T == "msg" {
			messages--
		}
	}
	return all
}

// Twenty thousand messages come while a plain client is away for more than a day: it gets all of them, in order.
func row736(t *testing.T) {
	long(t)
	each(t, func(t *testing.T, version byte) {
		client := mosquitto(version)
		client.Need(t)
		n := many(9000, 20_000) // more than there are in the queue of a session elsewhere, in any case
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		town := found(t)
		both := absent(t, town.Place, version, "alice", "bob")
		alice, bob := both[0], both[1]
		first, err := client.Listen(ctx, plainSession(town, bob, "old phone"), 1, "im/u/me/in")
		if err != nil {
			t.Fatal(err)
		}
		if err := first.Stop(); err != nil {
			t.Fatal(err)
		}
		p := dial(t, town.MQTT(), version, alice, "phone", brief)
		const hours = 25
		for hour := range hours {
			p.chatter("bob", 1, n/hours, nil)
			town.clock.step(time.Hour)
			if hour == hours/2 {
				town.Restart()
				p = dial(t, town.MQTT(), version, alice, "phone", brief)
			}
		}
		back, err := client.Listen(ctx, plainSession(town, bob, "old phone"), 1, "im/u/me/in")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(back.Kill)
		got := reads(ctx, t, back, n/hours*hours)
		for i, e := range got {
			if want := fmt.Sprintf("sender 1 message %d", i%(n/hours)); e.Body.Text != want || e.Seq != uint64(i+1) ||
				i > 0 && e.USN != got[i-1].USN+1 {
				t.Fatalf("event %d is %+v, want %q", i, e, want)
			}
		}
		if age := got[len(got)-1].TS - got[0].TS; age < (24 * time.Hour).Milliseconds() {
			t.Errorf("the messages are of %s only", time.Duration(age)*time.Millisecond)
		}
	})
}

// What a sender is told of a message goes sent, delivered, read and never back, on each of his devices, whether it was there
// all the time or comes back; read is never ahead of delivered.
func row737(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		d := dice(t)
		town := found(t)
		both := friends(t, town.Place, version, "alice", "bob")
		alice, bob := both[0], both[1]
		laptop, tablet := alice.Another("laptop", people.V5), bob.Another("tablet", people.V311)
		n := 0
		for i := range 40 {
			n++
			if _, word := alice.Send("bob", fmt.Sprint("message ", i)); word != "" {
				t.Fatal(word)
			}
			switch d.IntN(5) {
			case 0, 1: // an old mark among them
				reader := []*people.Person{bob, tablet}[d.IntN(2)]
				if word := reader.Read("alice", uint64(1+d.IntN(n))); word != "" {
					t.Fatal(word)
				}
			case 2:
				tablet.Cut()
				connect(t, tablet)
			case 4: // before any device has it
				bob.Cut()
				tablet.Cut()
				if _, word := alice.Send("bob", "unseen"); word != "" {
					t.Fatal(word)
				}
				n++
				call(t, town.Place, bob, "read", people.M{"c": device.Direct("alice", "bob"), "seq": n})
				connect(t, bob)
				connect(t, tablet)
			case 3:
				laptop.Cut()
				if d.IntN(2) == 0 {
					connect(t, laptop)
				}
			}
		}
		if word := bob.Read("alice", uint64(n)); word != "" {
			t.Fatal(word)
		}
		laptop.Cut()
		connect(t, laptop)
		for _, p := range []*people.Person{alice, laptop} {
			p.Await(0, "that all was read", func(s people.Seen) bool {
				return s.T() == "rcpt" && s.Is("who", "bob") && s.Fields["read"] == float64(n)
			})
			p.Settled()
			states(t, p, uint64(n))
		}
	})
}

// states follows what a device of alice was shown of her messages to bob.
func states(t *testing.T, p *people.Person, n uint64) {
	t.Helper()
	var sent, recv, read uint64
	receipts := 0
	for _, e := range seen(t, p) {
		switch {
		case e.T == "msg" && e.From == "alice":
			sent = e.Seq
		case e.T == "rcpt" && e.Who == "bob":
			receipts++
			if e.Recv < recv || e.Read < read || e.Read > e.Recv || e.Recv > sent {
				t.Fatalf("after %d sent, %d delivered, %d read came %+v", sent, recv, read, e)
			}
			recv, read = e.Recv, e.Read
		}
	}
	if sent != n || recv != n || read != n || receipts == 0 {
		t.Errorf("at the end %d were sent, %d delivered, %d read, of %d", sent, recv, read, n)
	}
}
