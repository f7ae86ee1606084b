package mochi

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"

	"github.com/magpie-im/magpie/e2e/wire"
)

// L1: the channel between mochi's routing and a client's writer is full, of QoS 0 for example, and what does not fit is
// dropped, QoS 1 as well, after its PUBACK.
//
// Against bare mochi v2.7.9: 617 of 2000 lost in one run, 1301 in another.
func TestASubscriberThatIsSlowerThanItsPublishersGetsEveryQoS1(t *testing.T) {
	if testing.Short() {
		t.Skip("many messages")
	}
	try(t, func(w *world) {
		const publishers = 8
		each := w.many(250)
		slow := w.connect(wire.V311, "slow").subscribe(1, "t/#")
		stop := w.noise(3)
		var failed atomic.Pointer[error]
		var senders sync.WaitGroup
		for i := range publishers {
			c := w.connect(wire.V311, fmt.Sprint("publisher", i), clean)
			senders.Go(func() {
				if err := c.flood(each, numbered(fmt.Sprint("t/", i))); err != nil {
					failed.Store(&err)
				}
			})
		}
		go func() {
			senders.Wait()
			stop()
		}()
		got := map[string]bool{}
		for len(got) < publishers*each {
			p, err := slow.read()
			if err != nil {
				break
			}
			if slow.answer(p); p.QoS > 0 {
				got[p.Topic+string(p.Payload)] = true
			}
		}
		stop()
		senders.Wait()
		if err := failed.Load(); err != nil {
			w.Fatal(*err)
		}
		if lost := publishers*each - len(got); lost > 0 {
			w.lost("%d of %d acknowledged messages did not come", lost, publishers*each)
		}
	})
}

// noise publishes QoS 0 on so many connections until it is stopped, and returns when the broker has seen more than a
// subscriber that does not read can hold.
func (w *world) noise(connections int) (stop func()) {
	w.Helper()
	const head, most = 10_000, 200_000
	batch := bytes.Repeat(message("t/noise", string(make([]byte, 1000)), 0).Append(nil, wire.V311), 100)
	stopped := make(chan struct{})
	var running sync.WaitGroup
	for i := range connections {
		c := w.connect(wire.V311, fmt.Sprint("noise", i), clean)
		for range head / 100 {
			if err := c.SendRaw(batch); err != nil {
				w.Fatal(err)
			}
		}
		c.ping()
		running.Go(func() {
			for range most / 100 {
				select {
				case <-stopped:
					return
				default:
				}
				if c.SendRaw(batch) != nil {
					return
				}
			}
		})
	}
	return sync.OnceFunc(func() {
		close(stopped)
		running.Wait()
	})
}

// L2: a session holds 8192 messages, and what comes on top is dropped after its PUBACK, without a word to anybody.
//
// Against bare mochi v2.7.9: 808 of 9000 lost.
func TestAnOfflineSessionGetsAllThatWasAcknowledged(t *testing.T) {
	try(t, func(w *world) {
		n := w.many(9000)
		w.connect(wire.V311, "reader").subscribe(1, "t/#").leave()
		if err := w.connect(wire.V311, "publisher", clean).flood(n, numbered("t/x")); err != nil {
			w.Fatal(err)
		}
		got := w.connect(wire.V311, "reader").take(n, true)
		if lost := n - distinct(got); lost > 0 {
			w.lost("%d of %d acknowledged messages did not come", lost, n)
		}
	})
}

// L2 again: the session is connected, and acknowledges only when all is published.
//
// Against bare mochi v2.7.9: 808 of 9000 lost.
func TestASessionThatAcknowledgesLateGetsAllThatWasAcknowledged(t *testing.T) {
	try(t, func(w *world) {
		n := w.many(9000)
		reader := w.connect(wire.V311, "reader").subscribe(1, "t/#")
		published := make(chan error, 1)
		publisher := w.connect(wire.V311, "publisher", clean)
		go func() { published <- publisher.flood(n, numbered("t/x")) }()
		var got []wire.Packet
		for done := false; !done; { // reads, so that nothing is stalled
			select {
			case err := <-published:
				if err != nil {
					w.Fatal(err)
				}
				done = true
			default:
				if p, err := reader.Read(time.Now().Add(10 * time.Millisecond)); err == nil {
					got = append(got, p)
				}
			}
		}
		for _, p := range got {
			reader.answer(p)
		}
		got = append(got, reader.take(n-len(got), true)...)
		if lost := n - distinct(got); lost > 0 {
			w.lost("%d of %d acknowledged messages did not come", lost, n)
		}
	})
}

