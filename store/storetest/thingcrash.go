package storetest

import (
	"errors"
	"fmt"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

// testThingsCrash has many change few things, and read them. Nobody who was told a revision sees an older one after a crash.
func testThingsCrash(k *kit) {
	for round := range k.rounds() {
		w := &witness{acked: map[string]string{}}
		knew := k.crashUnderLoad(w, 8, k.few(40), func(store Store, g, step int) error {
			did := accounts.Name(fmt.Sprintf("d%d", g%3))
			for _, do := range []func(devices.Store, accounts.Name, string, *witness) error{
				k.crashThing, k.crashCommand, k.crashEvent, k.crashPresence,
			} {
				err := do(store.Devices(), did, fmt.Sprintf("%d-%d-%d", round, g, step), w)
				if err != nil && !errors.Is(err, devices.ErrChanged) {
					return err
				}
			}
			return nil
		})
		for about, said := range knew {
			var what, id string
			var rev uint64
			var did accounts.Name
			if _, err := fmt.Sscanf(about, "%s %s %s %d", &what, &did, &id, &rev); err != nil {
				k.Fatalf("%s: %v", about, err)
			}
			k.checkSurvived(what, did, id, rev, said)
		}
	}
}

func (k *kit) checkSurvived(what string, did accounts.Name, id string, rev uint64, said string) {
	k.Helper()
	var is uint64
	var now any
	switch what {
	case "thing":
		t := k.thing(did)
		is, now = t.Rev, t
	case "command":
		c := k.command(did, id)
		is, now = c.Rev, c
	case "event":
		e, again, err := k.devices().PutEvent(k.ctx(), devices.Event{Device: did, ID: id})
		k.ok("put event again", err)
		equal(k, "event "+id+" was there", again, true)
		is, now = e.Order, e
	}
	switch {
	case is < rev:
		k.Errorf("%s %s %s: got %d, and it was %d", what, did, id, is, rev)
	case is == rev && text(now) != said:
		k.Errorf("%s %s %s: got %s, and it was %s", what, did, id, text(now), said)
	}
}

func (k *kit) crashThing(d devices.Store, did accounts.Name, step string, w *witness) error {
	t, err := d.Thing(k.ctx(), did)
	switch {
	case err == nil:
		w.said(fmt.Sprintf("thing %s - %d", did, t.Rev), t)
	case !errors.Is(err, devices.ErrUnknown):
		return err
	}
	t = devices.Thing{ID: did, Title: step, Owner: alice, Rev: t.Rev + 1}
	if err = d.PutThing(k.ctx(), t); err == nil {
		w.said(fmt.Sprintf("thing %s - %d", did, t.Rev), t)
	}
	return err
}

func (k *kit) crashCommand(d devices.Store, did accounts.Name, step string, w *witness) error {
	newest, err := d.CommandsOf(k.ctx(), did, 0, 1)
	if err != nil {
		return err
	}
	c := devices.Command{ID: step, Device: did, Order: 1, State: devices.CommandQueued, Rev: 1}
	if len(newest) > 0 {
		w.said(fmt.Sprintf("command %s %s %d", did, newest[0].ID, newest[0].Rev), newest[0])
		c.Order = newest[0].Order + 1
	}
	for _, c.State = range []devices.CommandState{devices.CommandQueued, devices.CommandSent, devices.CommandSucceeded} {
		if err := d.PutCommand(k.ctx(), c); err != nil {
			return err
		}
		w.said(fmt.Sprintf("command %s %s %d", did, c.ID, c.Rev), c)
		c.Rev++
	}
	return nil
}

func (k *kit) crashEvent(d devices.Store, did accounts.Name, step string, w *witness) error {
	last, err := d.LastEvent(k.ctx(), did)
	if err != nil {
		return err
	}
	e := devices.Event{Device: did, ID: step, Order: last + 1, Stored: int64(last)}
	if _, _, err = d.PutEvent(k.ctx(), e); err == nil {
		w.said(fmt.Sprintf("event %s %s %d", did, e.ID, e.Order), e)
	}
	return err
}

func (k *kit) crashPresence(d devices.Store, did accounts.Name, _ string, _ *witness) error {
	return d.PutPresences(k.ctx(), []devices.Presence{{Device: did, State: devices.Online}})
}
