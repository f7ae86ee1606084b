package devices

import "github.com/magpie-im/magpie/accounts"

// PresenceState says whether a device is there.
type PresenceState string

// States of presence.
const (
	Online   PresenceState = "online"
	Offline  PresenceState = "offline"
	Sleeping PresenceState = "sleeping" // it is not connected, and need not be
	Unknown  PresenceState = "unknown"  // the server was away, and nothing was heard of it since
)

// Presence is what is known of whether a device is there. Times are in Unix milliseconds.
type Presence struct {
	Device accounts.Name
	State  PresenceState // empty: it was never there
	Since  int64
	Seen   int64  // when something was heard of it last
	Reason string // "connect", "disconnect", "will", "keepalive", "takeover", "error", "server_restart", "bridge"
}
