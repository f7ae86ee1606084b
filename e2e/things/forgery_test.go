package things

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/server"
	"github.com/magpie-im/magpie/e2e/wire"
)

// refusals is how many PUBLISH packets were refused since the start.
func (h *home) refusals() (n float64) {
	h.t.Helper()
	_, metrics := h.Get("/metrics")
	for _, found := range regexp.MustCompile(`(?m)^magpie_publish_outcomes_total\{outcome="(\w+)"\} (\S+)$`).
		FindAllStringSubmatch(metrics, -1) {
		if found[1] != "ok" {
			number, _ := strconv.ParseFloat(found[2], 64)
			n += number
		}
	}
	return n
}

// forgery is something that nobody may publish, or not somebody.
type forgery struct {
	who, topic, payload string
	served              bool // it is answered on a topic of AWS's, and refused there
}

// forgeries are what is tried; cid is a command that the lamp has been given, and has not answered.
func forgeries(lamp, cid string) (all []forgery) {
	add := func(who, payload string, topics ...string) {
		for _, topic := range topics {
			topic = strings.NewReplacer("CID", cid, "lamp", lamp).Replace(topic)
			all = append(all, forgery{who: who, topic: topic, payload: payload})
		}
	}
	update := `{"state":{"desired":{"power":"forged"},"reported":{"power":"forged"}}}`
	// A device on what is another's.
	add("tv", `{"power":"forged"}`, "dev/lamp/state", "dev/lamp/tele", "dev/lamp/set", "dev/lamp/loc")
	add("tv", `{"type":"forged","sev":"crit"}`, "dev/lamp/event")
	add("tv", `{"s":"succeeded"}`, "dev/lamp/cmd/CID/ack", "dev/me/cmd/CID/ack", "dev/tv/cmd/CID/ack")
	add("tv", `{"name":"forged"}`, "dev/lamp/call", "dev/me/call")
	add("tv", update, "dev/lamp/lamp/state", "dev/tv/lamp/state", "$aws/tv/things/lamp/shadow/update",
		"$aws/things/me/shadow/update")
	// What only the server says.
	for _, who := range []string{"lamp", "alice", "tv", "bob"} {
		add(who, `{"reported":{"power":"forged"},"version":99}`, "dev/lamp/shadow", "dev/lamp/presence", "dev/lamp/want",
			"dev/lamp/event/out", "dev/lamp/status/CID", "dev/lamp/tele/last", "dev/lamp/loc/last", "dev/lamp/cmd/CID",
			"dev/lamp/cmd/forged", "dev/lamp/rsp", "dev/lamp", "dev/lamp/", "dev/lamp/state/", "dev/lamp/x", "dev/alice/lamp/shadow")
		for _, shadow := range []string{"shadow", "shadow/name/light"} {
			for _, said := range []string{"update/accepted", "update/rejected", "update/delta", "update/documents", "get/accepted",
				"get/rejected", "delete/accepted", "delete/rejected"} {
				add(who, update, "$aws/things/lamp/"+shadow+"/"+said)
			}
		}
	}
	// An app on what the device says.
	for _, who := range []string{"alice", "bob", "carol"} {
		add(who, `{"power":"forged"}`, "dev/lamp/state", "dev/lamp/tele", "dev/me/state")
		add(who, `{"type":"forged","sev":"crit"}`, "dev/lamp/event")
		add(who, `{"s":"succeeded"}`, "dev/lamp/cmd/CID/ack")
	}
	// Who may not, or not any more.
	for _, who := range []string{"bob", "carol"} {
		add(who, `{"power":"forged"}`, "dev/lamp/set")
		add(who, `{"name":"forged"}`, "dev/lamp/call")
	}
	for _, who := range []string{"bob", "carol", "tv"} {
		for _, verb := range []string{"update", "delete"} {
			all = append(all, forgery{who, "$aws/things/" + lamp + "/shadow/" + verb, update, true})
		}
	}
	return all
}

// What is forged is refused and counted, and changes nothing.
func TestForgeriesAreRefusedAndCountedAndChangeNothing(t *testing.T) {
	t.Parallel()
	each(t, func(h *home, version byte) {
		if h.secrets["tv"] == "" {
			h.addDevice("tv", nil)
		}
		app := h.watch(version)
		lamp := h.device(version)
		h.guest(version, app)
		lamp.say("dev/me/state", m{"power": "off"})
		cid := app.call(m{"name": "on", "timeout": 3600})
		p, _ := lamp.command()
		lamp.ack(p)
		app.until(cid, "delivered")

		app.must(1, app.topic("shadow"))
		before := app.told(app.topic("shadow"), nil)
		liars := map[string]*line{"lamp": lamp}
		for _, who := range []string{"tv", "alice", "bob", "carol"} {
			liars[who] = h.connect(version, who, "liar")
		}
		for _, f := range forgeries(h.lamp, cid) {
			h.forge(liars[f.who], version, f)
		}

		app.must(1, app.topic("shadow")) // again, so that it is told once more what is so
		after := app.told(app.topic("shadow"), nil)
		if text(after) != text(before) {
			h.t.Errorf("the shadow was %s, and is %s", text(before), text(after))
		}
		app.want(cid, "queued sent delivered")
		lamp.says(cid, "succeeded")
		app.until(cid, "succeeded")
		app.want(cid, took)
		next := app.call(m{"name": "next"})
		p, doc := lamp.command()
		if doc["cid"] != next {
			h.t.Errorf("came %s, want the next true command", p.Payload)
		}
		lamp.ack(p)
		lamp.says(next, "succeeded")
		for _, l := range []*line{lamp, app.line, liars["tv"], liars["alice"], liars["bob"], liars["carol"]} {
			for _, p := range l.waiting {
				if strings.Contains(string(p.Payload), "forged") {
					h.t.Errorf("%s was told %s on %s", l.name, p.Payload, p.Topic)
				}
			}
		}
	})
}

