package pebble

import (
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/devices"
)

type thingRow struct {
	Type    string        `cbor:"1,keyasint,omitempty"`
	Model   string        `cbor:"2,keyasint,omitempty"`
	Title   string        `cbor:"3,keyasint,omitempty"`
	Owner   accounts.Name `cbor:"4,keyasint,omitempty"`
	Home    string        `cbor:"5,keyasint,omitempty"`
	Room    string        `cbor:"6,keyasint,omitempty"`
	Tags    []string      `cbor:"7,keyasint,omitempty"`
	Serial  bool          `cbor:"8,keyasint,omitempty"`
	Sleepy  bool          `cbor:"9,keyasint,omitempty"`
	Bridge  accounts.Name `cbor:"10,keyasint,omitempty"`
	Grants  []grantRow    `cbor:"11,keyasint,omitempty"`
	Created int64         `cbor:"12,keyasint,omitempty"` // Unix milliseconds, as all times of devices
	Epoch   uint64        `cbor:"13,keyasint,omitempty"`
	Rev     uint64        `cbor:"14,keyasint"`
	Gone    bool          `cbor:"15,keyasint,omitempty"`
	Moved   int64         `cbor:"16,keyasint,omitempty"`
	Stale   bool          `cbor:"17,keyasint,omitempty"`
}

type grantRow struct {
	ID    string         `cbor:"1,keyasint"`
	To    accounts.Name  `cbor:"2,keyasint"`
	Verbs []devices.Verb `cbor:"3,keyasint,omitempty"`
	By    accounts.Name  `cbor:"4,keyasint,omitempty"`
	From  int64          `cbor:"5,keyasint,omitempty"`
	Until int64          `cbor:"6,keyasint,omitempty"`
	Made  int64          `cbor:"7,keyasint,omitempty"`

	Weekly []windowRow `cbor:"8,keyasint,omitempty"`
	Zone   string      `cbor:"9,keyasint,omitempty"`
}

type windowRow struct {
	Days []time.Weekday `cbor:"1,keyasint,omitempty"`
	From int            `cbor:"2,keyasint,omitempty"`
	To   int            `cbor:"3,keyasint,omitempty"`
}

func grantRowOf(g devices.Grant) grantRow {
	r := grantRow{ID: g.ID, To: g.To, Verbs: g.Verbs, By: g.By, From: g.From, Until: g.Until, Made: g.Made, Zone: g.Zone}
	for _, w := range g.Weekly {
		r.Weekly = append(r.Weekly, windowRow(w))
	}
	return r
}

func (r grantRow) grant() devices.Grant {
	g := devices.Grant{ID: r.ID, To: r.To, Verbs: r.Verbs, By: r.By, From: r.From, Until: r.Until, Made: r.Made, Zone: r.Zone}
	for _, w := range r.Weekly {
		g.Weekly = append(g.Weekly, devices.Window(w))
	}
	return g
}

func thingRowOf(t devices.Thing) thingRow {
	r := thingRow{
		Type: t.Type, Model: t.Model, Title: t.Title, Owner: t.Owner, Home: t.Home, Room: t.Room, Tags: t.Tags,
		Serial: t.Serial, Sleepy: t.Sleepy, Bridge: t.Bridge, Created: t.Created, Epoch: t.Epoch, Rev: t.Rev, Gone: t.Gone,
		Moved: t.Moved, Stale: t.Stale,
	}
	for _, g := range t.Grants {
		r.Grants = append(r.Grants, grantRowOf(g))
	}
	return r
}

func (r thingRow) thing(did accounts.Name) devices.Thing {
	t := devices.Thing{
		ID: did, Type: r.Type, Model: r.Model, Title: r.Title, Owner: r.Owner, Home: r.Home, Room: r.Room, Tags: r.Tags,
		Serial: r.Serial, Sleepy: r.Sleepy, Bridge: r.Bridge, Created: r.Created, Epoch: r.Epoch, Rev: r.Rev, Gone: r.Gone,
		Moved: r.Moved, Stale: r.Stale,
	}
	for _, g := range r.Grants {
		t.Grants = append(t.Grants, g.grant())
	}
	return t
}

// shadowRow is a devices.ShadowText.
type shadowRow struct {
	Desired      []byte `cbor:"1,keyasint,omitempty"`
	DesiredMeta  []byte `cbor:"2,keyasint,omitempty"`
	Reported     []byte `cbor:"3,keyasint,omitempty"`
	ReportedMeta []byte `cbor:"4,keyasint,omitempty"`
	Version      uint64 `cbor:"5,keyasint"`
	Deleted      bool   `cbor:"6,keyasint,omitempty"`
}

// there says whether there is a shadow.
func (r shadowRow) there() bool { return r.Version > 0 && !r.Deleted }

type commandRow struct {
	ID        string               `cbor:"1,keyasint"`
	Name      string               `cbor:"2,keyasint,omitempty"`
	Args      []byte               `cbor:"3,keyasint,omitempty"`
	By        accounts.Name        `cbor:"4,keyasint,omitempty"`
	MID       string               `cbor:"5,keyasint,omitempty"`
	Key       string               `cbor:"6,keyasint,omitempty"`
	Created   int64                `cbor:"7,keyasint,omitempty"`
	Expires   int64                `cbor:"8,keyasint,omitempty"`
	Timeout   int64                `cbor:"9,keyasint,omitempty"`
	State     devices.CommandState `cbor:"10,keyasint"`
	Rev       uint64               `cbor:"11,keyasint"`
	Sent      int64                `cbor:"12,keyasint,omitempty"`
	Delivered int64                `cbor:"13,keyasint,omitempty"`
	Percent   int                  `cbor:"14,keyasint,omitempty"`
	Outcome   outcomeRow           `cbor:"15,keyasint,omitzero"`
	Late      *outcomeRow          `cbor:"16,keyasint,omitempty"`
}

