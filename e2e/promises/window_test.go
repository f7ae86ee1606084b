package promises

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/device"
	"github.com/magpie-im/magpie/e2e/people"
	"github.com/magpie-im/magpie/e2e/wire"
)

// A message has been handed to everybody who is connected, the sender's other devices too, without anybody asking for it: all
// of them have it after one round trip that follows its ack.
func rowS61(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		town := found(t)
		both := absent(t, town.Place, version, "alice", "bob")
		alice, bob := both[0], both[1]
		writer := dial(t, town.MQTT(), version, alice, "phone", brief)
		var readers []*peer
		for i, who := range []*people.Person{alice, bob, bob, bob} {
			readers = append(readers, listen(t, town.MQTT(), []byte{wire.V311, wire.V5}[i%2], 1, who, fmt.Sprint("reader ", i)))
		}
		for i := range 20 {
			words := fmt.Sprint("message ", i)
			writer.send(plain("bob", words, 1, uint16(i+1)))
			writer.answer(wire.PUBACK, uint16(i+1))
			for k, r := range readers {
				if got := r.message(); got.Body.Text != words { // who has to be asked would wait for ever
					t.Fatalf("reader %d got %q, want %q", k, got.Body.Text, words)
				}
			}
		}
	})
}

// Every kind, and those that nobody has heard of, comes as it was sent, and has a text to show in its place.
func row721(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		town := found(t)
		both := friends(t, town.Place, version, "alice", "bob")
		alice, bob := both[0], both[1]
		kinds := []string{"text", "md", "image", "voice", "video", "file", "sticker", "loc", "card", "call", "x.chess"}
		for i, kind := range kinds {
			body := fmt.Sprintf(`{"text":"a %s","n":[1,2.50,null,"\u00e9"],"deep":{"er":{}}}`, kind)
			mark := bob.Mark()
			message := fmt.Sprintf(`{"k":%q,"mid":"m%d","body":%s}`, kind, i, body)
			if i%2 == 1 {
				message = fmt.Sprintf(`{"k":%q,"mid":"m%d","body":%s,"fallback":"mine"}`, kind, i, body)
			}
			if _, word := alice.Publish("im/to/bob/send", []byte(message)); word != "" {
				t.Fatalf("%s: %s", message, word)
			}
			seen := bob.Await(mark, kind, func(s people.Seen) bool { return s.T() == "msg" })
			var got struct {
				K, Fallback string
				Body        json.RawMessage
			}
			if err := json.Unmarshal([]byte(seen.Raw), &got); err != nil {
				t.Fatal(err)
			}
			known := kind == "text" || kind == "md"
			switch {
			case got.K != kind || string(got.Body) != body:
				t.Errorf("%s came as %s", message, seen.Raw)
			case i%2 == 1 && got.Fallback != "mine":
				t.Errorf("%s came with the fallback %q", message, got.Fallback)
			case !known && got.Fallback == "":
				t.Errorf("%s came without a fallback", message)
			}
		}
		if !bob.Connected() {
			t.Error("somebody who was sent all this was disconnected")
		}
	})
}

// The first page of what an account has is bounded in bytes, and so is each packet in which what has collected comes, several
// events at a time; nothing is missing in either.
func row723(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		const room64 = 64 << 10
		rooms, burst := brokertest.Scale(60, 12), brokertest.Scale(150, 40)
		town := found(t)
		both := absent(t, town.Place, version, "alice", "bob")
		alice, bob := both[0], both[1]
		batches := func(p *wire.Packet) { p.Connect.User += "?batch=1" }
		_ = listen(t, town.MQTT(), version, 1, alice, "phone", batches).Close()
		first := uint64(len(stream(t, town.Place, alice, 0)))
		writer := dial(t, town.MQTT(), version, bob, "phone", brief)
		long, want := strings.Repeat("x", 9000), map[string]bool{}
		for i := range rooms {
			c := room(t, town.Place, bob, "group", "alice")
			want[c] = true
			writer.send(plain(c, long, 1, uint16(i+1)))
			writer.answer(wire.PUBACK, uint16(i+1))
		}
		writer.chatter("alice", 1, burst, nil)
		want[device.Direct("alice", "bob")] = true

		fresh := alice.Another("fresh", way(version))
		in, pages := people.M{"limit": 200}, 0
		for more := true; more; pages++ {
			out := fresh.Must("conv.list", in)
			text, _ := json.Marshal(out) // as it came
			if len(text) > room64 {
				t.Errorf("a page has %d bytes", len(text))
			}
			convs, _ := out["convs"].([]any)
			for _, line := range convs {
				c, _ := line.(people.M)["c"].(string)
				if !want[c] && c != "s.alice" {
					t.Errorf("%s is listed twice, or not hers", c)
				}
				delete(want, c)
			}
			in["cursor"], more = out["cursor"].(string)
		}
		if len(want) > 0 {
			t.Errorf("not listed on %d pages: %v", pages, want)
		}

		head := uint64(len(stream(t, town.Place, alice, 0)))
		phone, packets := dial(t, town.MQTT(), version, alice, "phone", batches), 0
		for last := first; last < head; packets++ {
			a := phone.take()
			events := []event{a.event}
			if a.T == "batch" {
				events = a.Events
			}
			if len(events) > 64 || len(a.packet.Payload) > room64 {
				t.Errorf("a packet has %d events and %d bytes", len(events), len(a.packet.Payload))
			}
			for _, e := range events {
				if last++; e.USN != last {
					t.Fatalf("usn %d came, want %d", e.USN, last)
				}
			}
		}
		if n := int(head - first); packets > n/2 {
			t.Errorf("%d events came in %d packets", n, packets)
		}
	})
}

