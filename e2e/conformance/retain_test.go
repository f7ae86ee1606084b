package conformance

import (
	"fmt"
	"slices"
	"testing"

	"github.com/magpie-im/magpie/e2e/wire"
)

// markEnd is the topic of a retained message that is asked for behind others. Retained messages come in the order of
// their subscriptions; live ones may come before and after.
const markEnd = "end/of/retained"

// markKept sees to it that there is a retained message on markEnd.
func (n *node) markKept(t *testing.T) {
	t.Helper()
	p := n.connect(t, wire.V5)
	p.deliver(retained(publish(markEnd, "end", 2, 0)))
	p.leave()
}

// given takes all retained messages that earlier subscriptions gave, in the order of topics, as topic=payload/QoS.
func (p *peer) given() []string {
	p.t.Helper()
	p.listen(2, markEnd)
	var got []string
	for {
		m := p.take()
		if m.Topic == markEnd {
			break
		}
		if !m.Retain || m.Dup {
			p.t.Errorf("%s has RETAIN %t, DUP %t, want true, false", m.Topic, m.Retain, m.Dup)
		}
		got = append(got, fmt.Sprintf("%s=%s/%d", m.Topic, m.Payload, m.QoS))
	}
	slices.Sort(got)
	return got
}

// checkKept subscribes anew and looks at what comes of it.
func checkKept(t *testing.T, n *node, version byte, filter string, want ...string) {
	t.Helper()
	n.markKept(t)
	p := n.connect(t, version)
	defer p.leave()
	p.listen(2, filter)
	if got := p.given(); !slices.Equal(got, want) {
		t.Errorf("retained on %s is %q, want %q", filter, got, want)
	}
}

func TestARetainedMessageIsGivenToNewSubscriptions(t *testing.T) {
	inBoth(t, ids{"3.3.1-5 3.3.1-6 3.3.1-7 3.3.1-8 3.3.1-9 3.3.1-12", "3.3.1-5 3.3.1-8 3.3.1-9 3.3.1-12"},
		func(t *testing.T, version byte) {
			n := start(t)
			p, listener := n.connect(t, version), n.connect(t, version)
			listener.listen(2, "t/#")
			for qos := range byte(3) {
				p.deliver(retained(publish(fmt.Sprint("t/", qos), "old", qos, 0)))
				p.deliver(retained(publish(fmt.Sprint("t/", qos), "new", qos, 0)))
			}
			p.deliver(retained(publish("t/deep/1", "x", 1, 0)))
			for range 7 {
				if m := listener.take(); m.Retain {
					t.Errorf("an established subscription got RETAIN 1: %+v", m)
				}
			}
			p.publish("t/1", "not retained", 1)
			p.publish("t/1", "", 1)
			checkKept(t, n, version, "t/#", "t/0=new/0", "t/1=new/1", "t/2=new/2", "t/deep/1=x/1")
			checkKept(t, n, version, "t/+", "t/0=new/0", "t/1=new/1", "t/2=new/2")
			checkKept(t, n, version, "t/1", "t/1=new/1")
			checkKept(t, n, version, "t/+/1", "t/deep/1=x/1")
			checkKept(t, n, version, "t/none")

			p.deliver(retained(publish("t/2", "with QoS 0", 0, 0))) // takes the place of one of QoS 2
			checkKept(t, n, version, "t/2", "t/2=with QoS 0/0")
		})
}

func TestAnEmptyRetainedMessageTakesTheRetainedOneAway(t *testing.T) {
	inBoth(t, ids{"3.3.1-10 3.3.1-11", "3.3.1-6 3.3.1-7"}, func(t *testing.T, version byte) {
		n := start(t)
		p, listener := n.connect(t, version), n.connect(t, version)
		listener.listen(1, "t/#")
		for qos := range byte(3) {
			topic := fmt.Sprint("t/", qos)
			p.deliver(retained(publish(topic, "x", 1, 0)))
			listener.take()
			p.deliver(retained(publish(topic, "", qos, 0)))
			if m := listener.take(); m.Topic != topic || len(m.Payload) > 0 || m.Retain {
				t.Errorf("got %+v, want the empty message, RETAIN 0", m)
			}
		}
		checkKept(t, n, version, "t/#")
	})
}

