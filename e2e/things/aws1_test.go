package things

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/server"
)

// ca runs magpie's authority, which needs no server.
func (w workshop) ca(args ...string) {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), server.Binary(w.t), append([]string{"ca"}, args...)...)
	cmd.Dir = w.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("magpie ca %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// first starts the first SDK of AWS with the certificate of a device, and has it register for the device's shadow: it asks for
// nothing.
func (h *home) first(w workshop, did string) *sdk {
	h.t.Helper()
	x := h.startApp(clients.AWSIoT1, h.MQTTS(), m{"ca": w.path("server.pem"), "cert": w.path(did + ".pem"),
		"key": w.path(did + ".key"), "client": did, "thing": did})
	x.hears("connected")
	x.want("register", x.does("register", nil)["register"], "granted")
	return x
}

// The first SDK of AWS, which many devices still have, does with its thing's shadow what it does there, with a certificate that
// Magpie's authority has made: register, update, delta, get, delete. What was wanted while it was away it is told without asking.
// When the certificate is revoked, its connection ends, and it opens no other one.
func TestShadowsWithTheFirstSDKOfAWS(t *testing.T) {
	t.Parallel()
	clients.AWSIoT1.Need(t)
	w := workshop{t, t.TempDir()}
	settings := w.tls()
	w.ca("init", "--ca", "devices")
	for _, did := range []string{"lamp", "lock"} {
		w.ca("issue", did, "--ca", "devices")
	}
	h := begin(t, settings, server.Env("MAGPIE_TLS_CLIENT_CA="+w.path("devices/ca.pem"),
		"MAGPIE_TLS_CLIENT_REVOKED="+w.path("devices/revoked.pem")))
	h.addDevice("lock", nil)
	desire := func(desired m) { h.Call("alice", "device.desire", m{"did": "lamp", "desired": desired}, nil) }

	desire(m{"on": true, "rgb": m{"r": 1, "g": 2}})
	lamp := h.first(w, "lamp")
	lamp.want("delta of what was wanted before", at(lamp.hears("delta")["delta"], "state"), m{"on": true, "rgb": m{"r": 1, "g": 2}})
	got := lamp.does("update", m{"state": m{"reported": m{"on": true, "rgb": m{"r": 1, "g": 0}}}})
	lamp.want("update", got["update"], "accepted")
	lamp.want("delta of what is left", at(lamp.hears("delta")["delta"], "state"), m{"rgb": m{"g": 2}})
	lamp.want("update", lamp.does("update", m{"state": m{"reported": m{"rgb": m{"g": 2}}}})["update"], "accepted")
	desire(m{"on": false})
	lamp.want("delta of what is wanted now", at(lamp.hears("delta")["delta"], "state"), m{"on": false})
	got = lamp.does("get", nil)
	lamp.want("get", got["get"], "accepted")
	lamp.want("reported", at(got["state"], "state", "reported"), m{"on": true, "rgb": m{"r": 1, "g": 2}})
	lamp.want("desired", at(got["state"], "state", "desired"), m{"on": false, "rgb": m{"r": 1, "g": 2}})

	lamp.Kill()
	desire(m{"on": nil, "rgb": m{"b": 3}})
	lamp = h.first(w, "lamp")
	lamp.want("delta of who comes back", at(lamp.hears("delta")["delta"], "state"), m{"rgb": m{"b": 3}})
	lamp.want("delete", lamp.does("delete", nil)["delete"], "accepted")
	got = lamp.does("get", nil)
	lamp.want("get of what was deleted", []any{got["get"], at(got["state"], "code")}, []any{"rejected", 404})

	lock := h.first(w, "lock")
	w.ca("revoke", "lamp", "--ca", "devices")
	lamp.hears("closed")
	const refused = "Connection refused: Bad username or password"
	for range 2 { // it tries again by itself
		lamp.want("why", lamp.hears("error")["error"], refused)
	}
	again := h.startApp(clients.AWSIoT1, h.MQTTS(), m{"ca": w.path("server.pem"), "cert": w.path("lamp.pem"),
		"key": w.path("lamp.key"), "client": "other", "thing": "lamp"})
	again.want("why", again.hears("error")["error"], refused)
	for name, x := range map[string]*sdk{"the connection that ended": lamp, "a new one": again} {
		for _, line := range x.waiting {
			if line["connected"] != nil {
				t.Errorf("%s: it was let in: %v", name, x.waiting)
			}
		}
	}
	lock.want("update of who was not revoked", lock.does("update", m{"state": m{"reported": m{"locked": true}}})["update"], "accepted")
	for _, line := range lock.waiting {
		if line["closed"] != nil {
			t.Error("the connection of the other device has ended, too")
		}
	}
}