// All that there is to show of a message is in the one packet that brings it.
func row724(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		town := found(t)
		both := absent(t, town.Place, version, "alice", "bob")
		reader := listen(t, town.MQTT(), version, 1, both[1], "phone")
		writer := listen(t, town.MQTT(), version, 1, both[0], "phone")
		long := string(slices.Repeat([]rune("深夜"), 4900))
		writer.send(text("bob", long, "m1", 1, 9))
		told := writer.outcome(9)
		a := reader.take()
		reader.ping()
		reader.ping()
		if len(reader.waiting) > 0 {
			t.Fatalf("more came: %s", reader.waiting[0].Payload)
		}
		if a.Body.Text != long || a.Seq != told.Seq || a.ID != told.ID || a.TS != told.TS || a.From != "alice" || a.C != told.C ||
			a.MID != "m1" || a.K != "text" || *a.Unread != 1 || *a.Total != 1 {
			t.Errorf("it says %.300s, want %+v", a.packet.Payload, told)
		}
	})
}

// Pages, forwards and backwards, have every place once and in order, though others go on writing.
func row725(t *testing.T) {
	each(t, func(t *testing.T, version byte) {
		n := many(1000, 10_000)
		town := found(t)
		both := friends(t, town.Place, version, "alice", "bob")
		bob := both[1]
		writer := dial(t, town.MQTT(), version, both[0], "writer", brief)
		writer.chatter("bob", 1, n, nil)
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() {
			defer close(over)
			for range 100 {
				if ctx.Err() == nil {
					writer.chatter("bob", 2, 5, nil)
				}
			}
		}()
		defer cancel()
		c := device.Direct("alice", "bob")
		var back []uint64
		for before := uint64(n + 1); before > 1; before = back[len(back)-1] {
			_, msgs := pageOf(t, bob, c, before, 83)
			if len(msgs) == 0 {
				t.Fatalf("nothing is before %d", before)
			}
			for _, m := range slices.Backward(msgs) {
				back = append(back, m.Seq)
			}
		}
		slices.Reverse(back)
		var forth []uint64
		for len(forth) < n {
			out := bob.Must("history", people.M{"c": c, "after": len(forth), "limit": min(100, n-len(forth))})
			msgs, _ := out["msgs"].([]any)
			if len(msgs) == 0 {
				t.Fatalf("nothing is after %d", len(forth))
			}
			for _, m := range msgs {
				forth = append(forth, uint64(m.(people.M)["seq"].(float64)))
			}
		}
		for i := range n {
			if want := uint64(i + 1); len(back) != n || back[i] != want || forth[i] != want {
				t.Fatalf("place %d: %d of %d backwards, %d forwards", want, back[i], len(back), forth[i])
			}
		}
		cancel()
		<-over
		holes(t, town, both[0], bob)
	})
}

// holes sees that what was taken back keeps its place in the history without its content, and so does what somebody hides, for
// him and nobody else, and that it is said where a history begins, and why.
func holes(t *testing.T, town *town, alice, bob *people.Person) {
	t.Helper()
	c := device.Direct("alice", "bob")
	alice.Must("op", people.M{"op": "recall", "c": c, "seq": history(t, town.Place, alice, c)[9].Seq})
	bob.Must("history.hide", people.M{"c": c, "seqs": []int{20}})
	for i, m := range history(t, town.Place, bob, c)[:30] {
		why := map[int]string{9: "recalled", 19: "hidden"}[i]
		if m.Seq != uint64(i+1) || m.Why != why || (m.K == gone) != (why != "") || (m.Body.Text == "") != (why != "") {
			t.Errorf("at place %d is %+v", i+1, m)
		}
	}
	if m := history(t, town.Place, alice, c)[19]; m.K == gone {
		t.Errorf("what bob does not want to see is gone for alice: %+v", m)
	}
	begins := func(c string) string {
		out := call(t, town.Place, bob, "history", people.M{"c": c, "limit": 1})
		if out["floor"] == nil {
			t.Errorf("nobody says where %s begins", c)
		}
		why, _ := out["floor_why"].(string)
		return why
	}
	why := begins(c)
	bob.Must("history.clear", people.M{"c": c})
	if all := history(t, town.Place, bob, c); len(all) > 0 {
		t.Errorf("after everything was put away, there is %+v", all)
	}
	if why != "start" {
		t.Errorf("the history begins where it does because of %s", why)
	}
	if why := begins(c); why != "clear" {
		t.Errorf("after everything was put away, it is because of %s", why)
	}
	group := room(t, town.Place, alice, "group")
	call(t, town.Place, alice, "send", people.M{"c": group, "body": people.M{"text": "to nobody"}})
	alice.Must("group.invite", people.M{"c": group, "who": []string{"bob"}})
	if why := begins(group); why != "join" {
		t.Errorf("for who joined later it is because of %s", why)
	}
}