// L3: with its bound of messages in flight set to the most that there can be, mochi runs out of it, or of packet ids, after
// 65,535 messages.
//
// Against bare mochi v2.7.9: 465 of 66,000 lost.
func TestAQueueIsNotBoundedByTheNumberOfPacketIDs(t *testing.T) {
	if testing.Short() {
		t.Skip("many messages")
	}
	try(t, func(w *world) {
		n := w.many(66_000)
		w.connect(wire.V311, "reader").subscribe(1, "t/#").leave()
		if err := w.connect(wire.V311, "publisher", clean).flood(n, numbered("t/x")); err != nil {
			w.Fatal(err)
		}
		got := w.connect(wire.V311, "reader").take(n, true)
		if lost := n - distinct(got); lost > 0 {
			w.lost("%d of %d acknowledged messages did not come", lost, n)
		}
	}, capabilities(func(c *mqtt.Capabilities) { c.MaximumInflight = 65_535 }), patience(20*time.Second))
}

// What waits comes in the order in which it was published. mochi sorts by the second, and takes what is of one second
// out of a map.
//
// Against bare mochi v2.7.9: 982 of 2000 messages came after a later one.
func TestWhatWaitedComesInOrder(t *testing.T) {
	try(t, func(w *world) {
		n := w.many(2000)
		w.connect(wire.V311, "reader").subscribe(1, "t/#").leave()
		if err := w.connect(wire.V311, "publisher", clean).flood(n, numbered("t/x")); err != nil {
			w.Fatal(err)
		}
		last, inversions := -1, 0
		for _, text := range payloads(w.connect(wire.V311, "reader").take(n, true)) {
			i, err := strconv.Atoi(text)
			if err != nil {
				w.Fatal(err)
			}
			if i < last {
				inversions++
			}
			last = i
		}
		if inversions > 0 {
			w.lost("%d of %d messages came after a later one", inversions, n)
		}
	}, quick)
}

// L4: mochi keeps the packet ids of both directions in one map. A PUBLISH of the client with the id of a message that is
// on its way to it deletes that message.
//
// Against bare mochi v2.7.9: in both versions the message did not come again after a reconnect.
func TestAPublishWithAnIDThatIsInFlightTheOtherWayDeletesNothing(t *testing.T) {
	try(t, func(w *world) {
		w.eachVersion(func(w *world, version byte) {
			topic := fmt.Sprint("t/", version)
			reader := w.connect(version, "reader"+topic).subscribe(1, topic)
			w.connect(version, "publisher", clean).publish(message(topic, "keep me", 1))
			first := reader.take(1, false)
			if len(first) != 1 {
				w.Fatal("the message did not come")
			}
			own := message("t/other", "mine", 1)
			own.ID = first[0].ID
			reader.send(own)
			reader.expect(wire.PUBACK)
			reader.cut()
			again := w.connect(version, "reader"+topic).take(1, true)
			if !slices.Equal(payloads(again), []string{"keep me"}) {
				w.lost("the unacknowledged message %d did not come again: %q", first[0].ID, payloads(again))
			}
		})
	})
}

// L4 again: a SUBSCRIBE with such an id is refused with 0x91, which 3.1.1 does not even know.
//
// Against bare mochi v2.7.9: the SUBACK said 0x91 in both versions.
func TestASubscribeWithAnIDThatIsInFlightTheOtherWayIsGranted(t *testing.T) {
	try(t, func(w *world) {
		w.eachVersion(func(w *world, version byte) {
			topic := fmt.Sprint("t/", version)
			reader := w.connect(version, "reader"+topic).subscribe(1, topic)
			w.connect(version, "publisher", clean).publish(message(topic, "x", 1))
			first := reader.take(1, false)
			if len(first) != 1 {
				w.Fatal("the message did not come")
			}
			reader.send(wire.Packet{Type: wire.SUBSCRIBE, ID: first[0].ID, Filters: []wire.Filter{{Topic: "t/more", Options: 1}}})
			if ack, err := reader.await(wire.SUBACK); err != nil {
				w.lost("no SUBACK that makes sense: %v", err)
			} else if !slices.Equal(ack.Codes, []byte{1}) {
				w.lost("SUBACK % x, want 01", ack.Codes)
			}
		})
	}, quick)
}

