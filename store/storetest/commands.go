package storetest

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

var commandTests = []test{
	{"a command comes back as it was put", testCommand},
	{"two commands do not have one order", testCommandOrder},
	{"open commands are listed, and who has some", testOpenCommands},
	{"commands are listed, the newest first", testCommandsOf},
	{"old commands are forgotten, a few at a time", testPurgeCommands},
	{"an event is stored once", testEvent},
	{"an event that many store at once is stored once", testEventRace},
	{"events are listed, the newest first", testEventsOf},
	{"old events are forgotten, but for the last ones", testPurgeEvents},
	{"an alarm comes back as it was put", testAlarm},
}

func command(order uint64, state devices.CommandState) devices.Command {
	return devices.Command{
		ID: fmt.Sprintf("c%d", 100-order), Device: "lamp", Order: order, Name: "on", By: alice, Created: int64(1000 + order),
		State: state, Rev: 1,
	}
}

func (k *kit) putCommand(c devices.Command) {
	k.Helper()
	k.ok("put command "+c.ID, k.devices().PutCommand(k.ctx(), c))
}

func (k *kit) command(did accounts.Name, cid string) devices.Command {
	k.Helper()
	c, err := k.devices().Command(k.ctx(), did, cid)
	k.ok("command "+cid, err)
	return c
}

func testCommand(k *kit) {
	_, err := k.devices().Command(k.ctx(), "lamp", "c1")
	k.is("stranger", err, devices.ErrUnknown)
	c := devices.Command{
		ID: "c1", Device: "lamp", Order: 7, Name: "dim", Args: json.RawMessage(`[1.0, "<ä>"]`), By: alice,
		MID: "m\x00", Key: "light", Created: 1893553445006, Expires: 1893553505006, Timeout: 60000,
		State: devices.CommandProgress, Rev: 1, Sent: 1893553445007, Delivered: 1893553445008, Percent: 40,
		Outcome: devices.Outcome{Text: "half"},
	}
	k.putCommand(c)
	k.crash()
	same(k, "command", k.command("lamp", "c1"), c)
	c.State, c.Rev, c.Outcome = devices.CommandTimedOut, 2, devices.Outcome{}
	c.Late = &devices.Outcome{State: devices.CommandFailed, Result: json.RawMessage(`null`), Code: "E1", Text: "broken"}
	k.putCommand(c)
	k.is("put again", k.devices().PutCommand(k.ctx(), c), devices.ErrChanged)
	k.reopen()
	same(k, "changed command", k.command("lamp", "c1"), c)
	_, err = k.devices().Command(k.ctx(), "lam", "c1")
	k.is("of another device", err, devices.ErrUnknown)
	_, err = k.devices().Command(k.ctx(), "lamp", "c")
	k.is("beginning of its id", err, devices.ErrUnknown)
}

func testCommandOrder(k *kit) {
	var done atomic.Int64
	each(8, func(i int) {
		c := command(1, devices.CommandQueued)
		c.ID = fmt.Sprint(i)
		err := k.devices().PutCommand(k.ctx(), c)
		if err == nil {
			done.Add(1)
			return
		}
		k.is("same order", err, devices.ErrChanged)
	})
	equal(k, "commands of one order", done.Load(), 1)
	all, err := k.devices().CommandsOf(k.ctx(), "lamp", 0, 10)
	k.ok("commands", err)
	equal(k, "commands", len(all), 1)
	c := command(1, devices.CommandQueued)
	c.Device = "other"
	k.putCommand(c)
}

func orders(all []devices.Command) (out []uint64) {
	for _, c := range all {
		out = append(out, c.Order)
	}
	return out
}

func (k *kit) openOrders(did accounts.Name) []uint64 {
	k.Helper()
	all, err := k.devices().OpenCommands(k.ctx(), did)
	k.ok("open commands", err)
	return orders(all)
}

func (k *kit) busy() []accounts.Name {
	k.Helper()
	name := func(name accounts.Name) accounts.Name { return name }
	return pages(k, "busy", name, func(after accounts.Name, limit int) ([]accounts.Name, error) {
		return k.devices().Busy(k.ctx(), after, limit)
	})
}

