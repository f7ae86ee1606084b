package promises

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/device"
	"github.com/magpie-im/magpie/e2e/people"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

// scene is what a client shows that keeps what its events say, and nothing else: by name, the newest of each.
type scene map[string]string

// paint makes the scene of events, in their order.
func paint(t *testing.T, events []people.Seen) scene {
	t.Helper()
	s, newest := scene{}, map[string]float64{}
	for _, e := range events {
		fields := maps.Clone(e.Fields)
		s.count(fields, newest)
		place := fmt.Sprint(fields["c"], " ", fields["seq"])
		switch e.T() {
		case "msg":
			s.put(t, "msg "+place, fields)
		case "edit":
			s.edit(t, "msg "+place, fields)
		case "recall":
			s["msg "+place] = gone
		case "react", "unreact":
			s[fmt.Sprint(fields["emoji"], " by ", fields["by"], " ", place)] = e.T()
		case "pin", "unpin":
			s["pin "+place] = e.T()
		default:
			s.put(t, fmt.Sprint(e.T(), " ", fields["c"], " ", fields["who"]), fields)
		}
	}
	return s
}

// gone is what a client shows in place of a message that was recalled.
const gone = "gone"

// count takes the numbers of the moment out of an event.
func (s scene) count(fields map[string]any, newest map[string]float64) {
	asof, _ := fields["asof"].(float64)
	for name, number := range map[string]string{"total": "total", "unread": fmt.Sprint("unread ", fields["c"])} {
		if value, ok := fields[name]; ok && asof >= newest[number] {
			newest[number] = asof
			s[number] = fmt.Sprint(value)
		}
		delete(fields, name)
	}
	if fields["box"] == true { // it counts nowhere, and is put away with a block
		delete(s, fmt.Sprint("unread ", fields["c"]))
	}
	delete(fields, "mention")
	delete(fields, "asof")
}

// put keeps an event as it is. Of a message, what later events say of it is left to them.
func (s scene) put(t *testing.T, name string, fields map[string]any) {
	t.Helper()
	for _, later := range []string{"box", "edited", "rev", "react", "pin"} {
		delete(fields, later)
	}
	value, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	if s[name] = string(value); fields["k"] == gone {
		s[name] = gone
	}
}

// edit puts another body into a message.
func (s scene) edit(t *testing.T, name string, fields map[string]any) {
	t.Helper()
	message := map[string]any{}
	if s[name] == "" || s[name] == gone { // it came before this device
		return
	}
	if err := json.Unmarshal([]byte(s[name]), &message); err != nil {
		t.Fatal(err)
	}
	message["body"] = fields["body"]
	s.put(t, name, message)
}

// differs says where two scenes do, or nothing.
func (s scene) differs(other scene) (where []string) {
	for _, name := range slices.Sorted(maps.Keys(s)) {
		if s[name] != other[name] {
			where = append(where, fmt.Sprintf("%s: %s, and %s", name, s[name], other[name]))
		}
	}
	for name := range other {
		if _, ok := s[name]; !ok {
			where = append(where, name+" is there once only: "+other[name])
		}
	}
	return where
}

// events are those of the stream that a device was shown.
func events(p *people.Person) (all []people.Seen) {
	for _, s := range p.Record() {
		if s.Topic == "in" {
			all = append(all, s)
		}
	}
	return all
}

