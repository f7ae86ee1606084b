package storetest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

var thingModelTests = []test{
	{"any order of changes of devices gives what the model gives", testThingModel},
	{"what devices have survives a loss of power under load", testThingsCrash},
}

// thingModel is what devices have, in maps.
type thingModel struct {
	*kit
	things    map[accounts.Name]devices.Thing
	shadows   map[string]devices.Shadow
	commands  map[string]devices.Command
	events    map[string]devices.Event
	alarms    map[string]devices.Alarm
	presences map[accounts.Name]devices.Presence
	steps     int64
}

func testThingModel(k *kit) {
	rapid.Check(k.t, func(t *rapid.T) {
		run := &kit{tb: t, t: k.t, newHarness: k.newHarness, harness: k.newHarness(k.t), clock: newClock()}
		run.open()
		defer func() { run.ok("close", run.store.Close()) }()
		m := &thingModel{
			kit: run, things: map[accounts.Name]devices.Thing{}, shadows: map[string]devices.Shadow{},
			commands: map[string]devices.Command{}, events: map[string]devices.Event{}, alarms: map[string]devices.Alarm{},
			presences: map[accounts.Name]devices.Presence{},
		}
		t.Repeat(map[string]func(*rapid.T){
			"thing":    m.putThing,
			"shadow":   m.putShadow,
			"command":  m.putCommand,
			"command2": m.putCommand,
			"event":    m.putEvent,
			"event2":   m.putEvent,
			"alarm":    m.putAlarm,
			"presence": m.putPresences,
			"purge":    m.purge,
			"crash":    func(*rapid.T) { run.crash() },
			"":         func(*rapid.T) { m.check() },
		})
		run.move()
		m.check()
	})
}

var modelDevices = []accounts.Name{"a", "a0", "b"}

func (m *thingModel) device(t *rapid.T) accounts.Name {
	return rapid.SampledFrom(modelDevices).Draw(t, "device")
}

// word is one of three, or none.
func word(t *rapid.T, what string) string {
	return rapid.SampledFrom([]string{"", "x", "xy", "z"}).Draw(t, what)
}

// rev draws a revision that follows one, or nearly.
func rev(t *rapid.T, is uint64) uint64 {
	return is + rapid.SampledFrom([]uint64{0, 1, 1, 1, 2}).Draw(t, "rev")
}

// swap says whether a change has to be made, and that it was.
func (m *thingModel) swap(what string, err error, rev, is uint64, free bool) bool {
	m.Helper()
	if rev == is+1 && free {
		m.ok(what, err)
		return true
	}
	m.is(what, err, devices.ErrChanged)
	return false
}

func (m *thingModel) putThing(t *rapid.T) {
	did := m.device(t)
	is := m.things[did]
	next := devices.Thing{
		ID: did, Owner: accounts.Name(word(t, "owner")), Home: word(t, "home"), Rev: rev(t, is.Rev),
		Gone: rapid.IntRange(0, 3).Draw(t, "gone") == 0,
	}
	for range rapid.IntRange(0, 2).Draw(t, "grants") {
		to := accounts.Name("g" + word(t, "to"))
		next.Grants = append(next.Grants, devices.Grant{To: to, Verbs: []devices.Verb{devices.VerbSee}})
	}
	if m.swap("put thing", m.devices().PutThing(m.ctx(), next), next.Rev, is.Rev, true) {
		m.things[did] = next
	}
}

func (m *thingModel) putShadow(t *rapid.T) {
	did, name := m.device(t), word(t, "name")
	is := m.shadows[string(did)+"/"+name]
	next := devices.Shadow{Version: rev(t, is.Version), Deleted: rapid.Bool().Draw(t, "deleted")}
	if !next.Deleted {
		next.Reported = m.shadow(fmt.Sprintf(`{"state":{"reported":{"n":%d}}}`, m.steps)).Reported
		m.steps++
	}
	err := m.devices().PutShadow(m.ctx(), did, name, next)
	if m.swap("put shadow", err, next.Version, is.Version, true) {
		m.shadows[string(did)+"/"+name] = next
	}
}

