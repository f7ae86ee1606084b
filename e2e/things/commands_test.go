package things

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/magpie-im/magpie/e2e/wire"
)

// each runs a test with both versions of MQTT, on one server with a lamp for each of its rows.
func each(t *testing.T, run func(h *home, version byte)) {
	t.Helper()
	h := begin(t)
	for name, version := range versions {
		t.Run(name, func(t *testing.T) { run(h.with(t, fmt.Sprint("lamp-", version)), version) })
	}
}

// took is the states of a command to which nothing has happened but that the lamp has carried it out.
const took = "queued sent delivered succeeded"

func TestACommandWaitsForItsDeviceThroughACrash(t *testing.T) {
	each(t, func(h *home, version byte) {
		app := h.watch(version)
		cid := app.call(m{"name": "on", "ttl": 3600})
		h.Kill()
		h.Start()
		app.back(h)
		lamp := h.device(version)
		p, doc := lamp.command()
		if doc["cid"] != cid || doc["dup"] != nil || p.Dup {
			h.t.Errorf("came %s, dup %v", p.Payload, p.Dup)
		}
		expiry, there := p.Props.Get(wire.MessageExpiry)
		if left := expiry.Num; version == wire.V5 && (!there || left == 0 || left > 3600) {
			h.t.Errorf("the packet says that %d seconds are left, want some, and 3600 at most", left)
		}
		app.until(cid, "sent")
		lamp.ack(p)
		app.until(cid, "delivered")
		lamp.says(cid, "succeeded")
		app.until(cid, "succeeded")
		app.want(cid, took)
		h.Kill()
		h.Start()
		app.back(h)
		lamp = h.device(version)
		next := app.call(m{"name": "off"})
		p, doc = lamp.command()
		if doc["cid"] != next {
			h.t.Errorf("came %s, want the next command only", p.Payload)
		}
	})
}

// A command that has not been delivered in its time is over, and the device hears nothing of it, whichever version it speaks,
// whether it was away or had something else to do.
func TestNothingIsGivenToADeviceAfterItsDeadline(t *testing.T) {
	t.Parallel()
	each(t, func(h *home, version byte) {
		app := h.watch(version)
		late := app.call(m{"name": "on", "ttl": 0.5})
		app.until(late, "expired")
		app.want(late, "queued expired")
		lamp := h.device(version, kept)
		first := app.call(m{"name": "first"})
		p, doc := lamp.command()
		if doc["cid"] != first {
			h.t.Errorf("came %s, want the first that is in time", p.Payload)
		}
		lamp.ack(p)
		lamp.says(first, "succeeded")
		app.until(first, "succeeded")

		// The session that is away gets what was given meanwhile, but nothing whose time is over.
		lamp.leave()
		late = app.call(m{"name": "late", "ttl": 0.5})
		there := app.call(m{"name": "there", "ttl": 3600})
		app.until(late, "expired")
		lamp = h.device(version, kept)
		if p, doc = lamp.command(); doc["cid"] != there {
			h.t.Errorf("came %s, want what has time", p.Payload)
		}
		lamp.ack(p)

		// One that does one thing at a time is not given what has had to wait for too long.
		h.Call("alice", "device.set", m{"did": h.lamp, "serial": true}, nil)
		late = app.call(m{"name": "late", "ttl": 0.5})
		app.until(late, "expired")
		after := app.call(m{"name": "after"})
		lamp.says(there, "succeeded")
		if p, doc = lamp.command(); doc["cid"] != after {
			h.t.Errorf("came %s, want what has time", p.Payload)
		}
		lamp.ack(p)
		lamp.says(after, "succeeded")
		app.until(after, "succeeded")
		h.Call("alice", "device.set", m{"did": h.lamp, "serial": false}, nil)
	})
}

