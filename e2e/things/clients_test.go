package things

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/magpie-im/magpie/e2e/clients"
	"github.com/magpie-im/magpie/e2e/server"
)

// Clients that others wrote, as they are.
var others = []clients.Client{clients.Mosquitto3, clients.Mosquitto5, clients.PahoGo3, clients.PahoGo5}

// ear is such a client that listens.
type ear struct {
	t testing.TB
	*clients.Listener
	others map[string]clients.Message // the newest on topics that were not waited for: there is no order between topics
}

func (h *home) listen(c clients.Client, who, client string, filters ...string) *ear {
	h.t.Helper()
	l, err := c.Listen(h.t.Context(), h.as(who, client), 1, filters...)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(l.Kill)
	return &ear{h.t, l, map[string]clients.Message{}}
}

// hears waits for a document on a topic for which ok holds; what comes before it there is passed over.
func (e *ear) hears(topic string, ok func(m) bool) m {
	e.t.Helper()
	doc, before, err := e.wait(server.Deadline, topic, ok)
	if err != nil {
		e.t.Fatalf("nothing as wanted on %s: %v; before: %q", topic, err, before)
	}
	return doc
}

// heard is whether it hears that within a time.
func (e *ear) heard(within time.Duration, topic string, ok func(m) bool) bool {
	e.t.Helper()
	_, _, err := e.wait(within, topic, ok)
	return err == nil
}

func (e *ear) wait(within time.Duration, topic string, ok func(m) bool) (doc m, before []string, err error) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(e.t.Context(), within)
	defer cancel()
	got, was := e.others[topic]
	delete(e.others, topic)
	for {
		if !was {
			if got, err = e.Next(ctx); err != nil {
				return nil, before, err
			}
		}
		was = false
		before = append(before, got.Topic+" "+string(got.Payload))
		if got.Topic != topic && (!strings.HasSuffix(topic, "+") || !strings.HasPrefix(got.Topic, topic[:len(topic)-1])) {
			e.others[got.Topic] = got
		} else if doc := parse(e.t, got.Payload); ok == nil || ok(doc) {
			return doc, before, nil
		}
	}
}

func (h *home) send(c clients.Client, who, client, topic string, payload any) {
	h.t.Helper()
	err := c.Send(h.t.Context(), h.as(who, client), clients.Message{Topic: topic, Payload: []byte(text(payload)), QoS: 1})
	if err != nil {
		h.t.Fatal(err)
	}
}

func TestALampAndItsAppWithClientsOfOthers(t *testing.T) {
	t.Parallel()
	h := begin(t)
	for _, c := range others {
		t.Run(c.Name, func(t *testing.T) {
			c.Need(t)
			h := h.with(t, h.lamp)
			h.lampAndApp(c)
		})
	}
}

func (h *home) lampAndApp(c clients.Client) {
	h.send(c, "lamp", "lamp-says", "dev/me/state", m{"power": "off", "by": c.Name})
	app := h.listen(c, "alice", "app", "dev/+/shadow", "dev/+/presence", "dev/+/event/out", "dev/lamp/status/+")
	app.hears("dev/lamp/shadow", func(d m) bool { return at(d, "reported", "by") == c.Name })

	lamp := h.listen(c, "lamp", "lamp", "dev/me/want", "dev/me/cmd/+")
	app.hears("dev/lamp/presence", func(d m) bool { return d["state"] == "online" })

	h.send(c, "alice", "app-says", "dev/lamp/set", m{"power": "on"})
	lamp.hears("dev/me/want", func(d m) bool { return at(d, "state", "power") == "on" })
	app.hears("dev/lamp/shadow", func(d m) bool { return at(d, "delta", "power") == "on" })
	h.send(c, "lamp", "lamp-says", "dev/me/state", m{"power": "on"})
	app.hears("dev/lamp/shadow", func(d m) bool { return at(d, "reported", "power") == "on" && d["delta"] == nil })

	h.send(c, "lamp", "lamp-says", "dev/me/event", m{"type": "warm", "sev": "info", "msg": c.Name})
	app.hears("dev/lamp/event/out", func(d m) bool { return d["msg"] == c.Name })

	h.send(c, "alice", "app-says", "dev/lamp/call", m{"name": "blink", "args": m{"times": 2}, "ttl": 60, "mid": c.Name})
	command := lamp.hears("dev/me/cmd/+", func(d m) bool { return d["name"] == "blink" && at(d, "args", "times") == 2.0 })
	cid := command["cid"].(string)
	for _, state := range []string{"queued", "sent", "delivered"} {
		app.hears("dev/lamp/status/"+cid, func(d m) bool { return d["s"] == state })
	}
	h.send(c, "lamp", "lamp-says", "dev/me/cmd/"+cid+"/ack", m{"s": "succeeded", "result": m{"blinked": 2}})
	app.hears("dev/lamp/status/"+cid, func(d m) bool { return d["s"] == "succeeded" && at(d, "result", "blinked") == 2.0 })

	if err := lamp.Stop(); err != nil {
		h.t.Log(err) // what mosquitto_sub says when it is stopped
	}
	app.hears("dev/lamp/presence", func(d m) bool { return d["state"] == "offline" })
	h.send(c, "alice", "app-says", "dev/lamp/set", m{"power": "off"})
	lamp = h.listen(c, "lamp", "lamp", "dev/me/want") // it asks for nothing
	lamp.hears("dev/me/want", func(d m) bool { return at(d, "state", "power") == "off" })
	lamp.Kill()
	app.hears("dev/lamp/presence", func(d m) bool { return d["state"] == "offline" })
}
