package things

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/server"
)

// house has alice make a home, and puts devices into it.
func (h *home) house(devices ...string) (conversation string) {
	h.t.Helper()
	var out struct {
		C string `json:"c"`
	}
	h.Call("alice", "home.create", m{"title": "Home"}, &out)
	for _, did := range devices {
		if h.secrets[did] == "" {
			h.addDevice(did, nil)
		}
		h.Call("alice", "device.set", m{"did": did, "home": out.C}, nil)
	}
	return out.C
}

// eventually waits until something is so.
func (h *home) eventually(what string, ok func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(server.Deadline); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("not so: %s", what)
		}
	}
}

// results are what became of the runs of an automation, the newest first.
func (h *home) results(home, id string) (all []string) {
	h.t.Helper()
	var out struct {
		Traces []struct{ Result string }
	}
	h.Call("alice", "automation.traces", m{"c": home, "id": id}, &out)
	for _, t := range out.Traces {
		all = append(all, t.Result)
	}
	return all
}

// said are the texts in a home, the oldest first.
func (h *home) said(home string) (all []string) {
	h.t.Helper()
	var out struct {
		Messages []struct {
			Body struct{ Text string }
		} `json:"msgs"`
	}
	h.Call("alice", "history", m{"c": home, "after": 0}, &out)
	for _, msg := range out.Messages {
		if msg.Body.Text != "" {
			all = append(all, msg.Body.Text)
		}
	}
	return all
}

// What a sensor says with a client that others wrote switches a lamp that listens with another one.
func TestMotionSwitchesALamp(t *testing.T) {
	t.Parallel()
	h := begin(t)
	home := h.house("hall", h.lamp)
	h.Call("alice", "automation.put", m{"c": home, "id": "hall", "triggers": []m{{"on": "event", "did": "hall", "type": "motion"}},
		"condition": "state.lamp.power != \"on\"", "mode": "restart",
		"actions": []m{{"do": "desired", "did": h.lamp, "desired": m{"power": "on"}}}}, nil)
	for i, client := range others {
		lamp := h.listen(client, h.lamp, fmt.Sprint("lamp-", i), "dev/me/want")
		h.send(client, "hall", fmt.Sprint("hall-", i), "dev/me/event", m{"type": "motion"})
		lamp.hears("dev/me/want", func(doc m) bool { return at(doc, "state", "power") == "on" })
		lamp.Kill()
		h.Call("alice", "device.desire", m{"did": h.lamp, "desired": nil}, nil)
	}
	h.send(others[0], h.lamp, "l", "dev/me/state", m{"power": "on"})
	h.send(others[0], "hall", "h", "dev/me/event", m{"type": "motion"})
	h.eventually("the condition does not hold", func() bool { return h.results(home, "hall")[0] == "condition" })
}

func TestTheSunSetsAndALampIsLit(t *testing.T) {
	t.Parallel()
	h := begin(t)
	home := h.house(h.lamp)
	sunset := m{"c": home, "id": "dusk", "triggers": []m{{"on": "sun", "sun": "set"}},
		"actions": []m{{"do": "desired", "did": h.lamp, "desired": m{"power": "on"}}}}
	var put struct{ Next int64 }
	for _, lon := range []int{0, 180} { // at one of them it sets within twelve hours
		h.Call("alice", "home.place.put", m{"c": home, "zone": "UTC", "lat": 0, "lon": lon}, nil)
		if h.Call("alice", "automation.put", sunset, &put); time.Until(time.UnixMilli(put.Next)) < 11*time.Hour {
			break
		}
	}
	lamp := h.listen(others[0], h.lamp, "lamp", "dev/me/want")
	before := time.Until(time.UnixMilli(put.Next)) - 2*time.Second
	sunset["triggers"] = []m{{"on": "sun", "sun": "set", "offset": -before.Seconds()}}
	h.Call("alice", "automation.put", sunset, nil)
	lamp.hears("dev/me/want", func(doc m) bool { return at(doc, "state", "power") == "on" })
}

func TestALoopOfTwoAutomationsIsStopped(t *testing.T) {
	h := begin(t)
	home := h.house()
	for id, words := range map[string][2]string{"ping": {"ping", "pong"}, "pong": {"pong", "ping"}} {
		h.Call("alice", "automation.put", m{"c": home, "id": id, "mode": "parallel",
			"triggers": []m{{"on": "line", "match": "^" + words[0]}}, "actions": []m{{"do": "message", "text": words[1]}}}, nil)
	}
	h.send(others[0], "alice", "a", "im/c/"+home+"/send", m{"body": m{"text": "ping"}})
	h.eventually("the home is told of it", func() bool {
		return slices.ContainsFunc(h.said(home), func(s string) bool { return strings.Contains(s, "was switched off") })
	})
	var list struct{ Automations []struct{ On bool } }
	h.Call("alice", "automation.list", m{"c": home}, &list)
	if list.Automations[0].On == list.Automations[1].On {
		t.Errorf("enabled: %+v, want one of the two", list.Automations)
	}
	if n := len(h.said(home)); n != 10 {
		t.Errorf("%d lines, want the first, eight that follow, and the last: %q", n, h.said(home))
	}
}

