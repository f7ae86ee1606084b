package bridges

import (
	"slices"
	"testing"

	"github.com/magpie-im/magpie/devices"
)

// alarms are what was said of the hub, the oldest first.
func (h *house) alarms() (all []devices.AlarmState) {
	h.t.Helper()
	events, err := h.work.Events(h.t.Context(), "olga", "hub", 0, 100)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, e := range slices.Backward(events) {
		if e.Type == alarmOffline {
			all = append(all, e.Alarm)
		}
	}
	return all
}

func TestABridgeThatIsNotThereIsAnAlarm(t *testing.T) {
	fails := false
	h := open(t, &fails)
	const on, off = devices.AlarmActive, devices.AlarmCleared
	are := func(want ...devices.AlarmState) {
		t.Helper()
		h.becomes("what was said", func() bool { return slices.Equal(h.alarms(), want) })
	}
	there := func(want devices.PresenceState) {
		t.Helper()
		h.becomes(string(want), func() bool {
			p, err := h.work.Presence(t.Context(), "olga", "hub")
			return err == nil && p.State == want
		})
	}
	h.work.Arrive("hub", 1)
	there(devices.Online)
	h.work.Depart("hub", 1, devices.ReasonError)
	are(on) // and nothing was over when it came for the first time
	h.work.Arrive("hub", 2)
	are(on, off)
	h.work.Depart("hub", 2, devices.ReasonDisconnect)
	are(on, off, on)
	// Looking again, as after a start, says nothing anew; nor does somebody who knows of it.
	if err := h.alarm(t.Context(), "hub"); err != nil {
		t.Fatal(err)
	}
	if _, err := h.work.AckAlarm(t.Context(), "olga", "hub", alarmOffline); err != nil {
		t.Fatal(err)
	}
	if err := h.alarm(t.Context(), "hub"); err != nil {
		t.Fatal(err)
	}
	h.work.Arrive("hub", 3)
	are(on, off, on, off)

	// A bridge that is not there and leaves its home is nobody's to miss, until it is in a home again.
	h.work.Depart("hub", 3, devices.ReasonError)
	are(on, off, on, off, on)
	none, home := "", "h.1"
	for _, where := range []*string{&none, &home, &none} {
		before := h.alarms()
		if _, err := h.things.Set(t.Context(), "olga", "hub", devices.ThingPatch{Home: where}); err != nil {
			t.Fatal(err)
		}
		next := off
		if *where != "" {
			next = on
		}
		are(append(before, next)...)
	}
	h.work.Arrive("hub", 4)
	there(devices.Online)

	// What is in no home is nobody's to be told of.
	h.work.Depart("hub", 4, devices.ReasonError)
	there(devices.Offline)
	if err := h.alarm(t.Context(), "hub"); err != nil {
		t.Fatal(err)
	}
	are(on, off, on, off, on, off, on, off)
}