func (m *thingModel) putCommand(t *rapid.T) {
	did, id := m.device(t), "c"+word(t, "id")
	is, there := m.commands[string(did)+"/"+id]
	next := devices.Command{
		ID: id, Device: did, Order: uint64(rapid.IntRange(1, 6).Draw(t, "order")),
		Created: rapid.Int64Range(-2, 9).Draw(t, "created"), State: rapid.SampledFrom([]devices.CommandState{
			devices.CommandQueued, devices.CommandSent, devices.CommandSucceeded,
		}).Draw(t, "state"), Rev: rev(t, is.Rev),
	}
	if there {
		next.Order, next.Created = is.Order, is.Created
	}
	taken := func(c devices.Command) bool { return c.Order == next.Order && c.ID != id }
	free := !slices.ContainsFunc(m.commandsOfDevice(did), taken)
	if m.swap("put command", m.devices().PutCommand(m.ctx(), next), next.Rev, is.Rev, free) {
		m.commands[string(did)+"/"+id] = next
	}
}

// commandsOfDevice are sorted, the newest first.
func (m *thingModel) commandsOfDevice(did accounts.Name) (out []devices.Command) {
	for _, c := range m.commands {
		if c.Device == did {
			out = append(out, c)
		}
	}
	slices.SortFunc(out, func(a, b devices.Command) int { return cmp.Compare(b.Order, a.Order) })
	return out
}

func (m *thingModel) eventsOfDevice(did accounts.Name) (out []devices.Event) {
	for _, e := range m.events {
		if e.Device == did {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b devices.Event) int { return cmp.Compare(b.Order, a.Order) })
	return out
}

func (m *thingModel) putEvent(t *rapid.T) {
	did, id := m.device(t), "e"+word(t, "id")
	next := devices.Event{
		Device: did, ID: id, Order: uint64(rapid.IntRange(1, 6).Draw(t, "order")),
		Stored: rapid.Int64Range(-2, 9).Draw(t, "stored"),
	}
	stored, again, err := m.devices().PutEvent(m.ctx(), next)
	is, there := m.events[string(did)+"/"+id]
	taken := slices.ContainsFunc(m.eventsOfDevice(did), func(e devices.Event) bool { return e.Order == next.Order })
	switch {
	case there:
		m.ok("put event again", err)
		equal(m.kit, "again", again, true)
		same(m.kit, "event that was there", stored, is)
	case taken:
		m.is("put event", err, devices.ErrChanged)
	default:
		m.ok("put event", err)
		equal(m.kit, "again", again, false)
		m.events[string(did)+"/"+id] = next
	}
}

func (m *thingModel) putAlarm(t *rapid.T) {
	did, kind := m.device(t), "a"+word(t, "type")
	is := m.alarms[string(did)+"/"+kind]
	next := devices.Alarm{Device: did, Type: kind, State: devices.AlarmActive, Count: uint64(m.steps), Rev: rev(t, is.Rev)}
	if m.swap("put alarm", m.devices().PutAlarm(m.ctx(), next), next.Rev, is.Rev, true) {
		m.alarms[string(did)+"/"+kind] = next
	}
}

func (m *thingModel) putPresences(t *rapid.T) {
	var all []devices.Presence
	for _, did := range modelDevices {
		if rapid.Bool().Draw(t, "changes") {
			state := rapid.SampledFrom([]devices.PresenceState{devices.Online, devices.Offline, devices.Unknown}).Draw(t, "state")
			m.presences[did] = devices.Presence{Device: did, State: state, Since: m.steps}
			all = append(all, m.presences[did])
			m.steps++
		}
	}
	m.kit.putPresences(all...)
}

