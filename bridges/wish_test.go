package bridges

import (
	"context"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/devices"
)

// A bridge such as Zigbee2MQTT has no session that keeps anything for it, and subscribes some time after it has connected.
func TestWhatIsWantedWaitsForABridgeThatSubscribes(t *testing.T) {
	h := open(t, new(bool))
	if err := h.says(topic, plug("Plug")); err != nil {
		t.Fatal(err)
	}
	did := h.behindHub()[0].ID
	h.mu.Lock()
	h.deaf = true
	h.mu.Unlock()
	desire := func(state string) {
		t.Helper()
		u, err := devices.ParseDesired([]byte(state))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.work.UpdateShadow(t.Context(), "olga", did, "", u); err != nil {
			t.Fatal(err)
		}
	}
	desire(`{"power":"on"}`)
	desire(`{"power":"off"}`)
	// What came before it is done.
	done := make(chan struct{})
	h.later("hub", func(context.Context) error { close(done); return nil })
	<-done
	h.mu.Lock()
	h.deaf = false
	h.mu.Unlock()
	h.becomes("it is told", func() bool { return h.said("h.1 p/set OFF") })
	h.becomes("nothing waits", func() bool {
		h.Service.mu.Lock()
		defer h.Service.mu.Unlock()
		return len(h.wishes) == 0
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	if all := strings.Join(h.published, "\n"); strings.Contains(all, "ON") || strings.Count(all, "OFF") != 1 {
		t.Errorf("published %q", h.published)
	}
}
