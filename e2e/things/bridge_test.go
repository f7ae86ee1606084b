package things

import (
	"context"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/server"
)

// behind waits for the device behind a bridge that alice sees, of which something is as wanted.
func (h *home) behind(bridge string, want func(m) bool) m {
	h.t.Helper()
	var found m
	server.Eventually(h.t, "a device behind "+bridge+" as wanted", func() bool {
		var list struct {
			Devices []m `json:"devices"`
		}
		h.Call("alice", "device.list", m{}, &list)
		for _, d := range list.Devices {
			if d["bridge"] == bridge && want(d) {
				found = d
				return true
			}
		}
		return false
	})
	return found
}

// mount makes a home of alice's, and a device that speaks for others there.
func (h *home) mount(did, kind string) (home string) {
	h.t.Helper()
	var made struct {
		C string `json:"c"`
	}
	h.Call("alice", "home.create", m{"title": "Home"}, &made)
	h.addDevice(did, m{"type": kind, "home": made.C})
	return made.C
}

func TestAHomieDeviceIsAThingOfTheHomeThatItSpeaksIn(t *testing.T) {
	h := begin(t)
	clients.Homie.Need(t)
	home := h.mount("hub", "bridge")
	host, port, err := net.SplitHostPort(h.MQTT())
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	lamp, err := clients.Homie.Start(t.Context(), m{
		"host": host, "port": number, "user": "dev:hub", "password": h.secrets["hub"], "device": "lamp1",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lamp.Kill)
	thing := h.behind("hub", func(d m) bool { return d["title"] == "A lamp" && d["home"] == home })
	did := thing["did"]
	reported := func(want string) {
		t.Helper()
		var shadow m
		if !server.Becomes(func() bool {
			shadow = m{}
			err := h.TryCall("alice", "device.shadow", m{"did": did}, &shadow)
			return err == nil && strings.Contains(text(shadow["reported"]), want)
		}) {
			t.Fatalf("the shadow is %v, want %s", shadow, want)
		}
	}
	present := func(want string) {
		t.Helper()
		server.Eventually(t, "it is "+want, func() bool {
			var p m
			return h.TryCall("alice", "device.presence", m{"did": did}, &p) == nil && p["state"] == want
		})
	}
	reported(`"light_power":false`)
	present("online")
	h.Call("alice", "device.desire", m{"did": did, "desired": m{"light_power": true}}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), server.Deadline)
	defer cancel()
	for line := ""; line != "set true"; {
		if line, err = lamp.Line(ctx); err != nil {
			t.Fatal(err)
		}
	}
	reported(`"light_power":true`)
	lamp.Kill()
	present("offline")
}