// The server is killed while a run waits: what it had done is not done again, and what it waits for is.
func TestADelayOutlivesAKill(t *testing.T) {
	t.Parallel()
	h := begin(t)
	home := h.house(h.lamp, "door")
	h.Call("alice", "automation.put", m{"c": home, "id": "stairs", "triggers": []m{{"on": "event", "did": "door"}}, "actions": []m{
		{"do": "command", "did": h.lamp, "name": "on", "ttl": 3600}, {"do": "message", "text": "somebody comes"}, {"do": "delay", "for": 3},
		{"do": "command", "did": h.lamp, "name": "off", "ttl": 3600}, {"do": "message", "text": "dark again"}}}, nil)
	h.send(others[0], "door", "d", "dev/me/event", m{"type": "open", "id": "e1"})
	h.eventually("it has begun", func() bool { return slices.Contains(h.said(home), "somebody comes") })
	h.Kill()
	h.Start()
	h.send(others[0], "door", "d", "dev/me/event", m{"type": "open", "id": "e1"}) // the door does not know that it was heard
	h.eventually("it is over", func() bool { return slices.Equal(h.results(home, "stairs"), []string{"done"}) })
	if got, want := h.said(home), []string{"somebody comes", "dark again"}; !slices.Equal(got, want) {
		t.Errorf("lines %q, want %q", got, want)
	}
	var commands struct{ Commands []struct{ Name string } }
	h.Call("alice", "device.commands", m{"did": h.lamp}, &commands)
	if got := fmt.Sprint(commands.Commands); got != "[{off} {on}]" {
		t.Errorf("commands %s, want on, and then off", got)
	}
}

// A scene that is run with a client that others wrote says in the home what became of it.
func TestASceneIsRunByALineOfAClient(t *testing.T) {
	t.Parallel()
	h := begin(t)
	home := h.house(h.lamp, "door")
	h.Call("alice", "scene.put", m{"c": home, "id": "night", "title": "Good night", "steps": []m{
		{"did": h.lamp, "desired": m{"power": "off"}}, {"did": "door", "name": "lock", "ttl": 0.5}}}, nil)
	h.send(others[0], "alice", "a", "im/rpc/scene.run", m{"c": home, "id": "night"})
	h.eventually("the message says so", func() bool {
		return slices.Equal(h.said(home), []string{"Good night: lamp set, door expired"})
	})
	h.send(others[0], h.lamp, "lamp", "dev/me/state", m{"power": "off"})
	h.eventually("and that the lamp is off", func() bool {
		return slices.Equal(h.said(home), []string{"Good night: lamp reached, door expired"})
	})
}

// The server is killed while a scene waits for a device. It goes on when the device is what it should be, and the one message
// comes to its end.
func TestASceneOutlivesAKill(t *testing.T) {
	t.Parallel()
	h := begin(t)
	home := h.house(h.lamp, "door")
	h.Call("alice", "scene.put", m{"c": home, "id": "night", "title": "Good night", "order": true, "steps": []m{
		{"did": "door", "name": "lock", "ttl": 0.5}, {"did": h.lamp, "desired": m{"power": "off"}}, {"did": "door", "name": "alarm", "ttl": 0.5}}}, nil)
	h.Call("alice", "scene.run", m{"c": home, "id": "night"}, nil)
	h.eventually("it waits for the lamp", func() bool {
		return slices.Equal(h.said(home), []string{"Good night: door expired, lamp set, door waiting"})
	})
	h.Kill()
	h.Start()
	h.send(others[0], h.lamp, "lamp", "dev/me/state", m{"power": "off"})
	h.eventually("it goes on", func() bool {
		return slices.Equal(h.said(home), []string{"Good night: door expired, lamp reached, door expired"})
	})
	var commands struct{ Commands []struct{ Name string } }
	h.Call("alice", "device.commands", m{"did": "door"}, &commands)
	if got := fmt.Sprint(commands.Commands); got != "[{alarm} {lock}]" {
		t.Errorf("commands %s, want each once", got)
	}
}