// Delivered is the PUBACK of the device, and nothing less; a result says that it was delivered.
func TestDeliveredIsThePuback(t *testing.T) {
	each(t, func(h *home, version byte) {
		app := h.watch(version)
		lamp := h.device(version)
		withheld := app.call(m{"name": "on"})
		app.until(withheld, "sent")
		p, _ := lamp.command()
		other := app.call(m{"name": "other"}) // is not held up
		q, doc := lamp.command()
		if doc["cid"] != other {
			h.t.Errorf("came %s, want the other one", q.Payload)
		}
		lamp.ack(q)
		app.until(other, "delivered")
		app.want(withheld, "queued sent")

		lamp.says(withheld, "succeeded")
		app.until(withheld, "succeeded")
		app.want(withheld, took)
		lamp.ack(p) // says nothing new
		lamp.says(other, "accepted")
		lamp.says(other, "failed")
		app.until(other, "failed")
		app.want(other, "queued sent delivered accepted failed")
		if got := len(app.seen[withheld]); got != 4 {
			h.t.Errorf("%d steps of what was over, want no more", got-4)
		}
	})
}

// What a device has not acknowledged when its connection ends comes again, and says so.
func TestWhatMayHaveComeBeforeSaysSo(t *testing.T) {
	each(t, func(h *home, version byte) {
		app := h.watch(version)
		for name, back := range map[string][]with{"a new session": nil, "its session": {kept}} {
			lamp := h.device(version, back...)
			cid := app.call(m{"name": "open"})
			if p, doc := lamp.command(); p.Dup || doc["dup"] != nil {
				h.t.Errorf("%s: the first came as %s, dup %v", name, p.Payload, p.Dup)
			}
			app.until(cid, "sent")
			lamp.leave()
			lamp = h.device(version, back...)
			p, doc := lamp.command()
			if doc["cid"] != cid || !p.Dup || doc["dup"] != true {
				h.t.Errorf("%s: came again as %s, dup %v", name, p.Payload, p.Dup)
			}
			lamp.ack(p)
			lamp.says(cid, "succeeded")
			app.until(cid, "succeeded")
			app.want(cid, took)
			lamp.leave()
		}
	})
}

func TestOnlyTheNewestOfAKeyIsWorthDoing(t *testing.T) {
	each(t, func(h *home, version byte) {
		app := h.watch(version)
		var all []string
		for _, name := range []string{"on", "off", "on"} {
			all = append(all, app.call(m{"name": name, "key": "power", "ttl": 3600}))
		}
		other := app.call(m{"name": "color", "ttl": 3600})
		app.until(all[0], "superseded")
		app.until(all[1], "superseded")
		lamp := h.device(version)
		var got []string
		for range 2 {
			p, doc := lamp.command()
			lamp.ack(p)
			got = append(got, doc["cid"].(string))
		}
		if want := []string{all[2], other}; !slices.Equal(got, want) {
			h.t.Errorf("came %q, want %q", got, want)
		}
		// One that was given is not taken back; the next waits for it.
		next := app.call(m{"name": "off", "key": "power"})
		lamp.says(all[2], "succeeded")
		p, doc := lamp.command()
		if doc["cid"] != next {
			h.t.Errorf("came %s, want the next of the key", p.Payload)
		}
		lamp.ack(p)
		for _, cid := range []string{other, next} {
			lamp.says(cid, "succeeded")
			app.until(cid, "succeeded")
			app.want(cid, took)
		}
		app.until(all[2], "succeeded")
		app.want(all[2], took)
		app.want(all[0], "queued superseded")
	})
}

