package mochi

import (
	"fmt"
	"slices"
	"testing"

	"github.com/magpie-im/magpie/e2e/wire"
)

func retained(topic, text string) wire.Packet {
	p := message(topic, text, 1)
	p.Retain = true
	return p
}

// Retained messages stay until they are replaced. mochi deletes them after a day, which is a second here.
//
// Against bare mochi v2.7.9: the message was gone.
func TestARetainedMessageWithoutExpiryIsNotDeletedByAndBy(t *testing.T) {
	try(t, func(w *world) {
		w.connect(wire.V311, "publisher", clean).publish(retained("t/kept", "keep me"))
		w.expired(2)
		late := w.connect(wire.V311, "late", clean).subscribe(1, "t/kept")
		if got := payloads(late.take(1, true)); !slices.Equal(got, []string{"keep me"}) {
			w.lost("after a while whoever subscribes gets %q", got)
		}
	}, second)
}

// A subscription gets all retained messages that it matches. mochi puts them where it keeps what is in flight, which
// holds 8192, and drops the others.
//
// Against bare mochi v2.7.9: 8192 of 9000 came.
func TestASubscriptionGetsEveryRetainedMessage(t *testing.T) {
	try(t, func(w *world) {
		n := w.many(9000)
		err := w.connect(wire.V311, "publisher", clean).flood(n, func(i int) wire.Packet {
			return retained(fmt.Sprint("t/", i), "keep me")
		})
		if err != nil {
			w.Fatal(err)
		}
		reader := w.connect(wire.V311, "reader")
		reader.send(wire.Packet{Type: wire.SUBSCRIBE, ID: 1, Filters: []wire.Filter{{Topic: "t/+", Options: 1}}})
		if got := distinct(reader.take(n, true)); got != n {
			w.lost("%d of %d retained messages came", got, n)
		}
	})
}