func testOpenCommands(k *kit) {
	same(k, "nobody", k.busy(), []accounts.Name{})
	for order := range uint64(6) {
		k.putCommand(command(6-order, devices.CommandQueued))
	}
	for _, did := range []accounts.Name{"c", "a", "lam", "lamp2", "b"} {
		for order := range uint64(2) {
			c := command(order+1, devices.CommandSent)
			c.Device = did
			k.putCommand(c)
		}
	}
	c := command(1, devices.CommandRejected)
	c.Device = "idle"
	k.putCommand(c)
	same(k, "open", k.openOrders("lamp"), []uint64{1, 2, 3, 4, 5, 6})
	for order, state := range map[uint64]devices.CommandState{
		2: devices.CommandSucceeded, 3: devices.CommandDelivered, 4: devices.CommandSuperseded, 6: devices.CommandExpired,
	} {
		c := command(order, state)
		c.Rev = 2
		k.putCommand(c)
	}
	k.crash()
	same(k, "still open", k.openOrders("lamp"), []uint64{1, 3, 5})
	same(k, "of who has none", k.openOrders("idle"), []uint64{})
	same(k, "busy", k.busy(), []accounts.Name{"a", "b", "c", "lam", "lamp", "lamp2"})
	c = command(2, devices.CommandSucceeded)
	c.Late, c.Rev = &devices.Outcome{State: devices.CommandFailed}, 3
	k.putCommand(c)
	same(k, "not open again", k.openOrders("lamp"), []uint64{1, 3, 5})
	for _, order := range []uint64{1, 3, 5} {
		c := k.command("lamp", command(order, "").ID)
		c.State, c.Rev = devices.CommandCanceled, c.Rev+1
		k.putCommand(c)
	}
	k.reopen()
	same(k, "all done", k.openOrders("lamp"), []uint64{})
	same(k, "others are busy", k.busy(), []accounts.Name{"a", "b", "c", "lam", "lamp2"})
}

// backwards reads what a device has from the newest on, two at a time.
func backwards[T any](
	k *kit, what string, order func(T) uint64, page func(before uint64, limit int) ([]T, error),
) (out []uint64) {
	k.Helper()
	for before := uint64(0); ; {
		some, err := page(before, 2)
		k.ok(what, err)
		for _, t := range some {
			before = order(t)
			out = append(out, before)
		}
		if len(some) < 2 {
			break
		}
	}
	none, err := page(0, 0)
	k.ok(what, err)
	equal(k, what+", none of them", len(none), 0)
	return out
}

func (k *kit) commandsOf(did accounts.Name) []uint64 {
	k.Helper()
	order := func(c devices.Command) uint64 { return c.Order }
	return backwards(k, "commands of "+string(did), order, func(before uint64, limit int) ([]devices.Command, error) {
		return k.devices().CommandsOf(k.ctx(), did, before, limit)
	})
}

func testCommandsOf(k *kit) {
	same(k, "none", k.commandsOf("lamp"), []uint64{})
	for _, order := range []uint64{3, 1, 300, 7, 1 << 40} {
		k.putCommand(command(order, devices.CommandQueued))
	}
	for _, did := range []accounts.Name{"lam", "lamp2"} {
		c := command(2, devices.CommandQueued)
		c.Device = did
		k.putCommand(c)
	}
	same(k, "commands", k.commandsOf("lamp"), []uint64{1 << 40, 300, 7, 3, 1})
	some, err := k.devices().CommandsOf(k.ctx(), "lamp", 7, 1)
	k.ok("commands", err)
	same(k, "what is listed", some, []devices.Command{command(3, devices.CommandQueued)})
	some, err = k.devices().CommandsOf(k.ctx(), "lamp", 1, 1)
	k.ok("commands", err)
	same(k, "before the first one", some, []devices.Command{})
	same(k, "another's", k.commandsOf("lam"), []uint64{2})
}

func (k *kit) purgeCommands(before int64, limit int) int {
	k.Helper()
	n, err := k.devices().PurgeCommands(k.ctx(), time.UnixMilli(before), limit)
	k.ok("purge commands", err)
	return n
}

