package devices

import (
	"context"
	"errors"
	"time"

	"github.com/magpie-im/magpie/accounts"
)

var (
	// ErrUnknown means that there is no such device, command, event or alarm.
	ErrUnknown = errors.New("no such device")
	// ErrChanged means that something has been changed since it was read: it is to be read again.
	ErrChanged = errors.New("changed meanwhile")
	// ErrUnavailable means that the store cannot write or answer now.
	ErrUnavailable = accounts.ErrUnavailable
)

// Store keeps everything of devices but how they log in. When a writing method returns nil, what it wrote survives a
// crash, and nothing is given that would not. Every method is safe for concurrent use, also by several processes where
// a store can have them, and may fail with an error that wraps ErrUnavailable. What has a Rev (a shadow: a Version) is
// written only if that is one higher than what is stored, where nothing counts as 0; otherwise ErrChanged.
type Store interface {
	Registry
	Shadows
	Commands
	Events
	Presences
	// ForgetThing removes what is stored of a device but the thing itself and whether it is there: commands, events, alarms, and
	// shadows, which become Deleted with the version that follows. Of one that is gone nothing is left of those either. It may be
	// repeated, and nothing else is written of the device meanwhile.
	ForgetThing(ctx context.Context, did accounts.Name, gone bool) error
}

// Registry keeps things.
type Registry interface {
	// Thing gives a thing, also one that is Gone, or ErrUnknown.
	Thing(ctx context.Context, did accounts.Name) (Thing, error)
	// PutThing adds or replaces a thing. ErrChanged.
	PutThing(ctx context.Context, t Thing) error
	// ThingsOf gives up to limit things that somebody is among the Seers of, in the order of their names, those after after.
	ThingsOf(ctx context.Context, who, after accounts.Name, limit int) ([]Thing, error)
	// ThingsIn is the same for those that are in a home and not Gone.
	ThingsIn(ctx context.Context, home string, after accounts.Name, limit int) ([]Thing, error)
	// Things is the same for all, those that are Gone too.
	Things(ctx context.Context, after accounts.Name, limit int) ([]Thing, error)
}

// Shadows keeps shadows; the classic one of a device has the name "". Names are UTF-8.
type Shadows interface {
	// Shadow gives a shadow; one that was never written is a zero value.
	Shadow(ctx context.Context, did accounts.Name, name string) (Shadow, error)
	// PutShadow adds or replaces a shadow, also by one that is Deleted. ErrChanged.
	PutShadow(ctx context.Context, did accounts.Name, name string, s Shadow) error
	// ShadowNames gives up to limit names of a device's shadows that are There, in order, those after after. The classic one is
	// not among them.
	ShadowNames(ctx context.Context, did accounts.Name, after string, limit int) ([]string, error)
}

// Commands keeps commands.
type Commands interface {
	// Command gives a command of a device, or ErrUnknown.
	Command(ctx context.Context, did accounts.Name, cid string) (Command, error)
	// PutCommand adds or replaces a command. ErrChanged, also if there is another one of the device with its Order.
	PutCommand(ctx context.Context, c Command) error
	// OpenCommands gives all commands of a device whose state is not final, in their Order. Who puts them bounds how many they
	// are.
	OpenCommands(ctx context.Context, did accounts.Name) ([]Command, error)
	// Busy gives up to limit devices that have open commands, in the order of their names, those after after.
	Busy(ctx context.Context, after accounts.Name, limit int) ([]accounts.Name, error)
	// CommandsOf gives up to limit commands of a device, the newest first, those whose Order is before before (0: from the
	// newest).
	CommandsOf(ctx context.Context, did accounts.Name, before uint64, limit int) ([]Command, error)
	// PurgeCommands forgets up to limit commands whose state is final and that were made before before, and says how many they
	// were.
	PurgeCommands(ctx context.Context, before time.Time, limit int) (int, error)
}

// Events keeps events and alarms. Types of alarms are UTF-8.
type Events interface {
	// PutEvent stores an event. One with its ID is there already: that is given, and nothing is changed. ErrChanged: there is
	// another one with its Order.
	PutEvent(ctx context.Context, e Event) (stored Event, again bool, err error)
	// LastEvent gives the highest Order of a device's events; 0: there is none.
	LastEvent(ctx context.Context, did accounts.Name) (uint64, error)
	// EventsOf gives up to limit events of a device, the newest first, those whose Order is before before (0: from the newest).
	EventsOf(ctx context.Context, did accounts.Name, before uint64, limit int) ([]Event, error)
	// PurgeEvents forgets up to limit events that were stored before before, but not the last of a device, and says how many
	// they were.
	PurgeEvents(ctx context.Context, before time.Time, limit int) (int, error)
	// Alarm gives the alarm of a type; one that was never raised is a zero value.
	Alarm(ctx context.Context, did accounts.Name, kind string) (Alarm, error)
	// PutAlarm adds or replaces an alarm. ErrChanged.
	PutAlarm(ctx context.Context, a Alarm) error
	// Alarms gives up to limit alarms of a device in the order of their types, those after after.
	Alarms(ctx context.Context, did accounts.Name, after string, limit int) ([]Alarm, error)
}

// Presences keeps whether devices are there.
type Presences interface {
	// Presence gives what is known of a device; of one that was never there a Presence with an empty State.
	Presence(ctx context.Context, did accounts.Name) (Presence, error)
	// PutPresences replaces what is known of some devices, no device twice.
	PutPresences(ctx context.Context, all []Presence) error
	// There gives up to limit devices that are stored as Online, in the order of their names, those after after.
	There(ctx context.Context, after accounts.Name, limit int) ([]Presence, error)
}