type outcomeRow struct {
	State  devices.CommandState `cbor:"1,keyasint,omitempty"`
	Result []byte               `cbor:"2,keyasint,omitempty"`
	Code   string               `cbor:"3,keyasint,omitempty"`
	Text   string               `cbor:"4,keyasint,omitempty"`
}

func outcomeRowOf(o devices.Outcome) outcomeRow {
	return outcomeRow{State: o.State, Result: o.Result, Code: o.Code, Text: o.Text}
}

func (r outcomeRow) outcome() devices.Outcome {
	return devices.Outcome{State: r.State, Result: r.Result, Code: r.Code, Text: r.Text}
}

func commandRowOf(c devices.Command) commandRow {
	r := commandRow{
		ID: c.ID, Name: c.Name, Args: c.Args, By: c.By, MID: c.MID, Key: c.Key,
		Created: c.Created, Expires: c.Expires, Timeout: c.Timeout,
		State: c.State, Rev: c.Rev, Sent: c.Sent, Delivered: c.Delivered, Percent: c.Percent, Outcome: outcomeRowOf(c.Outcome),
	}
	if c.Late != nil {
		late := outcomeRowOf(*c.Late)
		r.Late = &late
	}
	return r
}

func (r commandRow) command(did accounts.Name, order uint64) devices.Command {
	c := devices.Command{
		ID: r.ID, Device: did, Order: order, Name: r.Name, Args: r.Args, By: r.By, MID: r.MID, Key: r.Key,
		Created: r.Created, Expires: r.Expires, Timeout: r.Timeout,
		State: r.State, Rev: r.Rev, Sent: r.Sent, Delivered: r.Delivered, Percent: r.Percent, Outcome: r.Outcome.outcome(),
	}
	if r.Late != nil {
		late := r.Late.outcome()
		c.Late = &late
	}
	return c
}

type eventRow struct {
	ID       string `cbor:"1,keyasint"`
	Type     string `cbor:"2,keyasint,omitempty"`
	Severity string `cbor:"3,keyasint,omitempty"`
	TS       int64  `cbor:"4,keyasint,omitempty"`
	Stored   int64  `cbor:"5,keyasint,omitempty"`
	Text     string `cbor:"6,keyasint,omitempty"`
	Data     []byte `cbor:"7,keyasint,omitempty"`

	Alarm devices.AlarmState `cbor:"8,keyasint,omitempty"`
}

func eventRowOf(e devices.Event) eventRow {
	return eventRow{
		ID: e.ID, Type: e.Type, Severity: e.Severity, TS: e.TS, Stored: e.Stored, Text: e.Text, Data: e.Data,
		Alarm: e.Alarm,
	}
}

func (r eventRow) event(did accounts.Name, order uint64) devices.Event {
	return devices.Event{
		Device: did, Order: order, ID: r.ID, Type: r.Type, Severity: r.Severity, TS: r.TS, Stored: r.Stored, Text: r.Text,
		Data: r.Data, Alarm: r.Alarm,
	}
}

type alarmRow struct {
	State    devices.AlarmState `cbor:"1,keyasint"`
	Severity string             `cbor:"2,keyasint,omitempty"`
	Text     string             `cbor:"3,keyasint,omitempty"`
	Since    int64              `cbor:"4,keyasint,omitempty"`
	Last     int64              `cbor:"5,keyasint,omitempty"`
	Count    uint64             `cbor:"6,keyasint,omitempty"`
	By       accounts.Name      `cbor:"7,keyasint,omitempty"`
	Changed  int64              `cbor:"8,keyasint,omitempty"`
	Rev      uint64             `cbor:"9,keyasint"`
}

func alarmRowOf(a devices.Alarm) alarmRow {
	return alarmRow{
		State: a.State, Severity: a.Severity, Text: a.Text, Since: a.Since, Last: a.Last, Count: a.Count, By: a.By,
		Changed: a.Changed, Rev: a.Rev,
	}
}

func (r alarmRow) alarm(did accounts.Name, kind string) devices.Alarm {
	return devices.Alarm{
		Device: did, Type: kind, State: r.State, Severity: r.Severity, Text: r.Text, Since: r.Since, Last: r.Last, Count: r.Count,
		By: r.By, Changed: r.Changed, Rev: r.Rev,
	}
}

type presenceRow struct {
	State  devices.PresenceState `cbor:"1,keyasint"`
	Since  int64                 `cbor:"2,keyasint,omitempty"`
	Seen   int64                 `cbor:"3,keyasint,omitempty"`
	Reason string                `cbor:"4,keyasint,omitempty"`
}

func presenceRowOf(p devices.Presence) presenceRow {
	return presenceRow{State: p.State, Since: p.Since, Seen: p.Seen, Reason: p.Reason}
}

func (r presenceRow) presence(did accounts.Name) devices.Presence {
	return devices.Presence{Device: did, State: r.State, Since: r.Since, Seen: r.Seen, Reason: r.Reason}
}
