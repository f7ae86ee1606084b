package storetest

import (
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

var thingTests = []test{
	{"a thing comes back as it was put", testThing},
	{"things are listed for those who have them in their lists", testThingsOf},
	{"things are listed by homes, and all of them", testThingsIn},
	{"of those who change something at once one does", testDeviceSwaps},
	{"a shadow comes back as it was put", testShadow},
	{"the names of shadows are those that are there", testShadowNames},
	{"presence is replaced, and who is online is listed", testPresences},
	{"what is known of many is written at once", testManyPresences},
	{"what is stored of a thing is forgotten", testForgetThing},
}

func testForgetThing(k *kit) {
	d := k.devices()
	fill := func(did accounts.Name, orders uint64) {
		k.ok("put shadow", d.PutShadow(k.ctx(), did, "", devices.Shadow{Version: 1}))
		k.ok("put shadow", d.PutShadow(k.ctx(), did, "s", devices.Shadow{Version: 1}))
		k.ok("put presences", d.PutPresences(k.ctx(), []devices.Presence{{Device: did, State: devices.Online}}))
		k.ok("put alarm", d.PutAlarm(k.ctx(), devices.Alarm{Device: did, Type: "hot", State: devices.AlarmActive, Rev: 1}))
		for order := range orders {
			e := event(order+1, fmt.Sprint(order))
			e.Device = did
			k.putEvent(e)
			state := devices.CommandQueued
			if order%2 == 0 {
				state = devices.CommandFailed
			}
			c := command(order+1, state)
			c.Device, c.ID = did, fmt.Sprint(order)
			k.putCommand(c)
		}
	}
	check := func(did accounts.Name, is bool, version uint64) {
		k.Helper()
		equal(k, "last event", k.lastEvent(did) > 0, is)
		equal(k, "commands", len(k.commandsOf(did)) > 0, is)
		equal(k, "open commands", len(k.openOrders(did)) > 0, is)
		equal(k, "busy", slices.Contains(k.busy(), did), is)
		alarm, err := d.Alarm(k.ctx(), did, "hot")
		k.ok("alarm", err)
		equal(k, "alarm", alarm.Rev > 0, is)
		for _, name := range []string{"", "s"} {
			s, err := d.Shadow(k.ctx(), did, name)
			k.ok("shadow", err)
			equal(k, "version of shadow "+name, s.Version, version)
			equal(k, "shadow "+name+" is there", s.There(), is)
		}
		names, err := d.ShadowNames(k.ctx(), did, "", 10)
		k.ok("names", err)
		equal(k, "names", len(names) > 0, is)
	}
	fill("lamp", 300)
	fill("lamp2", 2)
	for range 2 {
		k.ok("forget", d.ForgetThing(k.ctx(), "lamp", false))
		check("lamp", false, 2)
		check("lamp2", true, 1)
		k.crash()
		d = k.devices()
	}
	p, err := d.Presence(k.ctx(), "lamp")
	k.ok("presence", err)
	equal(k, "state", p.State, devices.Online)
	k.ok("forget", d.ForgetThing(k.ctx(), "lamp", true))
	check("lamp", false, 0)
	p, err = d.Presence(k.ctx(), "lamp")
	k.ok("presence", err)
	equal(k, "state", p.State, "")
	there, err := d.There(k.ctx(), "", 10)
	k.ok("there", err)
	equal(k, "there", len(there), 1)
	k.ok("forget nothing", d.ForgetThing(k.ctx(), "none", true))
	fill("lamp", 2)
	check("lamp", true, 1)
}

// testDeviceSwaps tries every method that compares before it sets.
func testDeviceSwaps(k *kit) {
	const callers = 8
	d := k.devices()
	for what, put := range map[string]func(i int, rev uint64) error{
		"thing": func(i int, rev uint64) error {
			return d.PutThing(k.ctx(), devices.Thing{ID: "lamp", Title: fmt.Sprint(i), Rev: rev})
		},
		"shadow": func(i int, rev uint64) error {
			return d.PutShadow(k.ctx(), "lamp", "s", devices.Shadow{Version: rev, Deleted: i%2 == 0})
		},
		"command": func(i int, rev uint64) error {
			return d.PutCommand(k.ctx(), devices.Command{
				ID: "c", Device: "lamp", Order: 1, Name: fmt.Sprint(i), State: devices.CommandQueued, Rev: rev,
			})
		},
		"alarm": func(i int, rev uint64) error {
			return d.PutAlarm(k.ctx(), devices.Alarm{
				Device: "lamp", Type: "hot", State: devices.AlarmActive, Text: fmt.Sprint(i), Rev: rev,
			})
		},
	} {
		for rev := range uint64(3) {
			k.is(what+" put too early", put(9, rev+2), devices.ErrChanged)
			var done atomic.Int64
			each(callers, func(i int) {
				err := put(i, rev+1)
				if err == nil {
					done.Add(1)
					return
				}
				k.is(what, err, devices.ErrChanged)
			})
			equal(k, fmt.Sprintf("changes of one %s to %d", what, rev+1), done.Load(), 1)
			k.is(what+" put too late", put(9, rev+1), devices.ErrChanged)
		}
		k.is(what+" begun anew", put(9, 1), devices.ErrChanged)
		k.is(what+" without a revision", put(9, 0), devices.ErrChanged)
	}
}

// lamp is a thing with something in every field.
func lamp() devices.Thing {
	return devices.Thing{
		ID: "lamp", Type: "light", Model: "L\x001", Title: "Lampe ☀", Owner: alice, Home: "h.1", Room: "kitchen",
		Moved: 7, Stale: true,
		Tags: []string{"a", "b"}, Serial: true, Sleepy: true, Bridge: "hub",
		Grants: []devices.Grant{
			{ID: "g1", To: bob, Verbs: []devices.Verb{devices.VerbSee, "cmd:on"}, By: alice, From: 5, Until: 1 << 41, Made: 4,
				Zone: "Europe/Berlin", Weekly: []devices.Window{
					{Days: []time.Weekday{time.Monday, time.Friday}, From: 540, To: 780}, {From: 1320, To: 1},
				}},
			{ID: "g2", To: carol, Verbs: []devices.Verb{devices.VerbControl}, By: alice},
			{ID: "g3", To: bob, Verbs: []devices.Verb{devices.VerbManage}, By: alice},
		},
		Created: 1893553445006, Epoch: 3, Rev: 1,
	}
}

func (k *kit) putThing(t devices.Thing) {
	k.Helper()
	k.ok("put thing "+string(t.ID), k.devices().PutThing(k.ctx(), t))
}

func (k *kit) thing(did accounts.Name) devices.Thing {
	k.Helper()
	t, err := k.devices().Thing(k.ctx(), did)
	k.ok("thing "+string(did), err)
	return t
}

func testThing(k *kit) {
	_, err := k.devices().Thing(k.ctx(), "lamp")
	k.is("stranger", err, devices.ErrUnknown)
	t := lamp()
	k.putThing(t)
	k.crash()
	same(k, "thing", k.thing("lamp"), t)
	t = devices.Thing{ID: "lamp", Gone: true, Rev: 2}
	k.putThing(t)
	k.reopen()
	same(k, "thing that is gone", k.thing("lamp"), t)
	k.putThing(devices.Thing{ID: "l", Rev: 1})
	same(k, "one with the beginning of its name", k.thing("l"), devices.Thing{ID: "l", Rev: 1})
}

// pages reads a whole list, two at a time, and gives the names of what is in it.
func pages[T any](
	k *kit, what string, name func(T) accounts.Name, page func(after accounts.Name, limit int) ([]T, error),
) (out []accounts.Name) {
	k.Helper()
	for after := accounts.Name(""); ; {
		some, err := page(after, 2)
		k.ok(what, err)
		for _, t := range some {
			after = name(t)
			out = append(out, after)
		}
		if len(some) < 2 {
			break
		}
	}
	none, err := page("", 0)
	k.ok(what, err)
	equal(k, what+", none of them", len(none), 0)
	return out
}

func thingName(t devices.Thing) accounts.Name { return t.ID }

func (k *kit) thingsOf(who accounts.Name) []accounts.Name {
	k.Helper()
	return pages(k, "things of "+string(who), thingName, func(after accounts.Name, limit int) ([]devices.Thing, error) {
		return k.devices().ThingsOf(k.ctx(), who, after, limit)
	})
}

func (k *kit) thingsIn(home string) []accounts.Name {
	k.Helper()
	return pages(k, "things in "+home, thingName, func(after accounts.Name, limit int) ([]devices.Thing, error) {
		return k.devices().ThingsIn(k.ctx(), home, after, limit)
	})
}

func (k *kit) things() []accounts.Name {
	k.Helper()
	return pages(k, "things", thingName, func(after accounts.Name, limit int) ([]devices.Thing, error) {
		return k.devices().Things(k.ctx(), after, limit)
	})
}

func testThingsOf(k *kit) {
	same(k, "nothing", k.thingsOf(alice), []accounts.Name{})
	all := []accounts.Name{"a", "a-b", "ab", "b", "ä"}
	for _, did := range slices.Backward(all) {
		k.putThing(devices.Thing{ID: did, Owner: alice, Rev: 1})
	}
	k.putThing(lamp())
	same(k, "of the owner", k.thingsOf(alice), []accounts.Name{"a", "a-b", "ab", "b", "lamp", "ä"})
	same(k, "of whom something was granted twice", k.thingsOf(bob), []accounts.Name{"lamp"})
	some, err := k.devices().ThingsOf(k.ctx(), bob, "", 9)
	k.ok("things of bob", err)
	same(k, "what is listed", some, []devices.Thing{lamp()})
	k.crash()

	t := lamp()
	t.Owner, t.Grants, t.Rev = bob, t.Grants[1:2], 2
	k.putThing(t)
	same(k, "of who gave it away", k.thingsOf(alice), all)
	same(k, "of who got it", k.thingsOf(bob), []accounts.Name{"lamp"})
	same(k, "of who was granted something before and after", k.thingsOf(carol), []accounts.Name{"lamp"})
	same(k, "of nobody", k.thingsOf(""), []accounts.Name{})
	t.Gone, t.Rev = true, 3
	k.putThing(t)
	for _, who := range []accounts.Name{bob, carol} {
		same(k, "of what is gone", k.thingsOf(who), []accounts.Name{})
	}
	k.reopen()
	same(k, "after a start", k.thingsOf(alice), all)
}

func testThingsIn(k *kit) {
	same(k, "nothing", k.thingsIn("h.1"), []accounts.Name{})
	same(k, "nothing", k.things(), []accounts.Name{})
	all := []accounts.Name{"a", "b", "c", "d"}
	for _, did := range all {
		k.putThing(devices.Thing{ID: did, Owner: alice, Home: "h.1", Rev: 1})
	}
	k.putThing(devices.Thing{ID: "e", Rev: 1})
	same(k, "in a home", k.thingsIn("h.1"), all)
	k.putThing(devices.Thing{ID: "a", Home: "h.2", Rev: 2})
	k.putThing(devices.Thing{ID: "b", Home: "h.1", Gone: true, Rev: 2})
	k.putThing(devices.Thing{ID: "c", Rev: 2})
	k.crash()
	same(k, "left in a home", k.thingsIn("h.1"), []accounts.Name{"d"})
	same(k, "in another home", k.thingsIn("h.2"), []accounts.Name{"a"})
	same(k, "in none", k.thingsIn(""), []accounts.Name{})
	same(k, "all", k.things(), []accounts.Name{"a", "b", "c", "d", "e"})
}

// shadow makes a shadow of requests, one after the other.
func (k *kit) shadow(requests ...string) (s devices.Shadow) {
	k.Helper()
	for i, r := range requests {
		u, err := devices.ParseShadowUpdate([]byte(r))
		k.ok(r, err)
		s, err = s.Update(u, int64(1893553445+i), devices.DefaultShadowLimits())
		k.ok(r, err)
	}
	return s
}

func (k *kit) sameShadow(name string, want devices.Shadow) {
	k.Helper()
	s, err := k.devices().Shadow(k.ctx(), "lamp", name)
	k.ok("shadow", err)
	same(k, "shadow "+name, s, want)
}

func testShadow(k *kit) {
	k.sameShadow("", devices.Shadow{})
	k.sameShadow("x", devices.Shadow{})
	s := k.shadow(
		`{"state":{"desired":{"n":1.0,"big":123456789012345678901234567890,"e":1e400,"text":"<&>\u0000ä"}}}`,
		`{"state":{"desired":{"a":[1,{"b":[]}],"o":{"x":{}}}}}`,
		`{"state":{"reported":{"on":true,"off":false,"deep":{"er":{"":"empty"}}},"desired":{"a":[]}}}`,
	)
	equal(k, "version", s.Version, 3)
	s.Version = 2
	first := s
	first.Version = 1
	k.ok("put", k.devices().PutShadow(k.ctx(), "lamp", "", first))
	k.ok("put", k.devices().PutShadow(k.ctx(), "lamp", "", s))
	k.is("put again", k.devices().PutShadow(k.ctx(), "lamp", "", s), devices.ErrChanged)
	k.crash()
	k.sameShadow("", s)
	k.sameShadow("x", devices.Shadow{})
	was, err := k.devices().Shadow(k.ctx(), "lamp", "")
	k.ok("shadow", err)
	same(k, "delta", was.Delta(), s.Delta())

	s, err = s.Delete()
	k.ok("delete", err)
	k.ok("put deleted", k.devices().PutShadow(k.ctx(), "lamp", "", s))
	k.reopen()
	k.sameShadow("", s)
	k.is("begun anew", k.devices().PutShadow(k.ctx(), "lamp", "", devices.Shadow{Version: 1}), devices.ErrChanged)
}

func (k *kit) shadowNames(did accounts.Name) []accounts.Name {
	k.Helper()
	named := func(name accounts.Name) accounts.Name { return name }
	return pages(k, "shadows of "+string(did), named, func(after accounts.Name, limit int) (out []accounts.Name, err error) {
		names, err := k.devices().ShadowNames(k.ctx(), did, string(after), limit)
		for _, name := range names {
			out = append(out, accounts.Name(name))
		}
		return out, err
	})
}

func testShadowNames(k *kit) {
	for _, name := range []string{"", "b", "a", "ab", "c", "a:b"} {
		k.ok("put", k.devices().PutShadow(k.ctx(), "lamp", name, k.shadow(`{"state":{"reported":{"a":1}}}`)))
	}
	k.ok("put another's", k.devices().PutShadow(k.ctx(), "lam", "z", k.shadow(`{"state":{"reported":{"a":1}}}`)))
	k.ok("delete", k.devices().PutShadow(k.ctx(), "lamp", "b", devices.Shadow{Version: 2, Deleted: true}))
	k.ok("delete", k.devices().PutShadow(k.ctx(), "lamp", "c", devices.Shadow{Version: 2, Deleted: true}))
	k.ok("put deleted", k.devices().PutShadow(k.ctx(), "lamp", "c", devices.Shadow{Version: 3}))
	k.ok("put nothing", k.devices().PutShadow(k.ctx(), "lamp", "d", devices.Shadow{Version: 1, Deleted: true}))
	k.crash()
	same(k, "names", k.shadowNames("lamp"), []string{"a", "a:b", "ab", "c"})
	same(k, "another's names", k.shadowNames("lam"), []string{"z"})
}

func (k *kit) there() []accounts.Name {
	k.Helper()
	name := func(p devices.Presence) accounts.Name { return p.Device }
	return pages(k, "there", name, func(after accounts.Name, limit int) ([]devices.Presence, error) {
		return k.devices().There(k.ctx(), after, limit)
	})
}

func (k *kit) presence(did accounts.Name) devices.Presence {
	k.Helper()
	p, err := k.devices().Presence(k.ctx(), did)
	k.ok("presence", err)
	return p
}

func (k *kit) putPresences(all ...devices.Presence) {
	k.Helper()
	k.ok("put presences", k.devices().PutPresences(k.ctx(), all))
}

func testPresences(k *kit) {
	k.putPresences()
	equal(k, "of who was never there", k.presence("lamp").State, "")
	is := devices.Presence{Device: "lamp", State: devices.Online, Since: 5, Seen: 7, Reason: "connect"}
	k.putPresences(is)
	k.crash()
	same(k, "presence", k.presence("lamp"), is)
	var all []devices.Presence
	for _, did := range []accounts.Name{"e", "c", "d", "a", "b"} {
		all = append(all, devices.Presence{Device: did, State: devices.Online, Since: 1, Reason: "bridge"})
	}
	k.putPresences(all...)
	same(k, "there", k.there(), []accounts.Name{"a", "b", "c", "d", "e", "lamp"})
	some, err := k.devices().There(k.ctx(), "e", 5)
	k.ok("there", err)
	same(k, "who is there", some, []devices.Presence{is})
	k.putPresences(
		devices.Presence{Device: "a", State: devices.Offline, Since: 9, Reason: "will"},
		devices.Presence{Device: "c", State: devices.Sleeping, Since: 9, Reason: "disconnect"},
		devices.Presence{Device: "d", State: devices.Unknown, Since: 9, Reason: "server_restart"},
		devices.Presence{Device: "f", State: devices.Unknown, Since: 9, Reason: "server_restart"},
		devices.Presence{Device: "b", State: devices.Online, Since: 9, Reason: "takeover"},
	)
	k.crash()
	same(k, "still there", k.there(), []accounts.Name{"b", "e", "lamp"})
	same(k, "replaced", k.presence("b"), devices.Presence{Device: "b", State: devices.Online, Since: 9, Reason: "takeover"})
	same(k, "gone", k.presence("a"), devices.Presence{Device: "a", State: devices.Offline, Since: 9, Reason: "will"})
}

func testManyPresences(k *kit) {
	many := k.few(3000)
	all := make([]devices.Presence, many)
	for i := range all {
		all[i] = devices.Presence{Device: accounts.Name(fmt.Sprintf("d%04d", i)), State: devices.Online, Since: 1}
	}
	for range 2 {
		k.putPresences(all...)
	}
	k.crash()
	there, err := k.devices().There(k.ctx(), "", many+1)
	k.ok("there", err)
	same(k, "there", there, all)
}
