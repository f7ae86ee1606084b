package mochi

import (
	"testing"

	"github.com/magpie-im/magpie/e2e/wire"
)

// A will has properties, as every message (MQTT 5, 3.1.3.2). mochi keeps the user properties and forgets the others.
//
// Against bare mochi v2.7.9: payload format, content type, response topic and correlation data were gone.
func TestAWillKeepsItsProperties(t *testing.T) {
	try(t, func(w *world) {
		witness := w.connect(wire.V5, "witness").subscribe(1, "t/will")
		want := wire.Properties{
			wire.Num(wire.PayloadFormat, 1), wire.Str(wire.ContentType, "text/plain"),
			wire.Str(wire.ResponseTopic, "t/answer"), wire.Str(wire.CorrelationData, "\x00\xff"),
			wire.Num(wire.MessageExpiry, 3600), wire.User("a", "1"), wire.User("a", "2"),
		}
		w.connect(wire.V5, "mortal", will(wire.Will{Topic: "t/will", Payload: []byte("gone"), QoS: 1, Props: want})).cut()
		got := witness.take(1, true)
		if len(got) != 1 {
			w.lost("the will did not come")
			return
		}
		for _, p := range want {
			found := false
			for _, q := range got[0].Props {
				found = found || q == p || p.ID == wire.MessageExpiry && q.ID == p.ID && q.Num > 3000
			}
			if !found {
				w.lost("of the will's properties %+v is not among %+v", p, got[0].Props)
			}
		}
	}, quick)
}

// A will that waits does not expire because it waited. mochi takes the delay for its expiry.
//
// Against bare mochi v2.7.9: the will expired in 1 s.
func TestADelayedWillWithoutExpiryHasNone(t *testing.T) {
	try(t, func(w *world) {
		witness := w.connect(wire.V5, "witness").subscribe(1, "t/will")
		w.connect(wire.V5, "mortal", will(wire.Will{Topic: "t/will", Payload: []byte("gone"), QoS: 1,
			Props: wire.Properties{wire.Num(wire.WillDelay, 1)}})).cut()
		got := w.delayed(witness)
		if len(got) == 0 {
			w.lost("the will did not come")
		} else if p, ok := got[0].Props.Get(wire.MessageExpiry); ok {
			w.lost("the will expires in %d s", p.Num)
		}
	})
}

// delayed waits for one message with the patience that a delay needs.
func (w *world) delayed(c *client) []wire.Packet {
	for range 3 {
		if got := c.take(1, true); len(got) > 0 {
			return got
		}
	}
	return nil
}

// A will that waits survives a crash of the broker; mochi has it in memory only. So does the will of a client that was
// connected then: its connection is over.
//
// Against bare mochi v2.7.9: both wills were lost.
func TestACrashLosesNoWill(t *testing.T) {
	try(t, func(w *world) {
		w.connect(wire.V5, "witness").subscribe(1, "t/will/+").leave()
		waits := will(wire.Will{Topic: "t/will/delayed", Payload: []byte("gone"), QoS: 1,
			Props: wire.Properties{wire.Num(wire.WillDelay, 2)}})
		w.connect(wire.V5, "delayed", waits).cut()
		w.connect(wire.V311, "connected", will(wire.Will{Topic: "t/will/now", Payload: []byte("gone"), QoS: 1}))
		w.crash()
		got := w.connect(wire.V5, "witness").take(2, true)
		topics := map[string]bool{}
		for _, p := range got {
			topics[p.Topic] = true
		}
		for _, topic := range []string{"t/will/delayed", "t/will/now"} {
			if !topics[topic] {
				w.lost("the will %s did not come", topic)
			}
		}
	}, crashes)
}

// A will is published with the rights of who left it. mochi does not ask.
//
// Against bare mochi v2.7.9: the witness got the forbidden message, in both versions.
func TestAWillDoesNotGoWhereItsClientMayNotPublish(t *testing.T) {
	try(t, func(w *world) {
		w.eachVersion(func(w *world, version byte) {
			witness := w.connect(wire.V311, "witness", clean).subscribe(1, "locked/#", "t/marker")
			c, err := w.enter(version, "mortal", clean, will(wire.Will{Topic: "locked/x", Payload: []byte("forbidden"), QoS: 1}))
			if err != nil {
				return // refused: there is no will then
			}
			c.cut()
			if w.bare { // the end of a connection is noticed by and by
				if got := witness.take(1, true); len(got) > 0 {
					w.lost("the witness got %s %q", got[0].Topic, got[0].Payload)
				}
				return
			}
			w.Errorf("a CONNECT with a will that is not granted is let in")
		})
	}, withACL, quick)
}

// Wills of a retained kind are retained, also when they waited.
//
// Against bare mochi v2.7.9: the will came, and was not retained.
func TestADelayedWillOfASessionThatEndedIsRetained(t *testing.T) {
	try(t, func(w *world) {
		witness := w.connect(wire.V5, "witness").subscribe(1, "t/will")
		w.connect(wire.V5, "mortal", property(wire.Num(wire.SessionExpiry, 1)), will(wire.Will{Topic: "t/will",
			Payload: []byte("gone"), QoS: 1, Retain: true, Props: wire.Properties{wire.Num(wire.WillDelay, 3)}})).cut()
		if got := w.delayed(witness); len(got) != 1 {
			w.lost("the will did not come")
		}
		late := w.connect(wire.V5, "late").subscribe(1, "t/will")
		if got := late.take(1, true); len(got) != 1 || !got[0].Retain {
			w.lost("whoever subscribes after it gets %+v", got)
		}
	})
}