// L5: with a Receive Maximum of 2 mochi stops for good after a few messages, all of them acknowledged.
//
// Against bare mochi v2.7.9: of 30 messages four came, 0 1 9 5, and then nothing more.
func TestAWindowOfTwoGoesOnForAsLongAsItIsAcknowledged(t *testing.T) {
	try(t, func(w *world) {
		const n = 30
		reader := w.connect(wire.V5, "reader", receiveMaximum(2)).subscribe(1, "t/x")
		if err := w.connect(wire.V311, "publisher", clean).flood(n, numbered("t/x")); err != nil {
			w.Fatal(err)
		}
		var want []string
		for i := range n {
			want = append(want, fmt.Sprint(i))
		}
		if got := payloads(reader.take(n, true)); !slices.Equal(got, want) {
			w.lost("of %d messages came %q", n, got)
		}
	})
}

// L5 again: with a full window mochi forgets a message when it sends it, and not when it is acknowledged.
//
// Against bare mochi v2.7.9: message 1 was lost.
func TestAWindowOfOneForgetsNothingThatIsUnacknowledged(t *testing.T) {
	try(t, func(w *world) {
		reader := w.connect(wire.V5, "reader", receiveMaximum(1)).subscribe(1, "t/x")
		if err := w.connect(wire.V311, "publisher", clean).flood(2, numbered("t/x")); err != nil {
			w.Fatal(err)
		}
		reader.take(1, true)  // 0; mochi sends 1 now, and deletes it
		reader.take(1, false) // 1
		reader.cut()
		again := w.connect(wire.V5, "reader", receiveMaximum(1)).take(1, true)
		if got := payloads(again); !slices.Equal(got, []string{"1"}) {
			w.lost("message 1 was not acknowledged, and after a reconnect came %q", got)
		}
	})
}

// L5 again: a session that returns gets all it missed at once, whatever its Receive Maximum is.
//
// Against bare mochi v2.7.9: all 50 were in flight with a Receive Maximum of 2.
func TestAWindowHoldsForASessionThatReturns(t *testing.T) {
	try(t, func(w *world) {
		const n, window = 50, 2
		w.connect(wire.V5, "reader").subscribe(1, "t/x").leave()
		if err := w.connect(wire.V311, "publisher", clean).flood(n, numbered("t/x")); err != nil {
			w.Fatal(err)
		}
		reader := w.connect(wire.V5, "reader", receiveMaximum(window))
		reader.send(wire.Packet{Type: wire.PINGREQ})
		got := 0
		for {
			p, err := reader.read()
			if err != nil {
				w.Fatal(err)
			}
			if p.Type == wire.PUBLISH {
				got++
			} else if p.Type == wire.PINGRESP && got >= window {
				break // what it sends without an ack came before
			} else if p.Type == wire.PINGRESP {
				reader.send(wire.Packet{Type: wire.PINGREQ})
			}
		}
		if got > window {
			w.lost("%d messages in flight with a Receive Maximum of %d", got, window)
		}
	}, quick)
}

// L6: one message that is bigger than the client takes ends every connection of its session from then on.
//
// Against bare mochi v2.7.9: the connection was closed at every attempt, and what waited behind the message never came.
func TestAnOversizeMessageDoesNotPoisonItsSession(t *testing.T) {
	try(t, func(w *world) {
		small := property(wire.Num(wire.MaximumPacketSize, 100))
		w.connect(wire.V5, "reader", small).subscribe(1, "t/x").leave()
		publisher := w.connect(wire.V311, "publisher", clean)
		for _, text := range []string{"before", string(make([]byte, 300)), "after"} {
			publisher.publish(message("t/x", text, 1))
		}
		reader, err := w.enter(wire.V5, "reader", small)
		if err != nil {
			w.lost("the session cannot connect any more: %v", err)
			return
		}
		if got := payloads(reader.take(2, true)); !slices.Equal(got, []string{"before", "after"}) {
			w.lost("got %q, want before and after", got)
		}
		if err := reader.Send(wire.Packet{Type: wire.PINGREQ}); err != nil {
			w.lost("the session is not connected any more: %v", err)
		}
	}, quick)
}