func testPurgeCommands(k *kit) {
	equal(k, "none", k.purgeCommands(1<<41, 9), 0)
	for order := range uint64(8) {
		state := devices.CommandSucceeded
		if order == 3 {
			state = devices.CommandQueued
		}
		k.putCommand(command(order+1, state))
	}
	equal(k, "none so old", k.purgeCommands(1001, 9), 0)
	equal(k, "no more than none", k.purgeCommands(1<<41, 0), 0)
	equal(k, "the first", k.purgeCommands(1006, 3), 3)
	k.crash()
	same(k, "left", k.commandsOf("lamp"), []uint64{8, 7, 6, 5, 4})
	equal(k, "the others before then", k.purgeCommands(1006, 3), 1)
	equal(k, "none before then", k.purgeCommands(1006, 3), 0)
	same(k, "left", k.commandsOf("lamp"), []uint64{8, 7, 6, 4})
	_, err := k.devices().Command(k.ctx(), "lamp", command(1, "").ID)
	k.is("forgotten", err, devices.ErrUnknown)
	same(k, "open", k.openOrders("lamp"), []uint64{4})
	c := command(4, devices.CommandExpired)
	c.Rev = 2
	k.putCommand(c)
	c = command(1, devices.CommandQueued) // its place is free again
	k.putCommand(c)
	equal(k, "the rest", k.purgeCommands(1<<41, 100), 4)
	k.reopen()
	same(k, "left", k.commandsOf("lamp"), []uint64{1})
}

func event(order uint64, id string) devices.Event {
	return devices.Event{
		Device: "lamp", ID: id, Order: order, Type: "door", Severity: "warn", TS: int64(900 + order), Stored: int64(1000 + order),
		Text: "open ☀", Data: json.RawMessage(`{"a":1.0}`), Alarm: devices.AlarmCleared,
	}
}

func (k *kit) putEvent(e devices.Event) {
	k.Helper()
	stored, again, err := k.devices().PutEvent(k.ctx(), e)
	k.ok("put event "+e.ID, err)
	equal(k, "again", again, false)
	same(k, "stored", stored, e)
}

func (k *kit) lastEvent(did accounts.Name) uint64 {
	k.Helper()
	n, err := k.devices().LastEvent(k.ctx(), did)
	k.ok("last event", err)
	return n
}

func testEvent(k *kit) {
	equal(k, "last of none", k.lastEvent("lamp"), 0)
	k.putEvent(event(1, "a"))
	k.crash()
	equal(k, "last", k.lastEvent("lamp"), 1)
	again := event(2, "a")
	again.Text = "otherwise"
	stored, was, err := k.devices().PutEvent(k.ctx(), again)
	k.ok("put again", err)
	equal(k, "again", was, true)
	same(k, "the first one", stored, event(1, "a"))
	equal(k, "last", k.lastEvent("lamp"), 1)
	_, _, err = k.devices().PutEvent(k.ctx(), event(1, "b"))
	k.is("same order", err, devices.ErrChanged)
	k.putEvent(event(2, "b"))
	other := event(1, "a")
	other.Device, other.Data = "lam", nil
	k.putEvent(other)
	equal(k, "last of another device", k.lastEvent("lam"), 1)
	equal(k, "last", k.lastEvent("lamp"), 2)
}

func testEventRace(k *kit) {
	var stored, placed atomic.Int64
	each(8, func(i int) {
		e := event(uint64(i+1), "same")
		got, again, err := k.devices().PutEvent(k.ctx(), e)
		k.ok("same id", err)
		if !again {
			stored.Add(1)
			same(k, "stored", got, e)
		}
		_, _, err = k.devices().PutEvent(k.ctx(), event(100, fmt.Sprint(i)))
		if err == nil {
			placed.Add(1)
			return
		}
		k.is("same order", err, devices.ErrChanged)
	})
	equal(k, "events of one id", stored.Load(), 1)
	equal(k, "events of one order", placed.Load(), 1)
	equal(k, "events", len(k.eventsOf("lamp")), 2)
}

func (k *kit) eventsOf(did accounts.Name) []uint64 {
	k.Helper()
	order := func(e devices.Event) uint64 { return e.Order }
	return backwards(k, "events of "+string(did), order, func(before uint64, limit int) ([]devices.Event, error) {
		return k.devices().EventsOf(k.ctx(), did, before, limit)
	})
}

func testEventsOf(k *kit) {
	same(k, "none", k.eventsOf("lamp"), []uint64{})
	for _, order := range []uint64{3, 1, 300, 7, 1 << 40} {
		k.putEvent(event(order, fmt.Sprint(order)))
	}
	for _, did := range []accounts.Name{"lam", "lamp2"} {
		e := event(2, "x")
		e.Device = did
		k.putEvent(e)
	}
	k.crash()
	same(k, "events", k.eventsOf("lamp"), []uint64{1 << 40, 300, 7, 3, 1})
	equal(k, "last", k.lastEvent("lamp"), 1<<40)
	some, err := k.devices().EventsOf(k.ctx(), "lamp", 7, 1)
	k.ok("events", err)
	same(k, "what is listed", some, []devices.Event{event(3, "3")})
}

