package sessions

import (
	"fmt"
	"time"
)

// Config says how much a session may cost. The zero value is not usable; start from [DefaultConfig].
type Config struct {
	// Window is how many messages may be in flight to one client, 1 to 1024. A client's Receive Maximum can only make it
	// smaller. Default 64: enough to hide a round trip, few enough to be sent again after every cut.
	Window int
	// Inbound is how many answers to one client may wait for the disk, 1 to 65535; then its connection is read no further.
	// An MQTT 5 client is told it as Receive Maximum, and disconnected if it has more than these unacknowledged.
	// Default 1024.
	Inbound int
	// PerAccount is how many sessions an account may have, stored or connected; 0: any number. Default 1000.
	PerAccount int
	// MaxExpiry is how long a session is kept after its connection at most, and how long for an MQTT 3.1.1 client that
	// asked for no clean session; 0: as long as the client says. Default 30 days, as long as a stream reaches back.
	MaxExpiry time.Duration
	// HighWater is how many bytes may wait in a connection before nothing is sent from the stream any more; acks stop at
	// twice as many. Default 256 KiB: a few round trips of a fast link.
	HighWater int
	// Replies is how many replies may wait for one client; then the oldest is dropped. Default 1000.
	Replies int
	// ReplyBytes is how many bytes these may have. Default 1 MiB.
	ReplyBytes int
	// ReplyWait is how long a reply may wait before it is dropped: the client has given up. Default one minute.
	ReplyWait time.Duration
	// Queue bounds the queue of one stored session, or of a shared group. Its Age is also how long a message is worth
	// something that says nothing about it. Default 100,000 messages, 256 MiB, 7 days; the oldest are dropped.
	Queue Bounds
	// VolatileCount and VolatileBytes are how much may wait for a client whose session ends with its connection; then
	// it is disconnected. Default 10,000 messages, 8 MiB.
	VolatileCount, VolatileBytes int
	// Retained is how many retained messages there may be; 0: any number. Default 1,000,000.
	Retained int
	// Delayed is how many delayed messages may wait; 0: any number. Default 100,000.
	Delayed int
	// Subscriptions is how many filters one session may have; 0: any number. Default 10,000.
	Subscriptions int
	// Takeover is how long a CONNECT waits for the end of the connection that had the session. Default 30 s.
	Takeover time.Duration
	// Sweep is how often sessions are looked for whose expiry has passed. Default one minute.
	Sweep time.Duration
}

// DefaultConfig gives the defaults.
func DefaultConfig() Config {
	return Config{
		Window:        64,
		Inbound:       1024,
		PerAccount:    1000,
		MaxExpiry:     30 * 24 * time.Hour,
		HighWater:     256 << 10,
		Replies:       1000,
		ReplyBytes:    1 << 20,
		ReplyWait:     time.Minute,
		Queue:         Bounds{Count: 100_000, Bytes: 256 << 20, Age: 7 * 24 * time.Hour},
		VolatileCount: 10_000,
		VolatileBytes: 8 << 20,
		Retained:      1_000_000,
		Delayed:       100_000,
		Subscriptions: 10_000,
		Takeover:      30 * time.Second,
		Sweep:         time.Minute,
	}
}

// Validate names the first field that cannot be used.
func (c Config) Validate() error {
	switch {
	case c.Window < 1 || c.Window > maxWindow:
		return fmt.Errorf("Window %d: not between 1 and %d", c.Window, maxWindow)
	case c.Inbound < 1 || c.Inbound > 65535:
		return fmt.Errorf("Inbound %d: not between 1 and 65535", c.Inbound)
	case c.PerAccount < 0:
		return fmt.Errorf("PerAccount %d: negative", c.PerAccount)
	case c.MaxExpiry < 0 || c.MaxExpiry > 0 && c.MaxExpiry < time.Second:
		return fmt.Errorf("MaxExpiry %v: less than a second", c.MaxExpiry)
	case c.HighWater < 1:
		return fmt.Errorf("HighWater %d: nothing could be sent", c.HighWater)
	case c.Replies < 1:
		return fmt.Errorf("Replies %d: less than 1", c.Replies)
	case c.ReplyBytes < 1:
		return fmt.Errorf("ReplyBytes %d: less than 1", c.ReplyBytes)
	case c.ReplyWait <= 0:
		return fmt.Errorf("ReplyWait %v: not positive", c.ReplyWait)
	case c.Queue.Count < 0 || c.Queue.Bytes < 0 || c.Queue.Age < 0:
		return fmt.Errorf("Queue %+v: negative", c.Queue)
	case c.VolatileCount < 1 || c.VolatileBytes < 1:
		return fmt.Errorf("VolatileCount %d, VolatileBytes %d: less than 1", c.VolatileCount, c.VolatileBytes)
	case c.Retained < 0:
		return fmt.Errorf("Retained %d: negative", c.Retained)
	case c.Delayed < 0:
		return fmt.Errorf("Delayed %d: negative", c.Delayed)
	case c.Subscriptions < 0:
		return fmt.Errorf("Subscriptions %d: negative", c.Subscriptions)
	case c.Takeover <= 0:
		return fmt.Errorf("Takeover %v: not positive", c.Takeover)
	case c.Sweep <= 0:
		return fmt.Errorf("Sweep %v: not positive", c.Sweep)
	}
	return nil
}

// grant gives the session expiry, in seconds, for what a client asked for.
func (c Config) grant(version byte, clean bool, asked uint32) uint32 {
	if version < 5 {
		asked = forever
		if clean {
			asked = 0
		}
	}
	if c.MaxExpiry > 0 {
		if most := c.MaxExpiry / time.Second; time.Duration(asked) > most {
			return uint32(most)
		}
	}
	return asked
}

// forever is the session expiry that means "never" (MQTT 5, 3.1.2.11.2).
const forever = 0xFFFFFFFF
