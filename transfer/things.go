package transfer

import (
	"time"

	"github.com/magpie-im/magpie/accounts"
	"github.com/magpie-im/magpie/chat"
	"github.com/magpie-im/magpie/devices"
)

// Thing is what is known of a device besides how it logs in. Things are sorted by their ids.
type Thing struct {
	ID      accounts.Name     `json:"id"`
	Type    Text              `json:"type,omitempty"`
	Model   Text              `json:"model,omitempty"`
	Title   Text              `json:"title,omitempty"`
	Owner   accounts.Name     `json:"owner,omitempty"`
	Home    chat.Conversation `json:"home,omitempty"`
	Room    Text              `json:"room,omitempty"`
	Tags    []Text            `json:"tags,omitempty"`
	Serial  bool              `json:"serial,omitempty"`
	Sleepy  bool              `json:"sleepy,omitempty"`
	Bridge  accounts.Name     `json:"bridge,omitempty"`
	Grants  []Grant           `json:"grants,omitempty"`
	Created int64             `json:"created,omitempty"`
	Epoch   uint64            `json:"epoch,omitempty"`
	Rev     uint64            `json:"rev"`
	Gone    bool              `json:"gone,omitempty"`
	Moved   int64             `json:"moved,omitempty"`
	Stale   bool              `json:"stale,omitempty"`
}

// Grant lets somebody do something with a thing.
type Grant struct {
	ID    Text          `json:"id,omitempty"`
	To    accounts.Name `json:"to"`
	Verbs []Text        `json:"verbs,omitempty"`
	By    accounts.Name `json:"by,omitempty"`
	From  int64         `json:"from,omitempty"`
	Until int64         `json:"until,omitempty"`
	Made  int64         `json:"made,omitempty"`

	Weekly []Window `json:"weekly,omitempty"`
	Zone   Text     `json:"zone,omitempty"`
}

// Window is a part of the week in which a grant holds: days (0 is Sunday) and minutes of the day.
type Window struct {
	Days []time.Weekday `json:"days,omitempty"`
	From int            `json:"from,omitempty"`
	To   int            `json:"to,omitempty"`
}

// Shadow is what a device has said that it is, and what it should be, also one that was deleted. Shadows are sorted by device and
// name.
type Shadow struct {
	Device       accounts.Name `json:"device"`
	Name         Text          `json:"name,omitempty"` // absent: the classic one
	Version      uint64        `json:"version"`
	Deleted      bool          `json:"deleted,omitempty"`
	Desired      Body          `json:"desired,omitempty"`
	DesiredMeta  Body          `json:"desired_meta,omitempty"`
	Reported     Body          `json:"reported,omitempty"`
	ReportedMeta Body          `json:"reported_meta,omitempty"`
}

// Command is something that a device was told to do. Commands are sorted by device and order.
type Command struct {
	Device    accounts.Name        `json:"device"`
	Order     uint64               `json:"order"`
	ID        Text                 `json:"id"`
	Name      Text                 `json:"name,omitempty"`
	Args      Body                 `json:"args,omitempty"`
	By        accounts.Name        `json:"by,omitempty"`
	MID       Text                 `json:"mid,omitempty"`
	Key       Text                 `json:"key,omitempty"`
	Created   int64                `json:"created,omitempty"`
	Expires   int64                `json:"expires,omitempty"`
	Timeout   int64                `json:"timeout,omitempty"`
	State     devices.CommandState `json:"state"`
	Rev       uint64               `json:"rev"`
	Sent      int64                `json:"sent,omitempty"`
	Delivered int64                `json:"delivered,omitempty"`
	Percent   int                  `json:"pct,omitempty"`
	Outcome   Outcome              `json:"outcome,omitzero"`
	Late      *Outcome             `json:"late,omitempty"`
}

// Outcome is what a device says of what became of a command.
type Outcome struct {
	State  devices.CommandState `json:"state,omitempty"`
	Result Body                 `json:"result,omitempty"`
	Code   Text                 `json:"code,omitempty"`
	Text   Text                 `json:"text,omitempty"`
}

// Event is something that has happened to a device. Events are sorted by device and order.
type Event struct {
	Device   accounts.Name      `json:"device"`
	Order    uint64             `json:"order"`
	ID       Text               `json:"id"`
	Type     Text               `json:"type,omitempty"`
	Severity Text               `json:"severity,omitempty"`
	TS       int64              `json:"ts,omitempty"`
	Stored   int64              `json:"stored,omitempty"`
	Text     Text               `json:"text,omitempty"`
	Data     Body               `json:"data,omitempty"`
	Alarm    devices.AlarmState `json:"alarm,omitempty"`
}

// Alarm is how an alarm of a device stands. Alarms are sorted by device and type.
type Alarm struct {
	Device   accounts.Name      `json:"device"`
	Type     Text               `json:"type"`
	State    devices.AlarmState `json:"state"`
	Severity Text               `json:"severity,omitempty"`
	Text     Text               `json:"text,omitempty"`
	Since    int64              `json:"since,omitempty"`
	Last     int64              `json:"last,omitempty"`
	Count    uint64             `json:"count,omitempty"`
	By       accounts.Name      `json:"by,omitempty"`
	Changed  int64              `json:"changed,omitempty"`
	Rev      uint64             `json:"rev"`
}

// Presence is what is known of whether a device is there. They are sorted by their devices.
type Presence struct {
	Device accounts.Name         `json:"device"`
	State  devices.PresenceState `json:"state"`
	Since  int64                 `json:"since,omitempty"`
	Seen   int64                 `json:"seen,omitempty"`
	Reason Text                  `json:"reason,omitempty"`
}

// Of implements Record.
func (*Thing) Of() Kind { return KindThing }

// Of implements Record.
func (*Shadow) Of() Kind { return KindShadow }

// Of implements Record.
func (*Command) Of() Kind { return KindCommand }

// Of implements Record.
func (*Event) Of() Kind { return KindEvent }

// Of implements Record.
func (*Alarm) Of() Kind { return KindAlarm }

// Of implements Record.
func (*Presence) Of() Kind { return KindPresence }