// purge forgets what is old enough, a few at a time.
func (m *thingModel) purge(t *rapid.T) {
	before, limit := rapid.Int64Range(-2, 10).Draw(t, "before"), rapid.IntRange(1, 3).Draw(t, "limit")
	commands, events := 0, 0
	for key, c := range m.commands {
		if c.State.Final() && c.Created < before {
			commands++
			delete(m.commands, key)
		}
	}
	last := map[accounts.Name]uint64{}
	for _, e := range m.events {
		last[e.Device] = max(last[e.Device], e.Order)
	}
	for key, e := range m.events {
		if e.Order < last[e.Device] && e.Stored < before {
			events++
			delete(m.events, key)
		}
	}
	for what, purge := range map[*int]func(int64, int) int{&commands: m.purgeCommands, &events: m.purgeEvents} {
		for *what > 0 {
			equal(m.kit, "purged", purge(before, limit), min(*what, limit))
			*what -= min(*what, limit)
		}
		equal(m.kit, "purged when nothing was left", purge(before, limit), 0)
	}
}

// check compares everything that can be listed.
func (m *thingModel) check() {
	m.Helper()
	var all, there, busy []accounts.Name
	for _, did := range slices.Sorted(maps.Keys(m.things)) {
		all = append(all, did)
		same(m.kit, "thing", m.thing(did), m.things[did])
	}
	same(m.kit, "things", m.kit.things(), all)
	for _, who := range []accounts.Name{"x", "xy", "g", "gx"} {
		var his []accounts.Name
		for _, did := range all {
			if slices.Contains(m.things[did].Seers(), who) {
				his = append(his, did)
			}
		}
		same(m.kit, "things of "+string(who), m.thingsOf(who), his)
		var home []accounts.Name
		for _, did := range all {
			if t := m.things[did]; t.Home == string(who) && !t.Gone {
				home = append(home, did)
			}
		}
		same(m.kit, "things in "+string(who), m.thingsIn(string(who)), home)
	}
	for _, did := range modelDevices {
		if m.checkDevice(did) {
			busy = append(busy, did)
		}
		if m.presences[did].State == devices.Online {
			there = append(there, did)
		}
	}
	same(m.kit, "busy", m.busy(), busy)
	same(m.kit, "there", m.there(), there)
}

// checkDevice says whether it has open commands.
func (m *thingModel) checkDevice(did accounts.Name) bool {
	m.Helper()
	commands, err := m.devices().CommandsOf(m.ctx(), did, 0, 100)
	m.ok("commands", err)
	same(m.kit, "commands", commands, m.commandsOfDevice(did))
	events, err := m.devices().EventsOf(m.ctx(), did, 0, 100)
	m.ok("events", err)
	same(m.kit, "events", events, m.eventsOfDevice(did))
	last := uint64(0)
	for _, e := range events {
		last = max(last, e.Order)
	}
	equal(m.kit, "last event", m.lastEvent(did), last)
	if p, there := m.presences[did]; there {
		same(m.kit, "presence", m.presence(did), p)
	}
	var open, names, kinds []string
	for _, c := range slices.Backward(commands) {
		if !c.State.Final() {
			open = append(open, c.ID)
		}
	}
	for _, name := range []string{"", "x", "xy", "z"} {
		is, err := m.devices().Shadow(m.ctx(), did, name)
		m.ok("shadow", err)
		same(m.kit, "shadow", is, m.shadows[string(did)+"/"+name])
		if name != "" && is.There() {
			names = append(names, name)
		}
		if a, there := m.alarms[string(did)+"/a"+name]; there {
			kinds = append(kinds, a.Type)
			is, err := m.devices().Alarm(m.ctx(), did, a.Type)
			m.ok("alarm", err)
			same(m.kit, "alarm", is, a)
		}
	}
	var got []string
	is, err := m.devices().OpenCommands(m.ctx(), did)
	m.ok("open commands", err)
	for _, c := range is {
		got = append(got, c.ID)
	}
	same(m.kit, "open commands", got, open)
	same(m.kit, "names of shadows", m.shadowNames(did), names)
	same(m.kit, "alarms", m.alarmsOf(did), kinds)
	return len(open) > 0
}