func TestRetainedMessagesStayWhenTheSessionEnds(t *testing.T) {
	inBoth(t, ids{"3.1.2-7", ""}, func(t *testing.T, version byte) {
		n := start(t)
		p := n.connect(t, version)
		p.deliver(retained(publish("t/a", "x", 1, 0)))
		p.leave()
		checkKept(t, n, version, "t/a", "t/a=x/1")
		n.Restart()
		checkKept(t, n, version, "t/a", "t/a=x/1")
	})
}

// Options of a subscription (MQTT 5, 3.8.3.1).
const (
	noLocal           = 0x04
	retainAsPublished = 0x08
	retainIfNew       = 0x10
	retainNever       = 0x20
)

func TestRetainHandlingSaysWhenRetainedMessagesAreGiven(t *testing.T) {
	n := start(t)
	n.markKept(t)
	n.connect(t, wire.V5).deliver(retained(publish("t/a", "kept", 1, 0)))
	tests := map[string]struct {
		shows         string
		options       byte
		first, second bool
	}{
		"0, always": {"3.3.1-9 3.8.4-4", 0, true, true},
		"1, if new": {"3.3.1-10", retainIfNew, true, false},
		"2, never":  {"3.3.1-11", retainNever, false, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in(t, wire.V5, ids{v5: tt.shows})
			p := n.connect(t, wire.V5)
			check := func(what string, given bool) {
				t.Helper()
				var want []string
				if given {
					want = []string{"t/a=kept/1"}
				}
				p.listen(1|tt.options, "t/a")
				if got := p.given(); !slices.Equal(got, want) {
					t.Errorf("%s gives %q, want %q", what, got, want)
				}
			}
			check("the first subscription", tt.first)
			check("the second subscription", tt.second)
			p.unsubscribe("t/a")
			check("a new subscription", tt.first)
		})
	}
}

func TestRetainAsPublishedKeepsTheFlag(t *testing.T) {
	n := start(t)
	shows(t, wire.V5, "3.3.1-12", "3.3.1-13")
	p, as, not := n.connect(t, wire.V5), n.connect(t, wire.V5), n.connect(t, wire.V5)
	as.listen(1|retainAsPublished, "t/#")
	not.listen(1, "t/#")
	for qos := range byte(2) {
		for _, flag := range []bool{true, false} {
			m := publish("t/a", "x", qos, 0)
			m.Retain = flag
			p.deliver(m)
			if got := as.take(); got.Retain != flag {
				t.Errorf("QoS %d, RETAIN %t: with Retain As Published it is %t", qos, flag, got.Retain)
			}
			if got := not.take(); got.Retain {
				t.Errorf("QoS %d, RETAIN %t: without Retain As Published it is 1", qos, flag)
			}
		}
	}
}

func TestASecondSubscriptionGetsRetainedMessagesAgainAndLosesNone(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.8.4-3", "3.8.4-3 3.8.4-4"}, func(t *testing.T, version byte) {
		p, publisher := n.connect(t, version), n.connect(t, version)
		publisher.deliver(retained(publish("t/kept", "kept", 1, 0)))
		p.listen(2, "t/+")
		p.take()
		const count = 100
		var want []string
		for i := range count {
			want = append(want, fmt.Sprint(i))
			publisher.send(publish("t/live", want[i], 1, uint16(i+1)))
		}
		p.listen(1, "t/+")
		var live []string
		again := 0
		for len(live) < count || again < 1 {
			if m := p.take(); m.Topic == "t/kept" {
				again++
			} else {
				live = append(live, string(m.Payload))
			}
		}
		if !slices.Equal(live, want) {
			t.Errorf("got %q\nwant %q", live, want)
		}
		publisher.ids = 200
		publisher.publish("t/live", "x", 2)
		if m := p.take(); m.QoS != 1 {
			t.Errorf("after the second subscription QoS is %d, want 1: one subscription, the new one", m.QoS)
		}
		publisher.ids = 300
		p.only(publisher, "t/live")
	})
}
