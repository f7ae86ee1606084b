package devices

import (
	"encoding/json"

	"github.com/magpie-im/magpie/accounts"
)

// Event is something that happened to a device. Times are in Unix milliseconds.
type Event struct {
	Device   accounts.Name
	ID       string // chosen by the device, or by the server
	Order    uint64 // grows with each event of the device
	Type     string
	Severity string // "info", "warn", "crit"
	TS       int64  // when it happened
	Stored   int64  // when it was stored
	Text     string
	Data     json.RawMessage // a JSON value; nil: none
	Alarm    AlarmState      // what it means for the alarm of its type; empty: nothing
}

// AlarmState is how an alarm stands.
type AlarmState string

// States of alarms.
const (
	AlarmActive       AlarmState = "active"
	AlarmAcknowledged AlarmState = "ack"
	AlarmCleared      AlarmState = "cleared"
)

// Alarm is the one alarm of a type that a device has. Times are in Unix milliseconds.
type Alarm struct {
	Device   accounts.Name
	Type     string
	State    AlarmState
	Severity string
	Text     string
	Since    int64         // when it became active
	Last     int64         // when the device has said so last
	Count    uint64        // how often it has, since then
	By       accounts.Name // who has acknowledged it
	Changed  int64
	Rev      uint64 // grows with each change; 0: it is not stored
}