// A device that is away while its owner's other devices, contacts and strangers do all sorts of things shows in the end what a
// device shows that was there all the time, and what the server says when it is asked.
func row743(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		d := dice(t)
		town := found(t)
		all := friends(t, town.Place, version, "alice", "bob", "carol")
		alice, bob, carol := all[0], all[1], all[2]
		dave := town.Join("dave", people.HTTP)
		call(t, town.Place, alice, "settings.set", people.M{"strangers": "everyone"})
		group := room(t, town.Place, bob, "group", "alice")
		tablet := alice.Another("tablet", way(version))
		other := alice.Another("laptop", people.Ways[d.IntN(2)])
		seen := alice.Mark()
		deeds := []func(){
			func() { bob.Send("alice", "from bob") },
			func() { carol.Send("alice", "from carol") },
			func() { dave.Send("alice", "from a stranger") },
			func() { alice.Send("bob", "from alice") },
			func() { other.Send("carol", "from alice") },
			func() { alice.Read("bob", uint64(1+d.IntN(4))) },
			func() { other.Read("carol", uint64(1+d.IntN(4))) },
			func() { bob.Read("alice", uint64(1+d.IntN(4))) },
			func() { alice.Call("contact.set", people.M{"who": "bob", "remark": fmt.Sprint("Bob ", d.IntN(9))}) },
			func() { alice.Call("contact.block", people.M{"who": "carol"}) },
			func() { alice.Call("contact.unblock", people.M{"who": "carol"}) },
			func() { carol.Call("contact.remove", people.M{"who": "alice"}) },
			func() { carol.Call("contact.request", people.M{"to": "alice", "greeting": "again"}) },
			func() { alice.Call("contact.accept", people.M{"from": "carol"}) },
			func() { dave.Call("contact.request", people.M{"to": "alice"}) },
			func() { alice.Call("contact.reject", people.M{"from": "dave", "tell": true}) },
			func() { bob.Call("profile.set", people.M{"name": fmt.Sprint("Bob ", d.IntN(9))}) },
			func() { other.Cut(); connect(t, other) },
			func() { bob.Publish("im/c/"+group+"/send", []byte("from bob to all")) },
			func() { carol.Publish("im/c/"+group+"/send", []byte("from carol to all")) },
			func() { alice.Publish("im/c/"+group+"/read", fmt.Append(nil, 1+d.IntN(9))) },
			func() { carol.Call("group.leave", people.M{"c": group}) },
			func() { bob.Call("group.invite", people.M{"c": group, "who": []string{"carol"}}) },
			func() { carol.Call("group.answer", people.M{"c": group, "yes": true}) },
			func() { change(bob, group, "edit", d) },
			func() { change(bob, group, "recall", d) },
			func() { change(bob, device.Direct("alice", "bob"), "edit", d) },
			func() { change(bob, device.Direct("alice", "bob"), "recall", d) },
			func() { change(alice, device.Direct("alice", "bob"), "react", d) },
			func() { change(other, group, "react", d) },
			func() { change(bob, group, "unreact", d) },
			func() { change(bob, device.Direct("alice", "bob"), "pin", d) },
			func() { change(alice, device.Direct("alice", "bob"), "unpin", d) },
			func() { bob.Call("group.create", people.M{"members": []string{"alice"}}) },
		}
		for range min(rounds(3), 50) { // the stream is read whole after each
			tablet.Cut()
			for range brokertest.Scale(30, 10) {
				deeds[d.IntN(len(deeds))]()
			}
			amend(t, town.Place, bob, group)
			if d.IntN(2) == 0 {
				town.Restart()
				for _, p := range []*people.Person{alice, bob, carol, other} {
					p.Cut()
					connect(t, p)
				}
			}
			connect(t, tablet)
			alice.Settled()
			tablet.Settled()
		}
		bob.Send("alice", "the last word")
		alice.Await(seen, "the last word", func(s people.Seen) bool { return s.T() == "msg" })
		var wrong []string
		if !server.Becomes(func() bool { // receipts may still come
			wrong = contradictions(t, town.Place, alice, tablet)
			return wrong == nil
		}) {
			t.Errorf("the device that was away shows something else: %q", wrong)
		}
	})
}

// change has somebody do something to a message, if he may.
func change(p *people.Person, c, op string, d *rand.Rand) {
	p.Call("op", people.M{"op": op, "c": c, "seq": 1 + d.IntN(8), "body": people.M{"text": fmt.Sprint("edited ", d.IntN(9))},
		"emoji": []string{"👍", "😀"}[d.IntN(2)]})
}

