package things

import (
	"testing"

	"github.com/magpie-im/magpie/e2e/clients"
)

// becomes waits until an app is told that a device is so, and gives all that it was told of that until then, by reason.
func (e *ear) becomes(did, state string) (reasons []any) {
	e.t.Helper()
	e.hears("dev/"+did+"/presence", func(d m) bool {
		reasons = append(reasons, d["reason"])
		return d["state"] == state
	})
	return reasons
}

// The server knows by itself whether a device is there, with clients that others wrote: one that is killed, one that hangs while
// its connection stays open, and one that is taken over; and after it was killed itself.
func TestTheServerKnowsWhetherADeviceIsThere(t *testing.T) {
	t.Parallel()
	h := begin(t)
	programs := []clients.Client{clients.Python3, clients.MQTTJS5}
	for _, c := range programs {
		c.Need(t)
	}
	h.addDevice("lock", m{"type": "lock"})
	h.listen(clients.Python3, "lock", "lock", "dev/me/want") // it is there all the time
	app := h.listen(clients.PahoGo5, "alice", "app", "dev/lamp/presence")
	device := func(c clients.Client, keepAlive int) *clients.Listener {
		t.Helper()
		s := h.as("lamp", "lamp")
		s.KeepAlive, s.Reconnect = keepAlive, true
		l, err := c.Listen(t.Context(), s, 1, "dev/me/want")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Kill)
		return l
	}
	for _, c := range programs {
		t.Run(c.Name, func(t *testing.T) {
			app := &ear{t, app.Listener, app.others}
			wants := func(what, state, reason string) {
				t.Helper()
				if got := app.becomes("lamp", state); len(got) != 1 || got[0] != reason {
					t.Errorf("%s: it is %s for %v, want %s", what, state, got, reason)
				}
			}
			first := device(c, 1)
			wants("who comes", "online", "connect")
			if err := first.Freeze(); err != nil {
				t.Fatal(err)
			}
			wants("who hangs", "offline", "keepalive")
			if err := first.Thaw(); err != nil {
				t.Fatal(err)
			}
			wants("who goes on", "online", "connect")
			first.Kill()
			wants("who is killed", "offline", "error")
		})
	}

	// Another connection of the same session is no news, until it ends as well.
	one := device(clients.Python3, 0)
	app.becomes("lamp", "online")
	if err := one.Freeze(); err != nil { // it would take it back
		t.Fatal(err)
	}
	other := device(clients.MQTTJS5, 0)
	one.Kill()
	other.Kill()
	if got := app.becomes("lamp", "offline"); text(got) != `["error"]` {
		t.Errorf("after a takeover it is offline for %v", got)
	}

	app.Kill()
	h.Kill()
	h.Start()
	app = h.listen(clients.PahoGo5, "alice", "app", "dev/lock/presence")
	if got := app.becomes("lock", "unknown"); text(got) != `["server_restart"]` {
		t.Errorf("after a crash it is unknown for %v", got)
	}
	h.listen(clients.Python3, "lock", "lock", "dev/me/want")
	if got := app.becomes("lock", "online"); text(got) != `["connect"]` {
		t.Errorf("after a crash it is there for %v", got)
	}
}
