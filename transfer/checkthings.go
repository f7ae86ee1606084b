package transfer

import (
	"encoding/json"

	"github.com/magpie-im/magpie/accounts"
)

// listing follows what a device has of a kind, in its order.
type listing struct {
	kind   Kind
	device accounts.Name
	ids    map[Text]uint64 // the order of each
}

// things checks what is known of devices. What a device has may be older than what is known of it as a thing.
func (c *checker) things(r Record) {
	switch r := r.(type) {
	case *Thing:
		c.rev("thing", r.ID, "", r.Rev)
	case *Shadow:
		c.rev("shadow", r.Device, r.Name, r.Version)
		c.section(r, "desired", r.Desired, r.DesiredMeta)
		c.section(r, "reported", r.Reported, r.ReportedMeta)
	case *Command:
		c.rev("command", r.Device, r.ID, r.Rev)
		c.named(KindCommand, r.Device, r.ID, r.Order)
		c.value(r.Args, "args of command", r.Device, r.ID)
		c.value(r.Outcome.Result, "result of command", r.Device, r.ID)
		if r.Late != nil {
			c.value(r.Late.Result, "late result of command", r.Device, r.ID)
		}
	case *Event:
		c.named(KindEvent, r.Device, r.ID, r.Order)
		c.value(r.Data, "data of event", r.Device, r.ID)
	case *Alarm:
		c.rev("alarm", r.Device, r.Type, r.Rev)
	case *Kept:
		if r.Rev == 0 || r.Kind == "" || r.ID == "" || r.Due < 0 {
			c.report.Add("kept %q %q of %q: it has no revision, no whole key, or is due before 1970", r.Kind, r.ID, r.Scope)
		}
	}
}

func (c *checker) rev(what string, device accounts.Name, name Text, rev uint64) {
	if rev == 0 {
		c.report.Add("%s %q of %s: it has no revision", what, name, device)
	}
}

// named checks that no two of a device have one id.
func (c *checker) named(kind Kind, device accounts.Name, id Text, order uint64) {
	if c.listing.kind != kind || c.listing.device != device {
		c.listing = listing{kind, device, map[Text]uint64{}}
	}
	if other, there := c.listing.ids[id]; there {
		c.report.Add("%s %q of %s: it is %d and %d", kind, id, device, other, order)
	}
	c.listing.ids[id] = order
}

// value checks what clients are sent as it is.
func (c *checker) value(b Body, what string, device accounts.Name, id Text) {
	if len(b) > 0 && !json.Valid(b) {
		c.report.Add("%s %q of %s: it is no JSON", what, id, device)
	}
}

func (c *checker) section(s *Shadow, name string, state, meta Body) {
	c.value(state, name+" state of shadow", s.Device, s.Name)
	c.value(meta, name+" metadata of shadow", s.Device, s.Name)
	switch {
	case (len(state) == 0) != (len(meta) == 0):
		c.report.Add("shadow %q of %s: %s state without metadata, or the other way round", s.Name, s.Device, name)
	case s.Deleted && len(state) > 0:
		c.report.Add("shadow %q of %s: it is deleted, and has a %s state", s.Name, s.Device, name)
	}
}
