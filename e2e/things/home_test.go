package things

import (
	"fmt"
	"testing"

	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/server"
)

// What is said to a lamp in the conversation of its home it is told, and it answers by one message that changes; what happens
// to it is said there.
func TestALineInAHomeWithClientsOfOthers(t *testing.T) {
	t.Parallel()
	h := begin(t)
	var made struct {
		C string `json:"c"`
	}
	h.Call("alice", "home.create", m{"title": "Home", "members": []string{"bob"}}, &made)
	h.Call("alice", "group.role", m{"c": made.C, "who": "bob", "role": "member"}, nil)
	h.Call("alice", "device.set", m{"did": "lamp", "home": made.C, "title": "Desk lamp"}, nil)
	for _, c := range others {
		t.Run(c.Name, func(t *testing.T) {
			c.Need(t)
			h.with(t, h.lamp).lineInHome(c, made.C)
		})
	}
}

func (h *home) lineInHome(c clients.Client, home string) {
	app := h.listen(c, "bob", "app", "im/u/me/in")
	lamp := h.listen(c, "lamp", "lamp", "dev/me/want", "dev/me/cmd/+")
	say := func(line string) {
		h.t.Helper()
		h.send(c, "bob", "app-says", "im/c/"+home+"/send", m{"k": "text", "body": m{"text": line}})
	}
	answered := func(event, key, value string) m {
		h.t.Helper()
		return app.hears("im/u/me/in", func(d m) bool {
			return d["t"] == event && d["k"] == "device.reply" && at(d, "body", key) == value
		})
	}
	say("@desk-lamp set mode " + c.Name)
	lamp.hears("dev/me/want", func(d m) bool { return at(d, "state", "mode") == c.Name })
	line := app.hears("im/u/me/in", func(d m) bool { return at(d, "body", "text") == "@desk-lamp set mode "+c.Name })
	answer := answered("msg", "s", "wanted")
	if answer["from"] != "lamp" || answer["re"] != line["seq"] {
		h.t.Errorf("the answer to %v is %v", line["seq"], answer)
	}
	h.send(c, "lamp", "lamp-says", "dev/me/state", m{"mode": c.Name})
	if d := answered("edit", "s", "reported"); d["seq"] != answer["seq"] {
		h.t.Errorf("it answers by another message: %v", d)
	}

	say(`@lamp call blink {"times":2}`)
	command := lamp.hears("dev/me/cmd/+", func(d m) bool { return at(d, "args", "times") == 2.0 && d["by"] == "bob" })
	answered("msg", "name", "blink")
	h.send(c, "lamp", "lamp-says", "dev/me/cmd/"+command["cid"].(string)+"/ack", m{"s": "succeeded", "result": m{"blinked": 2}})
	if d := answered("edit", "s", "succeeded"); at(d, "body", "result", "blinked") != 2.0 {
		h.t.Errorf("the answer says in the end %v", d)
	}

	h.send(c, "lamp", "lamp-says", "dev/me/event", m{"id": c.Name, "type": "warm", "msg": c.Name})
	event := app.hears("im/u/me/in", func(d m) bool { return d["k"] == "device.event" && at(d, "body", "msg") == c.Name })
	if event["from"] != "lamp" || event["c"] != home || event["fallback"] != "Desk lamp: warm: "+c.Name {
		h.t.Errorf("the event is %v", event)
	}
	lamp.Kill()
	app.Kill()
}

// A command that is written in the home for a device that is away waits for it, also when the server is killed, comes once, and its
// message in the home says in the end what became of it.
func TestACommandOfALineWaitsThroughACrash(t *testing.T) {
	h := begin(t, server.Env("MAGPIE_DEVICES_COMMAND_TTL=1h"))
	home := h.house("lamp")
	for _, c := range []clients.Client{clients.PahoGo3, clients.PahoGo5} {
		t.Run(c.Name, func(t *testing.T) {
			h := h.with(t, h.lamp)
			before, _ := h.History("alice", home)
			h.Call("alice", "send", m{"c": home, "mid": c.Name, "body": m{"text": `@lamp call blink {"times":2}`}}, nil)
			answers := func() (all []m) {
				messages, _ := h.History("alice", home)
				for _, message := range messages[len(before):] {
					if d := parse(t, message); d["k"] == "device.reply" && d["from"] == "lamp" {
						all = append(all, d)
					}
				}
				return all
			}
			is := func(state string) {
				t.Helper()
				var all []m
				if !server.Becomes(func() bool {
					all = answers()
					return len(all) == 1 && at(all[0], "body", "s") == state
				}) {
					t.Fatalf("the answers are %v, want one that says %s", all, state)
				}
			}
			is("queued")
			h.Kill()
			h.Start()
			is("queued")
			lamp := h.listen(c, "lamp", "lamp", "dev/me/cmd/+")
			command := lamp.hears("dev/me/cmd/+", nil)
			if command["by"] != "alice" || at(command, "args", "times") != 2.0 || command["dup"] != nil {
				t.Errorf("it is told %v", command)
			}
			is("delivered")
			h.send(c, "lamp", "lamp-says", fmt.Sprintf("dev/me/cmd/%v/ack", command["cid"]), m{"s": "succeeded"})
			is("succeeded")
			// The next that it is told is the next that is said.
			h.Call("alice", "send", m{"c": home, "mid": c.Name + " again", "body": m{"text": "@lamp call stop"}}, nil)
			next := lamp.hears("dev/me/cmd/+", nil)
			if next["name"] != "stop" {
				t.Errorf("it is told once more: %v", next)
			}
			h.send(c, "lamp", "lamp-says", fmt.Sprintf("dev/me/cmd/%v/ack", next["cid"]), m{"s": "failed"})
			server.Eventually(t, "it is over, too", func() bool {
				all := answers()
				return len(all) == 2 && at(all[1], "body", "s") == "failed"
			})
			lamp.Kill()
		})
	}
}
