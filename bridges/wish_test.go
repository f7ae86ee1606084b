package bridges

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/devices"
)

func (h *house) setDeaf(deaf bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deaf = deaf
}

// done waits until what was to be done for the hub is done.
func (h *house) done() {
	h.t.Helper()
	done := make(chan struct{})
	if !h.later("hub", func(context.Context) error { close(done); return nil }) {
		h.t.Fatal("too much is to be done")
	}
	<-done
}

// A bridge such as Zigbee2MQTT has no session that keeps anything for it, subscribes some time after it has connected, and listens
// some time after that.
func TestWhatIsWantedWaitsForABridgeThatSubscribes(t *testing.T) {
	h := open(t, new(bool))
	h.settling = time.Second
	if err := h.says(topic, plug("Plug")); err != nil {
		t.Fatal(err)
	}
	did := h.behindHub()[0].ID
	desire := func(state string) {
		t.Helper()
		u, err := devices.ParseDesired([]byte(state))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.work.UpdateShadow(t.Context(), "olga", did, "", u); err != nil {
			t.Fatal(err)
		}
		h.done()
	}
	published := func(what string) (n int) {
		h.mu.Lock()
		defer h.mu.Unlock()
		return strings.Count(strings.Join(h.published, "\n")+"\n", "h.1 p/set "+what+"\n")
	}
	waiting := func() int {
		h.Service.mu.Lock()
		defer h.Service.mu.Unlock()
		return len(h.wishes)
	}
	is := func(what, word string, times int) {
		t.Helper()
		h.becomes(what, func() bool { return published(word) == times && waiting() == 0 })
	}
	desire(`{"power":"on"}`)
	if published("ON") != 1 || waiting() != 0 {
		t.Errorf("a bridge that is there was told %q, and %d wishes wait", h.published, waiting())
	}

	h.setDeaf(true)
	desire(`{"power":"dim"}`) // which it cannot be
	desire(`{"power":"on"}`)
	desire(`{"power":"off"}`)
	h.setDeaf(false)
	is("it is told twice, and waits no more", "OFF", 2)
	is("what was wanted before that is not told", "ON", 1)

	h.setDeaf(true)
	desire(`{"power":"on"}`)
	h.setDeaf(false)
	h.becomes("it is told", func() bool { return published("ON") == 2 })
	if err := h.says("p", "ON"); err != nil { // the plug is so
		t.Fatal(err)
	}
	is("what came of it is not told again", "ON", 2)

	// A bridge that has only just come subscribes, and may not listen yet.
	h.Arrived("hub", "h.1")
	desire(`{"power":"off"}`)
	is("it is told twice again", "OFF", 4)
	h.Arrived("hub", "h.1")
	h.work.Arrive("hub", 1)
	desire(`{"power":"off","mode":"any"}`)
	if _, _, err := h.work.Call(t.Context(), "olga", did, devices.Call{Name: "on"}); err != nil {
		t.Fatal(err)
	}
	is("what is done after it counts", "ON", 3)
	is("what was wanted before that is not told again", "OFF", 5)
}