// L7: mochi keeps a message for redelivery as it was sent, with the topic replaced by an alias that ended with the
// connection.
//
// Against bare mochi v2.7.9: both messages came again with topic "" and an alias that nobody knew.
func TestARedeliveredMessageHasItsTopic(t *testing.T) {
	try(t, func(w *world) {
		aliases := property(wire.Num(wire.TopicAliasMaximum, 10))
		reader := w.connect(wire.V5, "reader", aliases).subscribe(1, "t/x")
		publisher := w.connect(wire.V311, "publisher", clean)
		for i := range 3 {
			publisher.publish(message("t/x", fmt.Sprint(i), 1))
		}
		reader.take(1, true) // the only one that has the topic
		if got := len(reader.take(2, false)); got != 2 {
			w.Fatalf("%d messages came, want 2", got)
		}
		reader.cut()
		known := map[uint32]string{}
		for _, p := range w.connect(wire.V5, "reader", aliases).take(2, true) {
			if alias, ok := p.Props.Get(wire.TopicAlias); ok && p.Topic == "" {
				p.Topic = known[alias.Num]
			} else if ok {
				known[alias.Num] = p.Topic
			}
			if p.Topic != "t/x" {
				w.lost("message %s came again with topic %q, %+v", p.Payload, p.Topic, p.Props)
			}
		}
	}, quick)
}

// second makes mochi's bound of a day for every message one of a second.
var second = capabilities(func(c *mqtt.Capabilities) { c.MaximumMessageExpiryInterval = 1 })

// L8: mochi deletes every message after a day, one that is to live for ever too. Here the day is a second.
//
// Against bare mochi v2.7.9: the message was lost.
func TestAMessageWithoutExpiryIsNotDeletedByAndBy(t *testing.T) {
	try(t, func(w *world) {
		w.connect(wire.V311, "reader").subscribe(1, "t/x").leave()
		w.connect(wire.V311, "publisher", clean).publish(message("t/x", "keep me", 1))
		w.expired(2)
		if got := payloads(w.connect(wire.V311, "reader").take(1, true)); !slices.Equal(got, []string{"keep me"}) {
			w.lost("after a while came %q", got)
		}
	}, second)
}

// L9: what is acknowledged survives a crash of the broker: sessions, subscriptions, queues, retained messages. mochi
// acknowledges first and stores then, if at all; bare mochi stores nothing.
//
// Against bare mochi v2.7.9: everything was lost: the session, 500 messages, the retained one.
func TestACrashLosesNothingThatWasAcknowledged(t *testing.T) {
	try(t, func(w *world) {
		n := w.many(500)
		w.connect(wire.V311, "reader").subscribe(1, "t/+/x").leave()
		publisher := w.connect(wire.V311, "publisher", clean)
		keep := message("t/kept", "keep me", 1)
		keep.Retain = true
		publisher.publish(keep)
		if err := publisher.flood(n, numbered("t/a/x")); err != nil {
			w.Fatal(err)
		}
		w.crash()
		reader := w.connect(wire.V311, "reader")
		if !reader.ack.Present {
			w.lost("the session is forgotten")
		} else if lost := n - distinct(reader.take(n, true)); lost > 0 {
			w.lost("%d of %d acknowledged messages did not come", lost, n)
		}
		late := w.connect(wire.V311, "late", clean).subscribe(1, "t/kept")
		if got := payloads(late.take(1, true)); !slices.Equal(got, []string{"keep me"}) {
			w.lost("the retained message is %q", got)
		}
	}, crashes)
}

// L10: a shared subscription gives messages to members that are not there.
//
// Against bare mochi v2.7.9: the member that was there got 26 of 100.
func TestASharedSubscriptionGivesNothingToAMemberThatIsOffline(t *testing.T) {
	try(t, func(w *world) {
		const n = 100
		w.connect(wire.V311, "away").subscribe(1, "$share/g/t/x").leave()
		here := w.connect(wire.V311, "here").subscribe(1, "$share/g/t/x")
		if err := w.connect(wire.V311, "publisher", clean).flood(n, numbered("t/x")); err != nil {
			w.Fatal(err)
		}
		if got := distinct(here.take(n, true)); got != n {
			w.lost("the only member that is there got %d of %d", got, n)
		}
	})
}