// amend writes two messages to a group, changes one and takes the other back.
func amend(t *testing.T, place *people.Place, p *people.Person, c string) {
	t.Helper()
	var seqs []any
	for range 2 {
		seqs = append(seqs, call(t, place, p, "send", people.M{"c": c, "body": people.M{"text": "not so"}})["seq"])
	}
	p.Must("op", people.M{"op": "edit", "c": c, "seq": seqs[0], "body": people.M{"text": "so"}})
	p.Must("op", people.M{"op": "recall", "c": c, "seq": seqs[1]})
}

// contradictions are between what a device shows that was there all the time, one that was away, and the server.
func contradictions(t *testing.T, place *people.Place, there, away *people.Person) (wrong []string) {
	t.Helper()
	stored := there.Settled()
	away.Settled()
	was, is := paint(t, events(there)), paint(t, events(away))
	wrong = paint(t, after(events(away)[0], events(there))).differs(is)
	for name, value := range paint(t, stored) {
		moment := strings.HasPrefix(name, "unread ") || name == "total"
		if was[name] != "" && !moment && was[name] != value {
			wrong = append(wrong, fmt.Sprintf("%s is %s, and a device shows %s", name, value, was[name]))
		}
	}
	total, each := numbers(t, place, there)
	if is["total"] != fmt.Sprint(total) {
		wrong = append(wrong, fmt.Sprintf("%s unread in all, want %d", is["total"], total))
	}
	for c, n := range each {
		if is["unread "+c] != fmt.Sprint(n) {
			wrong = append(wrong, fmt.Sprintf("%s unread in %s, want %d", is["unread "+c], c, n))
		}
	}
	return wrong
}

// after gives the events from one on.
func after(first people.Seen, all []people.Seen) []people.Seen {
	return slices.DeleteFunc(slices.Clone(all), func(e people.Seen) bool {
		return e.Fields["usn"].(float64) < first.Fields["usn"].(float64)
	})
}

// follower is a client as protocol.md asks for: what comes is the next event, or old, or it calls sync.
type follower struct {
	last  uint64
	rows  []event
	syncs int
}

func (f *follower) follow(e event, sync func(after uint64) []event) {
	switch {
	case e.USN <= f.last:
	case e.USN == f.last+1:
		f.rows, f.last = append(f.rows, e), e.USN
	default:
		f.syncs++
		for _, e := range sync(f.last) {
			f.rows, f.last = append(f.rows, e), e.USN
		}
	}
}

// On a network that turns the order of packets around, a client that goes by usn and calls sync where one is missing has
// everything once and in order.
func row746(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		const n = 200
		town := found(t)
		both := absent(t, town.Place, version, "alice", "bob")
		alice, bob := both[0], both[1]
		turns := func(c *cable, d direction, p []byte) []byte {
			held := c.held
			switch {
			case d == up:
				return p
			case wire.Type(p[0]>>4) == wire.PUBLISH && held == nil:
				c.held = slices.Clone(p)
				return nil
			}
			c.held = nil
			return append(slices.Clone(p), held...)
		}
		line := lay(t, town.MQTT, turns)
		f := follower{last: uint64(len(stream(t, town.Place, bob, 0)))}
		first := f.last
		reader := dial(t, line.address(), version, bob, "phone")
		reader.subscribe(1, "im/u/me/in")
		writer := dial(t, town.MQTT(), version, alice, "phone", brief)
		writer.chatter("bob", 1, n, nil)
		for f.last < first+n {
			reader.ping() // which brings what is held
			f.follow(reader.take().event, func(after uint64) []event { return stream(t, town.Place, bob, after) })
		}
		stored := history(t, town.Place, bob, device.Direct("alice", "bob"))
		if len(f.rows) != n || len(stored) != n || f.syncs == 0 {
			t.Fatalf("%d rows after %d calls of sync, %d messages are stored, want %d", len(f.rows), f.syncs, len(stored), n)
		}
		for i, e := range f.rows {
			if e.USN != first+uint64(i+1) || e.Seq != uint64(i+1) || e.ID != stored[i].ID {
				t.Fatalf("row %d is %+v, want %+v", i, e, stored[i])
			}
		}
	})
}
