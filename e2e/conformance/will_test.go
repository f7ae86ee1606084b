package conformance

import (
	"fmt"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/wire"
)

func TestAWillIsPublishedWhenTheConnectionEndsOtherwise(t *testing.T) {
	n := start(t)
	const expiry = 3600
	tests := map[string]struct {
		shows     ids
		end       func(p *peer)
		published bool
	}{
		"cut": {ids{"3.1.2-8", "3.1.2-7 3.1.2-8"}, (*peer).cut, true},
		"DISCONNECT": {ids{"3.14.4-3 3.1.2-10", "3.14.4-3 3.1.2-8 3.1.2-10"}, func(p *peer) { p.leave() },
			false},
		"a violation": {ids{"3.1.2-8", "3.1.2-8"}, func(p *peer) { p.raw(packet(0x00)); p.gone() }, true},
		"DISCONNECT with 0x04": {ids{absent, "3.1.2-8"}, func(p *peer) {
			p.send(wire.Packet{Type: wire.DISCONNECT,
				Reason: 0x04})
			p.gone()
		}, true},
		"DISCONNECT with 0x80": {ids{absent, "3.1.2-8"}, func(p *peer) {
			p.send(wire.Packet{Type: wire.DISCONNECT,
				Reason: 0x80})
			p.gone()
		}, true},
		"DISCONNECT with expiry": {ids{absent, "3.14.4-3"}, func(p *peer) {
			p.leave(wire.Num(wire.SessionExpiry,
				expiry))
		}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			inBoth(t, tt.shows, func(t *testing.T, version byte) {
				watcher := n.connect(t, version)
				watcher.listen(2, "t/will", "t/end")
				for qos := range byte(3) {
					p := n.connect(t, version, keep, will(wire.Will{Topic: "t/will", Payload: []byte("gone"),
						QoS: qos}))
					tt.end(p)
					if tt.published {
						if m := watcher.take(); string(m.Payload) != "gone" || m.QoS != qos || m.Retain {
							t.Errorf("QoS %d: got %+v", qos, m)
						}
					}
				}
				watcher.only(n.connect(t, version), "t/end")
			})
		})
	}
}

func TestAWillThatWasPublishedIsGone(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.1.2-10 3.1.2-12", "3.1.2-10"}, func(t *testing.T, version byte) {
		me := id("me" + names[version])
		watcher := n.connect(t, version)
		watcher.listen(1, "t/#")
		n.connect(t, version, me, keep, will(wire.Will{Topic: "t/will", Payload: []byte("1")})).cut()
		if m := watcher.take(); string(m.Payload) != "1" {
			t.Errorf("got %+v", m)
		}
		n.connect(t, version, me, keep).cut() // a connection without a will
		n.connect(t, version, me, keep).leave()
		watcher.only(n.connect(t, version), "t/end")
	})
}

func TestAWillIsRetainedIfItSaysSo(t *testing.T) {
	inBoth(t, ids{"3.1.2-16 3.1.2-17", "3.1.2-14 3.1.2-15"}, func(t *testing.T, version byte) {
		n := start(t)
		watcher := n.connect(t, version)
		watcher.listen(1, "t/#")
		for _, retain := range []bool{true, false} {
			n.connect(t, version, will(wire.Will{Topic: fmt.Sprint("t/", retain), Payload: []byte("x"), QoS: 1,
				Retain: retain})).cut()
			watcher.take()
		}
		checkKept(t, n, version, "t/#", "t/true=x/1")
	})
}

func TestAWillHasAllThatAPublishHas(t *testing.T) {
	n := start(t)
	shows(t, wire.V5, "3.1.3-10", "3.1.2-9")
	watcher := n.connect(t, wire.V5)
	watcher.listen(1, "t/#")
	all := wire.Properties{wire.Num(wire.PayloadFormat, 1), wire.Str(wire.ContentType, "text/plain"),
		wire.Str(wire.ResponseTopic, "t/r"),
		wire.Str(wire.CorrelationData, "\x00\xff"), wire.User("b", "1"), wire.User("a", "2"), wire.User("b", "0")}
	n.connect(t, wire.V5, will(wire.Will{Topic: "t/will", Payload: []byte("x"), QoS: 1,
		Props: append(all, wire.Num(wire.MessageExpiry, 500))})).cut()
	m := watcher.take()
	if !sameProps(m.Props, all) {
		t.Errorf("got %v, want %v", m.Props, all)
	}
	if left, ok := m.Props.Get(wire.MessageExpiry); !ok || left.Num > 500 || left.Num < 400 {
		t.Errorf("message expiry %d, %t, want 500 or a little less", left.Num, ok)
	}
}