func (k *kit) purgeEvents(before int64, limit int) int {
	k.Helper()
	n, err := k.devices().PurgeEvents(k.ctx(), time.UnixMilli(before), limit)
	k.ok("purge events", err)
	return n
}

func testPurgeEvents(k *kit) {
	equal(k, "none", k.purgeEvents(1<<41, 9), 0)
	dids := []accounts.Name{"lamp", "a", "z"}
	for _, did := range dids {
		for order := range uint64(5) {
			e := event(order+1, fmt.Sprint(order))
			e.Device = did
			k.putEvent(e)
		}
	}
	left := func() (n int) {
		for _, did := range dids {
			n += len(k.eventsOf(did))
		}
		return n
	}
	equal(k, "none so old", k.purgeEvents(1001, 9), 0)
	equal(k, "no more than none", k.purgeEvents(1<<41, 0), 0)
	equal(k, "some", k.purgeEvents(1003, 4), 4)
	equal(k, "left", left(), 11)
	equal(k, "the others before then", k.purgeEvents(1003, 4), 2)
	k.crash()
	equal(k, "none before then", k.purgeEvents(1003, 4), 0)
	for i, n := range []int{4, 2, 0} {
		equal(k, fmt.Sprint("purge ", i), k.purgeEvents(1<<41, 4), n)
	}
	for _, did := range dids {
		same(k, "the last one stays", k.eventsOf(did), []uint64{5})
		equal(k, "last", k.lastEvent(did), 5)
	}
	_, again, err := k.devices().PutEvent(k.ctx(), event(6, "4"))
	k.ok("put again", err)
	equal(k, "the last one is known", again, true)
	k.putEvent(event(6, "0")) // that was forgotten
	k.reopen()
	equal(k, "what was the last", k.purgeEvents(1<<41, 9), 1)
	same(k, "left", k.eventsOf("lamp"), []uint64{6})
}

func testAlarm(k *kit) {
	none, err := k.devices().Alarm(k.ctx(), "lamp", "hot")
	k.ok("alarm", err)
	equal(k, "of one that was never raised", none, devices.Alarm{})
	a := devices.Alarm{
		Device: "lamp", Type: "hot", State: devices.AlarmActive, Severity: "crit", Text: "90 °C", Since: 5, Last: 6,
		Count: 2, By: bob, Changed: 7, Rev: 1,
	}
	k.ok("put", k.devices().PutAlarm(k.ctx(), a))
	k.crash()
	got, err := k.devices().Alarm(k.ctx(), "lamp", "hot")
	k.ok("alarm", err)
	same(k, "alarm", got, a)
	for _, kind := range []string{"z", "a", "hotter"} {
		k.ok("put", k.devices().PutAlarm(k.ctx(), devices.Alarm{Device: "lamp", Type: kind, State: devices.AlarmActive, Rev: 1}))
	}
	others := devices.Alarm{Device: "lam", Type: "b", State: devices.AlarmActive, Rev: 1}
	k.ok("put another's", k.devices().PutAlarm(k.ctx(), others))
	a.State, a.Rev = devices.AlarmCleared, 2
	k.ok("put", k.devices().PutAlarm(k.ctx(), a))
	k.reopen()
	kind := func(a devices.Alarm) accounts.Name { return accounts.Name(a.Type) }
	all := pages(k, "alarms", kind, func(after accounts.Name, limit int) ([]devices.Alarm, error) {
		return k.devices().Alarms(k.ctx(), "lamp", string(after), limit)
	})
	same(k, "alarms", all, []accounts.Name{"a", "hot", "hotter", "z"})
	some, err := k.devices().Alarms(k.ctx(), "lamp", "a", 1)
	k.ok("alarms", err)
	same(k, "what is listed", some, []devices.Alarm{a})
	same(k, "another's", slices.Compact(k.alarmsOf("lam")), []string{"b"})
}

func (k *kit) alarmsOf(did accounts.Name) (out []string) {
	k.Helper()
	all, err := k.devices().Alarms(k.ctx(), did, "", 100)
	k.ok("alarms", err)
	for _, a := range all {
		out = append(out, a.Type)
	}
	return out
}
