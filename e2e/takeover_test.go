package e2e

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/magpie-im/magpie/broker/brokertest"
	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

// storm is six CONNECTs of one session at a time.
const storm = 6

func TestOfSixConnectsOfOneSessionOneIsLeft(t *testing.T) {
	long(t)
	rounds := brokertest.Scale(1000, 1)
	if os.Getenv(server.RaceEnv) != "" {
		rounds = 200
	}
	s := twoFriends(t)
	alice := connect(t, s, "alice", "laptop", wire.V311)
	listen(t, s, "bob", "phone", wire.V311, 1).cut()
	var survivor *peer
	for round := range rounds {
		left := connectAtOnce(t, s)
		if len(left) != 1 {
			t.Fatalf("round %d: %d connections are left, want 1", round, len(left))
		}
		if survivor != nil {
			survivor.gone() // it was one more for this round to take over
			survivor.cut()
		}
		survivor = left[0]
		if round%20 == 0 { // and it is one that works
			text := fmt.Sprintf("round %d", round)
			alice.say("bob", text)
			if got := survivor.message().Text(); got != text {
				t.Fatalf("the survivor gets %q, want %q", got, text)
			}
			survivor.ping()
		}
		if round%3 == 0 {
			survivor.cut()
			survivor = nil
		}
	}
}

// connectAtOnce connects, and gives those that the server has not closed when it has closed all the others.
func connectAtOnce(t *testing.T, s *server.Server) (left []*peer) {
	t.Helper()
	all := make([]*peer, storm)
	start := make(chan struct{})
	var dialing sync.WaitGroup
	for i := range all {
		c, err := wire.Dial(s.MQTT(), []byte{wire.V311, wire.V5}[i%2])
		if err != nil {
			t.Fatal(err)
		}
		all[i] = &peer{Client: c, t: t, name: fmt.Sprint("connect ", i)}
		connect := wire.Packet{Type: wire.CONNECT,
			Connect: wire.Connect{ClientID: "phone", User: "bob", Password: s.Token("bob")}}
		if i%2 == 1 {
			connect.Props = wire.Properties{wire.Num(wire.SessionExpiry, 3600)}
		}
		dialing.Go(func() {
			<-start
			if err := c.Send(connect); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	dialing.Wait()
	return survivors(t, all)
}

// survivors reads from all connections until all but one are closed, and then asks that one.
func survivors(t *testing.T, all []*peer) (left []*peer) {
	t.Helper()
	type end struct {
		p   *peer
		err error // nil: it answered
	}
	ended := make(chan end, len(all))
	for _, p := range all {
		go func() {
			for {
				packet, err := p.Read(time.Now().Add(server.Deadline))
				if err != nil || packet.Type == wire.PINGRESP {
					ended <- end{p, err}
					return
				}
				p.waiting = append(p.waiting, packet)
			}
		}()
	}
	open := slices.Clone(all)
	for len(open) > 1 {
		e := <-ended
		if errors.Is(e.err, wire.ErrTimeout) {
			return open
		}
		open = slices.DeleteFunc(open, func(p *peer) bool { return p == e.p })
		_ = e.p.Close()
	}
	last := open[0]
	_ = last.Send(wire.Packet{Type: wire.PINGREQ}) // it may be closed as well, which its reader tells
	if e := <-ended; e.err != nil {
		_ = last.Close()
		return nil
	}
	if first := last.next(); first.Type != wire.CONNACK || first.Reason != 0 {
		t.Errorf("the survivor was answered %s %#x", first.Type, first.Reason)
	}
	return open
}
