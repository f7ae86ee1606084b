package locations_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/locations"
)

// counted gives what a metric says.
func (h *town) counted(name string) float64 {
	h.t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(h.Collectors()...)
	all, err := r.Gather()
	if err != nil {
		h.t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	h.t.Fatalf("no metric %s", name)
	return 0
}

// TestWhoCrossesAllTheTimeIsInNobodysWay has one go in and out of a fence while nothing can be told, and fifty others come in once.
func TestWhoCrossesAllTheTimeIsInNobodysWay(t *testing.T) {
	h := newTown(t)
	h.mu.Lock()
	h.hold = make(chan struct{})
	h.mu.Unlock()
	const others, turns = 50, 2000
	at := func(lat float64) locations.Position {
		return locations.Position{At: h.now().UnixMilli(), Lat: lat, Lon: 13.4, Acc: 5}
	}
	h.fence("alice", circle("F", 52.5, 13.4, 100))
	for i := range others {
		h.fence(accounts.Name(fmt.Sprint("u", i)), circle("F", 52.5, 13.4, 100))
	}
	for i := range turns {
		h.pass(time.Minute)
		h.report(phone, at(52.5+float64(i%2)*0.01))
		if i%(turns/others) == 0 {
			h.report(locations.Subject{Who: accounts.Name(fmt.Sprint("u", i/(turns/others))), Label: "p"}, at(52.5))
		}
	}
	newest := h.now().UnixMilli()
	lost := h.counted("magpie_positions_crossings_lost_total")
	close(h.hold)
	for range turns + others - int(lost) {
		<-h.crossed
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	mine, theirs, last := 0, 0, int64(0)
	for _, c := range h.crossings {
		if c.Who != "alice" {
			theirs++
			continue
		}
		if mine++; c.At <= last {
			t.Errorf("one of %d is told after that of %d", c.At, last)
		}
		last = c.At
	}
	if theirs != others || mine > 300 || int(lost) != turns-mine || last != newest {
		t.Errorf("told are %d of alice's, the last of %d, and %d of others, and %v were lost", mine, last-newest, theirs, lost)
	}
}
