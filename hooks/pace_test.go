package hooks_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/wire"
	"github.com/magpie-im/magpie/locations"
)

func TestOneIsToldAsOftenAsOneAsks(t *testing.T) {
	n := startPlaces(t)
	bob := connect(t, n.Node, wire.V311, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	bob.subscribe(wire.Filter{Topic: "owntracks/+/+"}, wire.Filter{Topic: "im/u/me/rsp"})
	bob.send(wire.Packet{Type: wire.PUBLISH, Topic: "im/rpc/loc.follow", Payload: []byte(`{"who":"alice","every":0.5,"rid":"1"}`)})
	bob.toldOf(`im/u/me/rsp "every":0.5`)
	phone := connect(t, n.Node, wire.V311, wire.Connect{User: "alice", ClientID: "p", Clean: true})
	for i := range 20 {
		phone.send(wire.Packet{
			Type: wire.PUBLISH, ID: 1, QoS: 1, Topic: "owntracks/alice/phone", Payload: []byte(at(48.85+float64(i)/1e4, 2.29, 10*i))})
		phone.read(wire.PUBACK)
	}
	told := 0
	for last := ""; !strings.Contains(last, `"lat":48.8519`); told++ { // which nothing came after
		last = string(bob.read(wire.PUBLISH).Payload)
	}
	if told > 10 {
		t.Errorf("bob is told %d of 20", told)
	}
}

// TestWhoDoesNotReadGetsTheNewest has many positions come for a client that reads nothing for a while.
func TestWhoDoesNotReadGetsTheNewest(t *testing.T) {
	t.Parallel()
	n := startPlaces(t)
	bob := connect(t, n.Node, wire.V5, wire.Connect{User: "bob", ClientID: "b", Clean: true})
	bob.subscribe(wire.Filter{Topic: "owntracks/+/+"})
	const phones, all = 15, 30_000
	note := []byte(`{"tag":"` + strings.Repeat("x", 900) + `"}`)
	for i := range all {
		s := locations.Subject{Who: "alice", Label: fmt.Sprint("p", i%phones)}
		p := locations.Position{At: time.Now().UnixMilli() - int64(all-i)*1000, Lat: float64(i) / 1e6, Lon: 2, Note: note}
		if _, err := n.Places().Report(t.Context(), s, p); err != nil {
			t.Fatal(err)
		}
	}
	told, newest, after := 0, map[string]bool{}, 0
	for len(newest) < phones {
		p := bob.read(wire.PUBLISH)
		told++
		if len(newest) > 0 {
			after++
		}
		for i := range phones {
			if strings.Contains(string(p.Payload), fmt.Sprintf(`"lat":%v,`, float64(all-1-i)/1e6)) {
				newest[p.Topic] = true
			}
		}
	}
	if told > all/2 || after > phones {
		t.Errorf("bob is told %d of %d, and %d from the first newest one on of %d phones", told, all, after, phones)
	}
}
