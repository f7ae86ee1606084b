package promises

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

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
			for ctx.Err() == nil {
				writer.chatter("bob", 2, 10, nil)
			}
		}()
		defer func() { cancel(); <-over }()
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
	})
}