func TestADeviceThatIsSerialDoesOneThingAtATime(t *testing.T) {
	each(t, func(h *home, version byte) {
		h.Call("alice", "device.set", m{"did": h.lamp, "serial": true}, nil)
		app := h.watch(version)
		lamp := h.device(version)
		var all []string
		for _, name := range []string{"a", "b", "c"} {
			all = append(all, app.call(m{"name": name}))
		}
		for i, cid := range all {
			p, doc := lamp.command()
			if doc["cid"] != cid {
				h.t.Errorf("came %s, want %s", p.Payload, cid)
			}
			for _, later := range all[i+1:] {
				app.want(later, "queued")
			}
			lamp.ack(p)
			app.until(cid, "delivered")
			lamp.says(cid, "succeeded")
			app.until(cid, "succeeded")
		}
		for _, cid := range all {
			app.want(cid, took)
		}
		h.Call("alice", "device.set", m{"did": h.lamp, "serial": false}, nil)
	})
}

func TestWhatADeviceSaysTooLateIsKeptApart(t *testing.T) {
	t.Parallel()
	each(t, func(h *home, version byte) {
		app := h.watch(version)
		lamp := h.device(version)
		cid := app.call(m{"name": "slow", "timeout": 0.5})
		p, _ := lamp.command()
		lamp.ack(p)
		app.until(cid, "timed_out")
		lamp.says(cid, "succeeded")
		for at(app.last[cid], "late", "s") == nil {
			app.step()
		}
		if at(app.last[cid], "late", "s") != "succeeded" || app.last[cid]["s"] != "timed_out" {
			h.t.Errorf("told %v, want timed_out with a late result", app.last[cid])
		}
		app.want(cid, "queued sent delivered timed_out")
	})
}

// The same mid is the same command, also after a crash.
func TestACallThatIsRepeatedIsOneCommand(t *testing.T) {
	each(t, func(h *home, version byte) {
		app := h.watch(version)
		call := m{"name": "on", "mid": fmt.Sprint("once ", version), "ttl": 3600}
		cid := app.call(call)
		for range 2 {
			ack := app.publish(app.topic("call"), text(call))
			got, _ := ack.Props.User("cid")
			if version == wire.V5 && (ack.Reason >= 0x80 || got != cid) {
				h.t.Errorf("repeated: %#x %v, want cid %s", ack.Reason, ack.Props, cid)
			}
			h.Kill()
			h.Start()
			app.back(h)
		}
		call["name"] = "off"
		if ack := app.publish(app.topic("call"), text(call)); version == wire.V5 && ack.Reason < 0x80 {
			h.t.Errorf("another call with that mid: %#x", ack.Reason)
		}
		lamp := h.device(version)
		p, doc := lamp.command()
		if doc["cid"] != cid || doc["name"] != "on" {
			h.t.Errorf("came %s", p.Payload)
		}
		lamp.ack(p)
		lamp.says(cid, "succeeded")
		app.until(cid, "succeeded")
		next := app.call(m{"name": "next"})
		if p, doc = lamp.command(); doc["cid"] != next {
			h.t.Errorf("came %s, want the next command", p.Payload)
		}
		lamp.ack(p)
		lamp.says(next, "succeeded")
	})
}

// Of two sessions of a device the one that came last is given commands.
func TestTheNewestSessionOfADeviceIsGivenCommands(t *testing.T) {
	each(t, func(h *home, version byte) {
		app := h.watch(version)
		older := h.device(version)
		first := app.call(m{"name": "first"})
		p, _ := older.command()
		older.ack(p)
		newer := h.connect(version, h.lamp, h.lamp+"-2")
		newer.must(1, app.topic("cmd/+"))
		second := app.call(m{"name": "second"})
		got := newer.await("a command", func(p wire.Packet) bool { return strings.HasPrefix(p.Topic, app.topic("cmd/")) })
		if doc := parse(h.t, got.Payload); doc["cid"] != second {
			h.t.Errorf("came %s", got.Payload)
		}
		newer.ack(got)
		newer.says(first, "succeeded")
		newer.says(second, "succeeded")
		app.until(first, "succeeded")
		app.until(second, "succeeded")
		newer.leave()
		third := app.call(m{"name": "third"})
		if p, doc := older.command(); doc["cid"] != third {
			h.t.Errorf("came %s to the older one", p.Payload)
		}
	})
}