func TestAWillWaitsForItsDelay(t *testing.T) {
	n := start(t)
	watcher := n.connect(t, wire.V5)
	watcher.listen(1, "t/#")
	delayed := func(payload string, delay uint32) with {
		return will(wire.Will{Topic: "t/will", Payload: []byte(payload), QoS: 1,
			Props: wire.Properties{wire.Num(wire.WillDelay, delay)}})
	}
	t.Run("a new connection before it withholds the will", func(t *testing.T) {
		shows(t, wire.V5, "3.1.3-9", "3.1.2-8")
		n.connect(t, wire.V5, id("back"), keep, delayed("withheld", 1)).cut()
		n.connect(t, wire.V5, id("back"), keep)
		until(time.Now().Add(1500 * time.Millisecond))
		watcher.now(t).only(n.connect(t, wire.V5), "t/end")
	})
	t.Run("it is published after it", func(t *testing.T) {
		shows(t, wire.V5, "3.1.2-8")
		cut := time.Now()
		n.connect(t, wire.V5, id("away"), keep, delayed("late", 1)).cut()
		if m := watcher.now(t).take(); string(m.Payload) != "late" || time.Since(cut) < time.Second {
			t.Errorf("after %v came %+v", time.Since(cut), m)
		}
	})
	t.Run("it is published when the session ends before", func(t *testing.T) {
		shows(t, wire.V5, "3.1.2-8")
		n.connect(t, wire.V5, delayed("the session ended", 3600)).cut() // with its connection
		if m := watcher.now(t).take(); string(m.Payload) != "the session ended" {
			t.Errorf("got %+v", m)
		}
	})
	t.Run("a clean start ends the session and publishes it", func(t *testing.T) {
		shows(t, wire.V5, "3.1.2-8")
		n.connect(t, wire.V5, id("anew"), keep, delayed("begun anew", 3600)).cut()
		n.connect(t, wire.V5, id("anew"))
		if m := watcher.now(t).take(); string(m.Payload) != "begun anew" {
			t.Errorf("got %+v", m)
		}
	})
	t.Run("it outlives a restart", func(t *testing.T) {
		shows(t, wire.V5, "3.1.2-7")
		n.connect(t, wire.V5, id("restart"), keep, delayed("after the restart", 2)).cut()
		n.Restart()
		watcher := n.connect(t, wire.V5)
		watcher.listen(1, "t/#")
		if m := watcher.take(); string(m.Payload) != "after the restart" {
			t.Errorf("got %+v", m)
		}
	})
}

func TestATakeoverPublishesTheWillOfTheFirstConnection(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.1.2-8", "3.1.2-8"}, func(t *testing.T, version byte) {
		watcher := n.connect(t, version)
		watcher.listen(1, "t/#")
		me := id("me" + names[version])
		first := n.connect(t, version, me, keep, will(wire.Will{Topic: "t/will", Payload: []byte("taken over"),
			QoS: 1}))
		n.connect(t, version, me, keep)
		first.told(0x8E)
		if m := watcher.take(); string(m.Payload) != "taken over" {
			t.Errorf("got %+v", m)
		}
	})
}

func TestAKeepAliveThatPassedPublishesTheWill(t *testing.T) {
	n := start(t)
	inBoth(t, ids{"3.1.2-24 3.1.2-8", "3.1.2-22 3.1.2-8"}, func(t *testing.T, version byte) {
		watcher := n.connect(t, version)
		watcher.listen(1, "t/#")
		n.connect(t, version, alive(1), will(wire.Will{Topic: "t/will", Payload: []byte("silent"), QoS: 1}))
		if m := watcher.take(); string(m.Payload) != "silent" {
			t.Errorf("got %+v", m)
		}
	})
}
