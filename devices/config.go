package devices

import (
	"fmt"
	"time"
)

// Config bounds what devices and those who tell them what to do may store. [DefaultConfig] has the defaults, which are those of
// docs/devices.md.
type Config struct {
	// ShadowSize is how large the state of a shadow may be, both sections together, in bytes of JSON. Default 32768; AWS has
	// 8192. 1024 to 1 MiB.
	ShadowSize int
	// ShadowDepth is how deep a section of a shadow may be nested. Default 6, as AWS has it. 1 to 64.
	ShadowDepth int
	// Shadows is how many named shadows a device may have. Default 10, as AWS has it; 0: none.
	Shadows int
	// OpenCommands is how many commands may wait for a device or be on their way to it. Default 100: a device that is away
	// for long is not given more than it can do. 1 to 10000.
	OpenCommands int
	// TTL is how long a command waits for its device if it does not say so. Default 30 s: nobody wants a door to open an hour
	// after he has asked for it. 1 s to LongestTTL.
	TTL time.Duration
	// Timeout is how long a device may take from the delivery of a command to its result, if the command does not say so.
	// Default 60 s. 1 s to LongestTTL.
	Timeout time.Duration
	// LongestTTL is the most that a command may say of either. Default 30 days. 1 min to 366 days.
	LongestTTL time.Duration
	// Args is how large the arguments of a command and the data of an event may be, in bytes of JSON. Default 16384. 0 to 1 MiB.
	Args int
	// KeepCommands is for how long commands are kept after they were given, if they are over; as long is a resend recognised
	// by its mid. Default 30 days. At least 7 days.
	KeepCommands time.Duration
	// KeepEvents is for how long events are kept. Default 30 days. At least a day.
	KeepEvents time.Duration
	// Grace is how long a device is shown as online after its last connection has ended. Default 3 s: a reconnect, or another
	// network. 0 to 1 h.
	Grace time.Duration
	// Return is how long after a start of the server a device that was online before is unknown, if nothing is heard of it:
	// then it is offline. Default 2 min, which is longer than most keep-alives. 0 to 1 h.
	Return time.Duration
}

// DefaultConfig is what is in force when nothing is said.
func DefaultConfig() Config {
	shadows := DefaultShadowLimits()
	return Config{
		ShadowSize:   shadows.Size,
		ShadowDepth:  shadows.Depth,
		Shadows:      10,
		OpenCommands: 100,
		TTL:          30 * time.Second,
		Timeout:      time.Minute,
		LongestTTL:   30 * day,
		Args:         16 << 10,
		KeepCommands: 30 * day,
		KeepEvents:   30 * day,
		Grace:        3 * time.Second,
		Return:       2 * time.Minute,
	}
}

const day = 24 * time.Hour

// Validate says what is wrong with c, naming the field.
func (c Config) Validate() error {
	for _, f := range []struct {
		name               string
		value, least, most int
	}{
		{"ShadowSize", c.ShadowSize, 1 << 10, 1 << 20},
		{"ShadowDepth", c.ShadowDepth, 1, 64},
		{"Shadows", c.Shadows, 0, 1000},
		{"OpenCommands", c.OpenCommands, 1, 10_000},
		{"Args", c.Args, 0, 1 << 20},
	} {
		if f.value < f.least || f.value > f.most {
			return fmt.Errorf("devices: %s: %d is not between %d and %d", f.name, f.value, f.least, f.most)
		}
	}
	for _, f := range []struct {
		name               string
		value, least, most time.Duration
	}{
		{"LongestTTL", c.LongestTTL, time.Minute, 366 * day},
		{"TTL", c.TTL, time.Second, c.LongestTTL},
		{"Timeout", c.Timeout, time.Second, c.LongestTTL},
		{"KeepCommands", c.KeepCommands, 7 * day, 100 * 366 * day},
		{"KeepEvents", c.KeepEvents, day, 100 * 366 * day},
		{"Grace", c.Grace, 0, time.Hour},
		{"Return", c.Return, 0, time.Hour},
	} {
		if f.value < f.least || f.value > f.most {
			return fmt.Errorf("devices: %s: %s is not between %s and %s", f.name, f.value, f.least, f.most)
		}
	}
	return nil
}
