package sessions

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

const rsp = "im/u/alice/rsp"

func reply(text string) Publish { return Publish{Topic: rsp, Payload: []byte(text), QoS: 1} }

func TestReplyGoesToThisLinkIfItIsSubscribed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{})
		x, y := open(t, r, persistent("phone", 5)), open(t, r, persistent("tablet", 5))
		for _, c := range []*conn{x, y} {
			c.link.Reply(reply("nobody listens"))
			c.subscribe(1, Subscription{Filter: rsp, Spelling: "im/u/me/rsp", QoS: 2})
			wants(t, c, "suback 1 02")
		}
		x.link.Reply(reply("a"))
		got := wants(t, x, "publish a q1")
		if got[0].publish.Topic != "im/u/me/rsp" {
			t.Errorf("topic %s", got[0].publish.Topic)
		}
		wants(t, y, "")
		x.subscribe(2, Subscription{Filter: rsp, QoS: 0})
		wants(t, x, "suback 2 00")
		x.link.Reply(reply("b"))
		wants(t, x, "publish b q0")
		x.close()
		x.link.Reply(reply("c"))
		wants(t, open(t, r, persistent("phone", 5)), "") // replies die with their link
	})
}

func TestRepliesAndStreamTakeTurns(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			log := &fakeLog{}
			r := newRegistry(newFakeStore(emptyDisk()), log)
			c := persistent("phone", 5)
			c.ReceiveMaximum = 1
			x := streaming(t, r, c, qos)
			x.subscribe(2, Subscription{Filter: rsp, QoS: 1})
			wants(t, x, "suback 2 01")
			log.grow(r, 100)
			for i := range 100 {
				x.link.Reply(reply(fmt.Sprint("r", i)))
			}
			replies, events := 0, 0
			for range 60 {
				time.Sleep(3 * syncTime)
				got := x.w.take()
				if len(got) != 1 {
					t.Fatalf("%q in flight, window is 1", describe(got))
				}
				p := got[0].publish
				if p.Topic == rsp {
					replies++
				} else {
					events++
				}
				if p.QoS == 1 {
					x.send(puback(p.ID))
					continue
				}
				x.send(func(l *Link) { l.Pubrec(p.ID, 0) })
				wants(t, x, fmt.Sprintf("pubrel %d", p.ID))
				x.send(func(l *Link) { l.Pubcomp(p.ID) })
			}
			if replies < 25 || events < 25 {
				t.Errorf("%d replies and %d events, want about as many", replies, events)
			}
		})
	}
}

func TestReplyQueueDropsTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry(newFakeStore(emptyDisk()), &fakeLog{}, func(c *Config) { c.Replies, c.ReplyBytes = 3, 400 })
		c := persistent("phone", 5)
		c.ReceiveMaximum = 1
		x := open(t, r, c)
		x.subscribe(1, Subscription{Filter: rsp, QoS: 1})
		wants(t, x, "suback 1 01")
		for i := range 6 {
			x.link.Reply(reply(fmt.Sprint(i)))
		}
		wants(t, x, "publish 0 q1")
		x.send(puback(1))
		wants(t, x, "publish 3 q1")
		time.Sleep(2 * time.Minute)
		x.send(puback(2)) // 4 and 5 are too old
		wants(t, x, "")
		x.link.Reply(reply("6"))
		wants(t, x, "publish 6 q1")
		for range 3 {
			x.link.Reply(Publish{Topic: rsp, Payload: make([]byte, 300), QoS: 1})
		}
		x.link.mu.Lock()
		defer x.link.mu.Unlock()
		if n := len(x.link.replies.waiting); n != 1 || x.link.replies.bytes > 400 {
			t.Errorf("%d replies wait, with %d bytes", n, x.link.replies.bytes)
		}
	})
}

func TestEventComesBeforeItsAck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, log := newFakeStore(emptyDisk()), &fakeLog{}
		r := newRegistry(store, log)
		c := persistent("phone", 5)
		c.ReceiveMaximum = 1
		x := open(t, r, c)
		telling := func(ctx context.Context, l *Link, p Publish, origin any) Outcome {
			o := storing(store)(ctx, l, p, origin)
			o.Reply.Event = []byte("event " + string(p.Payload))
			return o
		}
		x.publish(message(1, 1, "a"), telling) // not subscribed: only the ack
		wants(t, x, "puback 1")
		x.subscribe(2, Subscription{Filter: rsp, QoS: 1})
		wants(t, x, "suback 2 01")
		x.publish(message(3, 1, "b"), telling)
		x.publish(message(4, 2, "c"), telling) // the window is full
		wants(t, x, "publish event b q1, puback 3, publish event c q0, pubrec 4")
		x.publish(message(0, 0, "d"), telling) // nobody is told
		wants(t, x, "")
	})
}

func TestAckTooLargeGoesWithoutItsProperties(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(emptyDisk())
		c := persistent("phone", 5)
		w := newWire()
		w.packetSize = 20
		c.Wire = w
		x := open(t, newRegistry(store, &fakeLog{}), c)
		x.publish(message(1, 1, "longer than twenty bytes"), storing(store))
		got := wants(t, x, "puback 1")
		if len(got) == 1 && got[0].ack.User != nil {
			t.Errorf("user properties %v", got[0].ack.User)
		}
	})
}