// L10 again: what a member had not acknowledged when its session ended is lost.
//
// Against bare mochi v2.7.9: 10 of 10 lost.
func TestASharedSubscriptionGivesWhatAMemberLeftBehindToAnother(t *testing.T) {
	try(t, func(w *world) {
		const n = 10
		leaver := w.connect(wire.V311, "leaver", clean).subscribe(1, "$share/g/t/x")
		if err := w.connect(wire.V311, "publisher", clean).flood(n, numbered("t/x")); err != nil {
			w.Fatal(err)
		}
		if got := len(leaver.take(n, false)); got != n {
			w.Fatalf("%d messages came, want %d", got, n)
		}
		stayer := w.connect(wire.V311, "stayer", clean).subscribe(1, "$share/g/t/x")
		leaver.cut()
		if got := distinct(stayer.take(n, true)); got != n {
			w.lost("of %d that were not acknowledged the other member got %d", n, got)
		}
	})
}

// L11: mochi writes to a socket under the lock that publishers need for a packet id. One subscriber that does not read
// stops its publishers, with them all other subscribers, and the CONNECT that would take its session over.
//
// Against bare mochi v2.7.9: the publisher got 501 of 2000 acks and no more, the healthy subscriber as many messages,
// and the CONNECT no answer.
func TestAStalledSubscriberStallsNobodyElse(t *testing.T) {
	try(t, func(w *world) {
		n := w.many(2000)
		stalled := w.connect(wire.V311, "stalled").subscribe(1, "t/#")
		healthy := w.connect(wire.V311, "healthy").subscribe(1, "t/#")
		publisher := w.connect(wire.V311, "publisher", clean)
		published := make(chan error, 1)
		load := string(make([]byte, 8000))
		go func() {
			published <- publisher.flood(n, func(i int) wire.Packet { return message("t/x", fmt.Sprint(i, load), 1) })
		}()
		if got := distinct(healthy.take(n, true)); got != n {
			w.lost("the healthy subscriber got %d of %d", got, n)
		}
		if err := <-published; err != nil {
			w.lost("the publisher is stopped: %v", err)
		}
		next, err := w.enter(wire.V311, "stalled")
		if err != nil {
			w.lost("the session cannot be taken over: %v", err)
			stalled.cut() // so that the broker may end
			return
		}
		if got := distinct(next.take(n, true)); got != n {
			w.lost("the session got %d of %d", got, n)
		}
	})
}

// L12: mochi takes a read lock twice, and stops for ever when somebody asks for the write lock in between: the client
// with a Receive Maximum whose lock it is, everybody who publishes to it, and the loop that ends sessions and sends wills.
//
// Against bare mochi v2.7.9: all eight clients were stopped for good after 2000 to 12,000 messages each.
func TestClientsWithAReceiveMaximumDoNotFreezeTheBroker(t *testing.T) {
	try(t, func(w *world) {
		const clients = 8
		each := 1500
		if w.bare {
			each = 50_000 // it froze after 2,960 messages, and after 25,892
		}
		var all []*client
		for i := range clients {
			all = append(all, w.connect(wire.V5, fmt.Sprint("client", i), receiveMaximum(8000)).
				subscribe(1, fmt.Sprint("t/", i)))
		}
		var running sync.WaitGroup
		for i, c := range all {
			running.Go(func() {
				if err := c.chat(fmt.Sprint("t/", (i+1)%clients), each); err != nil {
					w.lost("client %d: %v", i, err)
				}
			})
		}
		running.Wait()
	})
}

// chat publishes n messages to a topic, with 16 under way, and receives as many.
func (c *client) chat(topic string, n int) error {
	const window = 16
	var sent, acked, got int
	for acked < n || got < n {
		for sent < n && sent-acked < window {
			p := message(topic, fmt.Sprint(sent), 1)
			p.ID = uint16(sent%60_000) + 1
			if err := c.Send(p); err != nil {
				return fmt.Errorf("after %d acks and %d messages: %w", acked, got, err)
			}
			sent++
		}
		p, err := c.read()
		if err != nil {
			return fmt.Errorf("after %d acks and %d messages: %w", acked, got, err)
		}
		switch c.answer(p); p.Type {
		case wire.PUBACK:
			acked++
		case wire.PUBLISH:
			got++
		}
	}
	return nil
}