func (h *home) forge(l *line, version byte, f forgery) {
	h.t.Helper()
	refused := h.refusals()
	ack := l.publish(f.topic, f.payload)
	if version == wire.V5 && !f.served && ack.Reason < 0x80 {
		h.t.Errorf("%s to %s: PUBACK %#x", f.who, f.topic, ack.Reason)
	}
	if n := h.refusals(); n <= refused && !f.served {
		h.t.Errorf("%s to %s is not counted", f.who, f.topic)
	}
}

// guest has bob be one who may switch the lamp for a time, which ends: what he may do ends with it, and what he is told.
func (h *home) guest(version byte, app *steps) {
	h.t.Helper()
	var granted struct {
		ID string `json:"id"`
	}
	h.Call("alice", "device.grant", m{"did": h.lamp, "to": "bob", "verbs": []string{"see", "control"}}, &granted)
	bob := h.connect(version, "bob", "guest")
	bob.must(1, "dev/+/shadow", "im/u/me/in")
	bob.say(app.topic("set"), m{"guest": "was here"})
	bob.told(app.topic("shadow"), func(d m) bool { return at(d, "desired", "guest") == "was here" })
	h.Call("alice", "device.revoke", m{"did": h.lamp, "id": granted.ID}, nil)
	h.grant("bob", time.Now().Add(time.Second).UnixMilli(), "see", "control")
	server.Eventually(h.t, "the guest's time is over", func() bool {
		return h.TryCall("bob", "device.get", m{"did": h.lamp}, nil) != nil
	})
	bob.say("im/to/alice/send", m{"k": "text", "body": m{"text": "thank you"}})
	app.say(app.topic("set"), m{"guest": "has gone"})
	app.say("im/to/bob/send", m{"k": "text", "body": m{"text": "not at all"}})
	bob.told("im/u/me/in", func(d m) bool { return at(d, "body", "text") == "not at all" })
	for _, p := range bob.waiting {
		if strings.Contains(string(p.Payload), "has gone") {
			h.t.Errorf("bob is still told %s", p.Payload)
		}
	}
}

// Nobody subscribes to what is not for him to know, and if he may because of its form, he is told nothing.
func TestNobodyIsToldOfThingsThatHeMayNotSee(t *testing.T) {
	each(t, func(h *home, version byte) {
		if h.secrets["tv"] == "" {
			h.addDevice("tv", nil)
		}
		spies := map[string]*line{}
		for _, who := range []string{"tv", "bob", "carol"} {
			spies[who] = h.connect(version, who, "spy")
			for _, filter := range []string{
				"dev/+/shadow", "dev/#", "dev/lamp/#", "dev/lamp/shadow", "dev/lamp/cmd/+", "dev/lamp/want", "dev/lamp/status/+",
				"dev/lamp/event/out", "dev/alice/lamp/shadow", "dev/alice/#", "dev/lamp/lamp/#", "$aws/#", "$aws/things/#",
				"$aws/things/lamp/shadow/update/#", "$aws/alice/things/#", "+/lamp/shadow", "+/+/lamp/#", "#",
				"$share/g/dev/lamp/shadow", "$share/g/dev/#",
			} {
				spies[who].subscribe(1, strings.ReplaceAll(filter, "lamp", h.lamp))
			}
		}
		app, lamp := h.watch(version), h.device(version)
		lamp.say("dev/me/state", m{"secret": "of the lamp"})
		lamp.say("dev/me/event", m{"type": "secret", "sev": "info", "msg": "of the lamp"})
		app.say(app.topic("set"), m{"secret": "of alice"})
		cid := app.call(m{"name": "secret"})
		p, _ := lamp.command()
		lamp.ack(p)
		lamp.says(cid, "succeeded")
		app.until(cid, "succeeded")
		for _, l := range spies {
			l.send(wire.Packet{Type: wire.PINGREQ})
			l.expect(wire.PINGRESP)
			for _, p := range l.waiting {
				if strings.Contains(string(p.Payload), "lamp") || strings.Contains(string(p.Payload), "secret") {
					h.t.Errorf("%s is told %s on %s", l.name, p.Payload, p.Topic)
				}
			}
		}
	})
}
